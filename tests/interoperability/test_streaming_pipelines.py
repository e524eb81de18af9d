"""`StreamingPipeline` in the hands of other libraries: it is a `Pipeline`, and learns on."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline

from dask_exa.cluster import KMeans
from dask_exa.compose import StreamingPipeline
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler
from tests.interoperability._data import LAZY, WEIGHTS, X, values
from tests.interoperability.test_persistence import FORMATS

FORMS = {"NumPy": X, "Dask": LAZY}


def steps():
    return [("scale", StandardScaler()), ("reduce", IncrementalPCA(2))]


@pytest.mark.parametrize("form", FORMS)
def test_search_scores_as_with_the_pipeline_of_scikit_learn(form):
    grid = {"reduce__n_components": [1, 2, 3], "scale__with_std": [True, False]}
    ours = GridSearchCV(StreamingPipeline(steps()), grid, cv=KFold(3)).fit(FORMS[form])
    theirs = GridSearchCV(Pipeline(steps()), grid, cv=KFold(3)).fit(X)
    scores = "mean_test_score"
    np.testing.assert_allclose(ours.cv_results_[scores], theirs.cv_results_[scores], rtol=1e-9)
    assert ours.best_params_ == theirs.best_params_
    assert isinstance(ours.best_estimator_, StreamingPipeline)


@pytest.mark.parametrize("unpack", FORMATS.values(), ids=FORMATS)
def test_unpacked_pipeline_learns_on(unpack):
    pipeline = StreamingPipeline(steps()).partial_fit(X[:100])
    unpacked = unpack(pipeline)
    for each in (pipeline, unpacked):
        each.partial_fit(X[100:])
    assert np.array_equal(unpacked.transform(X), pipeline.transform(X))
    assert unpacked["scale"].n_samples_seen_ == len(X)


def test_incremental_of_dask_ml_feeds_it_chunk_after_chunk():
    wrappers = pytest.importorskip("dask_ml.wrappers")
    wrapped = wrappers.Incremental(StreamingPipeline(steps())).fit(LAZY)
    stream = StreamingPipeline(steps())
    for start in range(0, len(X), 50):
        stream.partial_fit(X[start : start + 50])
    np.testing.assert_allclose(values(wrapped.transform(LAZY)), stream.transform(X), atol=1e-9)


def test_clusters_of_frames_come_with_names_and_weights():
    dd = pytest.importorskip("dask.dataframe")
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcdef"))
    lazy = dd.from_pandas(frame, npartitions=4)
    weights = dd.from_pandas(pd.Series(WEIGHTS), npartitions=3)
    pipeline = StreamingPipeline([*steps(), ("cluster", KMeans(3, n_init=3, random_state=0))])
    pipeline.fit(lazy)
    assert [*pipeline.feature_names_in_] == list("abcdef")
    expected = pipeline["cluster"].score(pipeline[:-1].transform(X), sample_weight=WEIGHTS)
    found = pipeline["cluster"].score(pipeline[:-1].transform(lazy), sample_weight=weights)
    assert found == pytest.approx(expected, rel=1e-9)

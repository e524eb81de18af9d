"""Clusterings in the place of scikit-learn's: searches, metrics, and as a step of a pipeline."""

import numpy as np
import pandas as pd
import pytest
import sklearn.cluster
import sklearn.mixture
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from dask_exa.cluster import Birch, GaussianMixture, KMeans, MiniBatchKMeans
from tests.interoperability._data import CLASSES, LABELLED, LAZY, NAMES, X, values

FOLDS = KFold(3)
FORMS = {"NumPy": X, "Dask": LAZY, "xarray": LABELLED}
STARTS = {"n_init": 3, "random_state": 0}
OURS = {
    "KMeans": (KMeans(**STARTS), "n_clusters"),
    "MiniBatchKMeans": (MiniBatchKMeans(**STARTS), "n_clusters"),
    "GaussianMixture": (GaussianMixture(covariance_type="diag", random_state=0), "n_components"),
}
THEIRS = {
    "KMeans": sklearn.cluster.KMeans(**STARTS),
    "MiniBatchKMeans": sklearn.cluster.MiniBatchKMeans(**STARTS),
    "GaussianMixture": sklearn.mixture.GaussianMixture(covariance_type="diag", random_state=0),
}
# Relative to the score of three clusters: minibatches of different draws end in different places.
TOLERANCE = {"KMeans": 1e-9, "MiniBatchKMeans": 0.01, "GaussianMixture": 1e-3}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OURS)
def test_grid_search_finds_what_it_finds_with_scikit_learn(name, form):
    estimator, parameter = OURS[name]
    grid = {parameter: [1, 2, 3]}
    ours = GridSearchCV(estimator, grid, cv=FOLDS).fit(FORMS[form])
    theirs = GridSearchCV(THEIRS[name], grid, cv=FOLDS).fit(X)
    assert ours.best_params_ == theirs.best_params_ == {parameter: 3}
    assert ours.best_score_ == pytest.approx(theirs.best_score_, rel=TOLERANCE[name])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", [KMeans(3, **STARTS), Birch(threshold=4.0), MiniBatchKMeans(3)])
def test_metrics_of_scikit_learn_take_our_labels(model, form):
    labels = values(model.fit(FORMS[form]).labels_)
    assert adjusted_rand_score(CLASSES, labels) > 0.7


@pytest.mark.parametrize("form", FORMS)
def test_number_of_clusters_is_chosen_by_silhouette(form):
    def silhouette(model, X, y=None):
        return silhouette_score(values(X).reshape(len(X), -1), values(model.predict(X)))

    search = GridSearchCV(
        KMeans(**STARTS), {"n_clusters": [2, 3, 4, 5]}, scoring=silhouette, cv=FOLDS
    ).fit(FORMS[form])
    assert search.best_params_ == {"n_clusters": 3}
    theirs = cross_val_score(THEIRS["KMeans"].set_params(n_clusters=3), X, scoring=silhouette)
    assert search.best_score_ == pytest.approx(theirs.mean(), rel=0.02)


def test_distances_from_clusters_are_features_of_a_classifier():
    ours = make_pipeline(KMeans(6, **STARTS), LogisticRegression(C=10, max_iter=1000))
    theirs = make_pipeline(
        sklearn.cluster.KMeans(6, **STARTS), LogisticRegression(C=10, max_iter=1000)
    )
    found, expected = (cross_val_score(each, X, CLASSES, cv=FOLDS) for each in (ours, theirs))
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert found.mean() > 0.95


def test_frames_come_out_with_names():
    frame = pd.DataFrame(X, columns=NAMES)
    model = KMeans(3, **STARTS).set_output(transform="pandas").fit(frame)
    distances = model.transform(frame)
    assert [*distances.columns] == ["kmeans0", "kmeans1", "kmeans2"]
    assert np.array_equal(distances.to_numpy().argmin(axis=1), model.labels_)

"""`set_output`: data frames out of transformers."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline

from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler
from tests.interoperability._data import LABELLED, LAZY, N_SAMPLES, NAMES, X

FRAME = pd.DataFrame(X, columns=NAMES, index=pd.date_range("2026-01-01", periods=N_SAMPLES))
COMPONENTS = ["incrementalpca0", "incrementalpca1"]


def test_frame_has_the_names_and_index_of_what_came_in():
    pipeline = make_pipeline(StandardScaler(), IncrementalPCA(2)).set_output(transform="pandas")
    features = pipeline.fit_transform(FRAME)
    assert isinstance(features, pd.DataFrame)
    assert [*features.columns] == COMPONENTS == [*pipeline.get_feature_names_out()]
    assert features.index.equals(FRAME.index)
    scaled = pipeline[0].transform(FRAME)
    assert [*scaled.columns] == NAMES
    assert [*pipeline[1].feature_names_in_] == NAMES
    plain = make_pipeline(StandardScaler(), IncrementalPCA(2)).fit_transform(X)
    np.testing.assert_allclose(features.to_numpy(), plain, atol=1e-12)


def test_column_transformer_names_what_comes_from_where():
    columns = ColumnTransformer(
        [("fields", IncrementalPCA(2), NAMES[:3]), ("rest", StandardScaler(), NAMES[3:])]
    ).set_output(transform="pandas")
    features = columns.fit_transform(FRAME)
    assert [*features.columns] == [
        *(f"fields__{name}" for name in COMPONENTS),
        *(f"rest__{name}" for name in NAMES[3:]),
    ]


@pytest.mark.parametrize("data", [LAZY, LABELLED], ids=["Dask", "xarray"])
def test_frame_is_asked_for_and_is_in_memory(data):
    """A pandas frame holds everything: for large data leave `set_output` alone."""
    pca = IncrementalPCA(2).set_output(transform="pandas").fit(data)
    features = pca.transform(data)
    assert isinstance(features, pd.DataFrame)
    assert [*features.columns] == COMPONENTS
    expected = IncrementalPCA(2).fit(X).transform(X)
    np.testing.assert_allclose(features.to_numpy(), expected, atol=1e-12)


def test_polars_frames_go_in_and_come_out():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(dict(zip(NAMES, X.T, strict=True)))
    pca = IncrementalPCA(2).set_output(transform="polars").fit(frame)
    assert [*pca.feature_names_in_] == NAMES
    features = pca.transform(frame)
    assert isinstance(features, polars.DataFrame)
    assert features.columns == COMPONENTS
    np.testing.assert_allclose(features.to_numpy(), IncrementalPCA(2).fit_transform(X), atol=1e-12)
    with pytest.raises(ValueError, match="feature names should match"):
        pca.transform(frame.select(NAMES[::-1]))

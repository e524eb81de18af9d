"""The same components from the same samples in every layout, on labelled arrays, lazily."""

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from dask_exa.decomposition import IncrementalPCA
from tests import naive

K = 3
T, Y, X = 48, 6, 5


@pytest.fixture(scope="module")
def film():
    """Samples (time, y, x) of five directions, with coordinates, units and a far mean."""
    rng = np.random.default_rng(0)
    fields = rng.standard_normal((5, Y, X))
    scores = rng.standard_normal((T, 5)) * np.arange(5, 0, -1)
    return xr.DataArray(
        np.einsum("tk,kyx->tyx", scores, fields) + 100,
        dims=("time", "y", "x"),
        coords={
            "time": np.arange(T) * 0.5,
            "y": ("y", np.linspace(0, 1, Y), {"units": "m"}),
            "x": np.linspace(-1, 1, X),
            "radius": (("y", "x"), rng.random((Y, X))),
            "shot": 7,
        },
        name="density",
    )


@pytest.fixture(scope="module")
def exact(film):
    return naive.pca(film.values.reshape(T, -1), K)


CHUNKS = {
    "numpy": None,
    "rows": {"time": 10},
    "single samples": {"time": 1},
    "columns": {"y": 2},
    "blocks of fields": {"y": 4, "x": 2},
    "both": {"time": 10, "y": 4, "x": 3},
    "uneven": {"time": (1, 40, 7), "y": (1, 5), "x": (3, 1, 1)},
}
LAYOUTS = pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())


def cut(film, chunks):
    return film if chunks is None else film.chunk(chunks)


def is_split(chunks):
    return chunks is not None and ("y" in chunks or "x" in chunks)


def pca(**params):
    return IncrementalPCA(K, sample_dims="time", **params)


def assert_components(model, exact, atol=1e-9):
    axes = np.asarray(model.components_).reshape(K, -1)
    np.testing.assert_allclose(axes, exact.components, atol=atol)
    np.testing.assert_allclose(np.asarray(model.mean_).reshape(-1), exact.mean, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(model.var_).reshape(-1), exact.var, rtol=1e-10)
    np.testing.assert_allclose(model.singular_values_, exact.singular_values, rtol=1e-9)
    np.testing.assert_allclose(model.noise_variance_, exact.noise_variance, rtol=1e-9)
    ratio = exact.explained_variance_ratio
    np.testing.assert_allclose(model.explained_variance_ratio_, ratio, rtol=1e-9)


@LAYOUTS
@pytest.mark.parametrize("layout", ["auto", "rows", "columns", "both"])
@pytest.mark.parametrize("solver", ["auto", "qr"])
def test_every_layout_finds_the_same(chunks, layout, solver, film, exact):
    if chunks is None and layout in ("columns", "both"):
        pytest.skip("an array in memory is not split")
    model = pca(layout=layout, solver=solver).fit(cut(film, chunks))
    assert_components(model, exact)
    split = layout in ("columns", "both") or (layout == "auto" and is_split(chunks))
    assert isinstance(model.components_.data, da.Array) == split


@LAYOUTS
def test_streams_of_single_samples_find_the_same(chunks, film, exact):
    if chunks is not None:
        chunks = {dim: size for dim, size in chunks.items() if dim != "time"}
    model = pca()
    for t in range(T):
        model.partial_fit(cut(film.isel(time=[t]), chunks))
    assert model.n_samples_seen_ == T
    assert_components(model, exact)


@pytest.mark.parametrize("chunks", [None, {"y": 2}])
def test_step_that_lacks_the_sample_dimension_is_one_sample(chunks, film, exact):
    model = pca()
    for t in range(T):
        model.partial_fit(cut(film.isel(time=t), chunks))
    assert model.n_samples_seen_ == T
    assert_components(model, exact)


@LAYOUTS
def test_models_of_parts_merge(chunks, film, exact):
    parts = [
        pca().fit(cut(part, chunks and {k: v for k, v in chunks.items() if k != "time"}))
        for part in (film[:20], film[20:30], film[30:])
    ]
    assert_components(parts[0] | parts[1] | parts[2], exact)
    assert_components(parts[0].merge(*parts[1:]), exact)


@LAYOUTS
def test_attributes_come_back_labelled(chunks, film):
    model = pca().fit(cut(film, chunks))
    assert model.components_.dims == ("component", "y", "x")
    assert model.components_.sizes == {"component": K, "y": Y, "x": X}
    assert model.mean_.dims == model.var_.dims == ("y", "x")
    for name in ("y", "x", "radius"):
        assert model.components_.coords[name].variable.equals(film.coords[name].variable)
    assert model.mean_.coords["y"].attrs == {"units": "m"}
    assert not {"time", "shot"} & set(model.components_.coords)
    assert model.explained_variance_.shape == (K,)


def test_attributes_are_named_alike_in_every_layout(film):
    whole, split = pca().fit(film), pca().fit(film.chunk(y=2))
    assert split.components_.name == whole.components_.name


@LAYOUTS
def test_transform_and_back_are_lazy_and_labelled(chunks, film, exact):
    given = cut(film, chunks)
    model = pca().fit(given)
    scores = model.transform(given)
    expected = (film.values.reshape(T, -1) - exact.mean) @ exact.components.T
    assert scores.dims == ("time", "component")
    assert scores.coords["time"].equals(film.coords["time"])
    assert isinstance(scores.data, np.ndarray) == (chunks is None)
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    fields = model.inverse_transform(scores)
    assert fields.dims == film.dims
    assert isinstance(fields.data, np.ndarray) == (chunks is None)
    for name in ("time", "y", "x", "radius"):
        assert fields.coords[name].equals(film.coords[name])
    back = expected @ exact.components + exact.mean
    np.testing.assert_allclose(fields.values.reshape(T, -1), back, atol=1e-9)
    if chunks and "time" in chunks:
        assert len(fields.chunksizes["time"]) == len(given.chunksizes["time"])


@LAYOUTS
@pytest.mark.parametrize("fitted", [None, {"time": 10}, {"y": 2, "x": 3}])
def test_any_form_of_samples_is_projected(chunks, fitted, film, exact):
    model = pca().fit(cut(film, fitted))
    expected = (film.values.reshape(T, -1) - exact.mean) @ exact.components.T
    np.testing.assert_allclose(model.transform(cut(film, chunks)), expected, atol=1e-9)
    matrix = model.transform(film.values.reshape(T, -1))
    np.testing.assert_allclose(np.asarray(matrix), expected, atol=1e-9)
    fields = model.inverse_transform(expected)
    back = expected @ exact.components + exact.mean
    np.testing.assert_allclose(np.asarray(fields).reshape(T, -1), back, atol=1e-9)


@LAYOUTS
def test_scores_computed_at_once(chunks, film):
    """Transforming runs nothing; computing runs every chunk once."""
    given = cut(film.drop_vars("radius"), chunks)
    model = pca().fit(given)
    _ = np.asarray(model.components_)

    def refuse(dsk, keys, **kwargs):
        raise AssertionError("computed too early")

    with dask.config.set(scheduler=refuse):
        scores = model.transform(given)
        fields = model.inverse_transform(scores)
    scores, fields = dask.compute(scores, fields, scheduler="synchronous")
    np.testing.assert_allclose(fields, model.inverse_transform(scores), atol=1e-10)


def test_lazy_coordinates_are_not_computed_again(film):
    given = film.chunk(y=2)  # so is the coordinate `radius`
    model = pca().fit(given)
    assert model.n_components_ == K  # asks the workers for the axes, once

    def refuse(dsk, keys, **kwargs):
        raise AssertionError("computed too early")

    with dask.config.set(scheduler=refuse):
        assert model.transform(given).dims == ("time", "component")


def test_plain_samples_with_axes_of_fields(film, exact):
    """Without labels the first axis counts samples, and the others make a field."""
    for chunks in ((10, Y, X), (10, 3, X), (T, 4, 2)):
        lazy = da.from_array(film.values, chunks=chunks)
        model = IncrementalPCA(K).fit(lazy)
        assert_components(model, exact)
        scores = model.transform(lazy)
        assert scores.shape == (T, K)
        back = model.inverse_transform(scores)
        expected = film.values.reshape(T, -1) - exact.mean
        expected = expected @ exact.components.T @ exact.components + exact.mean
        np.testing.assert_allclose(np.asarray(back).reshape(T, -1), expected, atol=1e-9)


@pytest.mark.parametrize(
    "chunks",
    [
        None,
        {"time": 4},
        {"time": 4, "run": 2},
        {"time": 4, "run": 2, "x": 2},
    ],
)
def test_several_dimensions_count_samples(chunks):
    rng = np.random.default_rng(0)
    ensemble = xr.DataArray(
        rng.standard_normal((8, 5, 6)) * np.arange(6, 0, -1) + 3, dims=("time", "run", "x")
    )
    shuffled = ensemble.transpose("x", "run", "time")
    given = cut(shuffled, chunks)
    weights = rng.uniform(1, 2, 40)
    model = IncrementalPCA(K, sample_dims=("time", "run")).fit(given, sample_weight=weights)
    matrix = ensemble.values.reshape(40, 6)
    exact = naive.pca(matrix, K, weights)
    assert model.n_samples_seen_ == 40
    np.testing.assert_allclose(np.asarray(model.components_), exact.components, atol=1e-9)
    scores = model.transform(given)
    assert scores.dims == ("time", "run", "component")
    expected = (matrix - exact.mean) @ exact.components.T
    np.testing.assert_allclose(np.asarray(scores).reshape(40, K), expected, atol=1e-9)
    fields = model.inverse_transform(scores)
    assert fields.dims == ("time", "run", "x")
    back = expected @ exact.components + exact.mean
    np.testing.assert_allclose(np.asarray(fields).reshape(40, 6), back, atol=1e-9)


def test_samples_in_memory_on_a_split_basis_keep_their_dimensions():
    rng = np.random.default_rng(0)
    ensemble = xr.DataArray(rng.standard_normal((8, 5, 6)), dims=("time", "run", "x"))
    model = IncrementalPCA(2, sample_dims=("time", "run")).fit(ensemble.chunk(x=3))
    whole = IncrementalPCA(2, sample_dims=("time", "run")).fit(ensemble)
    np.testing.assert_allclose(model.transform(ensemble), whole.transform(ensemble), atol=1e-9)


@pytest.mark.parametrize("chunks", [None, {"y": 2}])
def test_features_are_known_by_name_not_by_order(chunks, film, exact):
    turned = film.transpose("x", "time", "y")
    model = pca().fit(cut(film[:20], chunks)).partial_fit(cut(turned[:, 20:], chunks))
    assert_components(model, exact)
    expected = (film.values.reshape(T, -1) - exact.mean) @ exact.components.T
    np.testing.assert_allclose(model.transform(cut(turned, chunks)), expected, atol=1e-9)


@pytest.mark.parametrize("chunks", [(5, 12), (5, 4)])
def test_float32_samples_do_not_round_a_float64_basis(chunks):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 12))
    late = (1e-6 * rng.standard_normal((5, 12)) + X.mean(axis=0)).astype(np.float32)
    model = IncrementalPCA(3, solver="gram").fit(da.from_array(X, chunks=chunks))
    model.partial_fit(da.from_array(late, chunks=chunks))
    exact = naive.pca(np.vstack([X, late]), 3)
    assert model.components_.dtype == np.float64
    np.testing.assert_allclose(model.singular_values_, exact.singular_values, rtol=1e-13)
    np.testing.assert_allclose(np.asarray(model.components_), exact.components, atol=1e-11)


@pytest.mark.parametrize("solver", ["scatter", "gram"])
@pytest.mark.parametrize("chunks", [None, (20, 12), (20, 4)])
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_the_finer_type_wins(solver, chunks, dtypes):
    if solver == "scatter" and chunks == (20, 4):
        pytest.skip("a scatter matrix is not split")
    X = np.random.default_rng(0).standard_normal((40, 12))
    parts = [part.astype(dtype) for part, dtype in zip(np.split(X, 2), dtypes, strict=True)]
    exact = naive.pca(np.vstack(parts), 4)
    if chunks is not None:
        parts = [da.from_array(part, chunks=chunks) for part in parts]
    models = [IncrementalPCA(4, solver=solver, oversampling=8).fit(part) for part in parts]
    stream = IncrementalPCA(4, solver=solver, oversampling=8)
    for part in parts:
        stream.partial_fit(part)
    for model in (models[0] | models[1], stream):
        assert model.components_.dtype == np.float64
        np.testing.assert_allclose(model.singular_values_, exact.singular_values, rtol=1e-6)
        axes = np.asarray(model.components_)
        np.testing.assert_allclose(axes @ axes.T, np.eye(4), atol=1e-13)


def test_first_dimension_counts_samples_by_default(film, exact):
    assert_components(IncrementalPCA(K).fit(film), exact)


@pytest.mark.parametrize("solver", ["auto", "gram", "qr"])
def test_strict_array_namespace(solver, film, exact):
    matrix = array_api_strict.asarray(film.values.reshape(T, -1))
    model = IncrementalPCA(K, solver=solver)
    for start in range(0, T, 12):
        model.partial_fit(matrix[start : start + 12, :])
    axes = model.components_
    assert isinstance(axes, type(matrix))
    np.testing.assert_allclose(np.asarray(axes), exact.components, atol=1e-9)
    scores = model.transform(matrix)
    expected = (film.values.reshape(T, -1) - exact.mean) @ exact.components.T
    np.testing.assert_allclose(np.asarray(scores), expected, atol=1e-9)
    fields = model.inverse_transform(scores)
    back = expected @ exact.components + exact.mean
    np.testing.assert_allclose(np.asarray(fields), back, atol=1e-9)


def test_whitened_scores_stay_in_their_namespace(film, exact):
    matrix = array_api_strict.asarray(film.values.reshape(T, -1))
    model = IncrementalPCA(K, whiten=True).fit(matrix)
    scores = model.transform(matrix)
    assert isinstance(scores, type(matrix))
    expected = (film.values.reshape(T, -1) - exact.mean) @ exact.components.T
    expected = expected / np.sqrt(exact.explained_variance)
    np.testing.assert_allclose(np.asarray(scores), expected, atol=1e-9)
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        model.partial_fit(matrix[:0, :])
    with pytest.raises(ValueError, match="Expected 2D array"):
        IncrementalPCA(K).partial_fit(matrix[0, :])


def test_labelled_scores_of_a_plain_model(film, exact):
    model = IncrementalPCA(K).fit(film.values.reshape(T, -1))
    scores = xr.DataArray(
        model.transform(film.values.reshape(T, -1)).T,
        dims=("component", "time"),
        coords={"time": film.coords["time"].values},
    )
    fields = model.inverse_transform(scores)
    assert fields.dims == ("time", "feature")
    assert np.array_equal(fields.coords["time"], film.coords["time"])
    centred = film.values.reshape(T, -1) - exact.mean
    back = centred @ exact.components.T @ exact.components + exact.mean
    np.testing.assert_allclose(fields, back, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("solver", ["auto", "gram", "qr"])
def test_device_arrays_stay_on_the_device(solver, film, exact):
    import cupy

    matrix = cupy.asarray(film.values.reshape(T, -1))
    model = IncrementalPCA(K, solver=solver).fit(matrix[:20]).partial_fit(matrix[20:])
    assert isinstance(model.components_, cupy.ndarray)
    np.testing.assert_allclose(model.components_.get(), exact.components, atol=1e-8)
    scores = model.transform(matrix)
    back = model.inverse_transform(scores)
    expected = (film.values.reshape(T, -1) - exact.mean) @ exact.components.T
    np.testing.assert_allclose(scores.get(), expected, atol=1e-8)
    np.testing.assert_allclose(back.get(), expected @ exact.components + exact.mean, atol=1e-8)

"""Random projections and rows of features."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone

from dask_exa.anomaly import SubspaceDetector
from dask_exa.datasets import Vlasov
from dask_exa.inputs.velocity_space import TensorProjection, VelocitySpaceFeatures, summarize


def samples(n=3, shape=(6, 5, 4), seed=0):
    values = np.random.default_rng(seed).normal(size=(n, *shape))
    return xr.DataArray(values, {"time": np.arange(n) * 0.5}, ("time", "x", "vx", "mu"))


def test_projection_is_the_kronecker_product():
    X = samples()
    projection = TensorProjection({"x": 2, "vx": 3, "mu": 1}, seed=4).fit(X)
    matrices = [projection.matrix(dim, 0, X.sizes[dim]) for dim in ("x", "vx", "mu")]
    whole = np.kron(np.kron(matrices[0], matrices[1]), matrices[2])
    expected = X.values.reshape(3, -1) @ whole.T
    found = projection.transform(X)
    assert found.dims == ("time", "projection")
    assert found.time.values.tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("chunks", [-1, (1, 2, 2, 3), (2, 6, 1, 1), (3, 4, 5, 2)])
def test_chunks_add_to_the_whole(chunks):
    X = samples()
    projection = TensorProjection(3).fit(X)
    lazy = projection.transform(X.copy(data=da.from_array(X.values, chunks)))
    assert isinstance(lazy.data, da.Array)
    np.testing.assert_allclose(lazy, projection.transform(X), rtol=1e-10, atol=1e-12)


def test_columns_depend_on_seed_dimension_and_index_alone():
    small, large = (
        TensorProjection().fit(samples()),
        TensorProjection().fit(samples(shape=(9, 5, 4))),
    )
    np.testing.assert_array_equal(small.matrix("x", 2, 4), large.matrix("x", 2, 4))
    assert not np.allclose(small.matrix("x", 0, 4), small.matrix("mu", 0, 4))
    other = TensorProjection(seed=1).fit(samples())
    assert not np.allclose(small.matrix("x", 0, 4), other.matrix("x", 0, 4))


def test_norms_are_kept_on_average():
    X = samples(n=1)
    norms = [
        float((TensorProjection(4, seed).fit(X).transform(X) ** 2).sum()) for seed in range(400)
    ]
    # the relative variance is below (1 + 2 / 4)^3 - 1, the mean of 400 to 8 %
    assert np.mean(norms) == pytest.approx(float((X**2).sum()), rel=0.2)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda X: TensorProjection(0).fit(X), ValueError),
        (lambda X: TensorProjection().fit(X.values), TypeError),
        (lambda X: TensorProjection().fit(X).transform(X.rename(vx="v")), ValueError),
        (lambda X: TensorProjection().fit(X).transform(X, start={"x": 1}), ValueError),
        (lambda X: VelocitySpaceFeatures().fit(X.values), TypeError),
    ],
)
def test_what_does_not_fit_is_told(make, error):
    with pytest.raises(error):
        make(samples())


def runs(n_frames=24, **options):
    frames = Vlasov.two_stream(shape=(8, 32, 2), noise=1e-3, **options).run(n_frames)
    return xr.concat([frame.f.reset_coords(drop=True) for frame in frames], "time")


def test_features_are_named_and_are_those_of_the_summary():
    X = runs(2)
    features = VelocitySpaceFeatures(n_projections=2).fit(X)
    rows = features.transform(X)
    names = features.get_feature_names_out().tolist()
    assert rows.feature.values.tolist() == names
    summary = summarize(X[1])
    found = rows[1].to_series()
    assert found["particles"] == summary.sums.particles
    assert found["mean of temperature"] == float(summary.moments.temperature.mean())
    assert found["spread of density"] == float(summary.moments.density.std())
    assert sum(name.startswith("projection") for name in names) == 8
    lazily = features.transform(X.chunk({"x": 3, "vx": 10}))
    np.testing.assert_allclose(lazily, rows, rtol=1e-9, atol=1e-14)
    assert clone(features).get_params() == features.get_params()


def test_rows_of_slabs_add():
    X = runs(1)
    features = VelocitySpaceFeatures(n_projections=2).fit(X)
    whole = features.transform(X)[0].to_series()
    left = features.transform(X[:, :3])[0].to_series()
    right = features.transform(X[:, 3:], start={"x": 3})[0].to_series()
    add = ["particles", "l1f", "kinetic_energy", *(f"projection {i}" for i in range(8))]
    np.testing.assert_allclose(left[add] + right[add], whole[add], rtol=1e-10, atol=1e-14)


def test_a_detector_sees_a_faulty_step_in_the_row():
    good = runs(30)
    faulty = runs(30, inject={"timestep": 28, "kind": "spike", "amplitude": 5.0})
    features = VelocitySpaceFeatures().fit(good)
    detector = SubspaceDetector().fit(features.transform(good[:26]).values)
    scores = -detector.score_samples(features.transform(faulty[26:]).values)
    assert scores.argmax() == 1
    assert scores[1] > 10 * np.delete(scores, 1).max()

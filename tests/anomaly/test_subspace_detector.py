"""SubspaceDetector against a full decomposition, its limits against Gaussian samples."""

import pickle
from types import MappingProxyType

import array_api_strict as xp
import dask
import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_exa._state import NotEnoughSamplesError
from dask_exa.anomaly import StreamingThreshold, SubspaceDetector
from dask_exa.datasets import Injection, Tokam2D
from dask_exa.testing.contracts import MergeableEstimatorContract

RNG = np.random.default_rng(0)
MIX = RNG.standard_normal((4, 12))


def gaussian(n, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, 4)) * [4, 3, 2, 1]
    return scores @ MIX + noise * rng.standard_normal((n, 12)) + 50


X = gaussian(600)


class TestScatter(MergeableEstimatorContract):
    def make(self):
        return SubspaceDetector(3)

    def learnt(self, estimator):
        queries = np.random.default_rng(7).standard_normal((5, 6)) * 5
        return super().learnt(estimator) | {"scores": estimator.score_samples(queries)}

    def bad_calls(self, X):
        legal = ("NaN", "NaN in fit", "NaN in a chunk", "infinity")
        return {name: call for name, call in super().bad_calls(X).items() if name not in legal}

    def test_state_does_not_grow_with_the_number_of_samples(self):
        X = np.tile(self.samples(), (100, 1))
        short, long = (len(pickle.dumps(self.fitted(X[:n]))) for n in (2000, 6000))
        assert long <= short + 100


class TestGram(TestScatter):
    rtol = 1e-8

    def make(self):
        return SubspaceDetector(3, solver="gram", oversampling=3, batch_size=9)


class TestShareOfTheVariance(TestScatter):
    def make(self):
        return SubspaceDetector(0.9, score_by="spe", nan="raise")

    def bad_calls(self, X):
        return MergeableEstimatorContract.bad_calls(self, X)


class TestFloat32(TestScatter):
    rtol = 1e-5
    atol = MappingProxyType({"scores": 1e-3})

    def samples(self):
        return super().samples().astype(np.float32)


@parametrize_with_checks(
    [  # a sum of three blobs has no sample beyond the limit of 99 %
        SubspaceDetector(confidence=0.9),
        SubspaceDetector(1, nan="raise", score_by="spe", confidence=0.8),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])
def test_statistics_are_those_of_a_full_decomposition(solver):
    model = SubspaceDetector(4, solver=solver, oversampling=8).fit(X)
    _, s, Vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    queries = gaussian(20, seed=1) * 1.1
    t = (queries - X.mean(axis=0)) @ Vt.T
    spe, t2 = model.statistics(queries)
    np.testing.assert_allclose(t2, (t[:, :4] ** 2 / (s[:4] ** 2 / 599)).sum(axis=1), rtol=1e-8)
    np.testing.assert_allclose(spe, (t[:, 4:] ** 2).sum(axis=1), rtol=1e-7)
    combined = spe / model.spe_limit_ + t2 / model.t2_limit_
    scores = model.score_samples(queries)
    np.testing.assert_allclose(scores / scores[0], combined / combined[0], rtol=1e-9)
    for name, value in (("spe", spe / model.spe_limit_), ("t2", t2 / model.t2_limit_)):
        by_one = SubspaceDetector(4, solver=solver, oversampling=8, score_by=name).fit(X)
        np.testing.assert_allclose(by_one.score_samples(queries), -value, rtol=1e-9)
        np.testing.assert_array_equal(by_one.predict(queries), np.where(value > 1, -1, 1))


@pytest.mark.parametrize("score_by", ["combined", "spe", "t2"])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_gaussian_samples_are_flagged_as_often_as_asked(score_by, confidence):
    shares = []
    for seed in range(10):
        model = SubspaceDetector(4, score_by=score_by, confidence=confidence)
        model.fit(gaussian(3000, seed))
        shares.append((model.predict(gaussian(10_000, seed + 100)) == -1).mean())
    asked = 1 - confidence
    error = np.sqrt(asked / 1e5) + np.std(shares) / np.sqrt(10)
    # the laws of Q and of the sum are approximations by their moments, good to a tenth
    assert abs(np.mean(shares) - asked) < 4 * error + 0.1 * asked


@pytest.mark.parametrize("kind", [np.asarray, lambda X: da.from_array(X, chunks=(7, 5))])
def test_contributions_add_up_to_the_statistics(kind):
    model = SubspaceDetector(4).fit(X)
    queries = gaussian(20, seed=1)
    queries[3, 5] += 30
    with dask.config.set(scheduler="synchronous"):
        parts = model.contributions(kind(queries))
        for part, statistic in zip(parts, model.statistics(queries), strict=True):
            assert isinstance(part, da.Array) == (kind is not np.asarray)
            assert part.shape == queries.shape
            part = np.asarray(part)
            np.testing.assert_allclose(part.sum(axis=1), statistic, rtol=1e-9)
    assert np.argmax(np.asarray(parts.spe)[3]) == 5
    assert np.all(np.asarray(parts.spe) >= 0)


def film(n=40, seed=0):
    rng = np.random.default_rng(seed)
    t, y, x = np.arange(n)[:, None, None], np.arange(30)[:, None], np.arange(24)
    field = np.sin(t / 3 + y / 5) + np.cos(t / 5 - x / 4) + 0.05 * rng.standard_normal((n, 30, 24))
    coords = {"time": np.arange(n) * 0.5, "y": np.arange(30) * 2.0}
    return xr.DataArray(field, dims=("time", "y", "x"), coords=coords)


@pytest.mark.parametrize("chunks", [None, {"time": 7, "y": 10, "x": 24}])
def test_fields_say_where_they_are_wrong(chunks):
    field = film() if chunks is None else film().chunk(chunks)
    model = SubspaceDetector(6, sample_dims="time").fit(field)
    assert model.components_.dims == ("component", "y", "x")
    broken = film(seed=1)
    broken[17, 12:18, 8:16] += 0.6
    broken = broken if chunks is None else broken.chunk(chunks)
    assert int(model.score_samples(broken).values.argmin()) == 17
    parts = model.contributions(broken)
    assert parts.spe.dims == ("time", "y", "x")
    np.testing.assert_array_equal(parts.spe.time, broken.time)
    regions = model.region_contributions(broken, {"y": 8, "x": 8})
    assert regions.spe.shape == (40, 4, 3)  # the last rows of regions are shorter
    for part, statistic in zip(regions, model.statistics(broken), strict=True):
        np.testing.assert_allclose(part.sum(("y", "x")), statistic, rtol=1e-9)
    worst = divmod(int(regions.spe[17].values.argmax()), 3)
    assert worst in [(1, 1), (2, 1)]
    single = model.region_contributions(broken[17], {"y": 8, "x": 8})
    np.testing.assert_allclose(single.spe[0], regions.spe[17], rtol=1e-9)


def test_regions_need_names():
    model = SubspaceDetector(6, sample_dims="time").fit(film())
    with pytest.raises(ValueError, match=r"names \['z'\]"):
        model.region_contributions(film(), {"z": 8})
    with pytest.raises(TypeError, match=r"pass an xarray\.DataArray"):
        SubspaceDetector(3).fit(X).region_contributions(X, {"x": 4})


def test_bad_values_are_scored_and_located():
    broken = X[:5].copy()
    broken[1, 3], broken[2, 4] = np.nan, np.inf
    model = SubspaceDetector(4).fit(X)
    scores = model.score_samples(broken)
    np.testing.assert_array_equal(np.isneginf(scores), [False, True, True, False, False])
    np.testing.assert_array_equal(model.predict(broken)[1:3], -1)
    np.testing.assert_array_equal(np.isposinf(model.statistics(broken).spe), np.isneginf(scores))
    parts = model.contributions(broken).spe
    assert np.argwhere(np.isinf(parts)).tolist() == [[1, 3], [2, 4]]
    assert np.isfinite(np.delete(parts[1], 3)).all()
    stream = SubspaceDetector(4).partial_fit(broken).partial_fit(X[5:])
    clean = SubspaceDetector(4).fit(np.delete(X, [1, 2], axis=0))
    np.testing.assert_allclose(stream.score_samples(X), clean.score_samples(X), rtol=1e-9)
    assert stream.n_samples_seen_ == 598
    lazy = da.from_array(np.concatenate([broken, X[5:]]), chunks=((1, 1, 1, 597), 12))
    np.testing.assert_allclose(
        SubspaceDetector(4).fit(lazy).score_samples(X), clean.score_samples(X), rtol=1e-9
    )
    with pytest.raises(ValueError, match="in every sample"):
        SubspaceDetector(4).partial_fit(broken[1:3])
    with pytest.raises(ValueError, match="NaN"):
        SubspaceDetector(4, nan="raise").fit(X).score_samples(broken)


@pytest.mark.parametrize("solver", ["scatter", "gram"])
def test_arrays_of_other_namespaces(solver):
    broken = X.copy()
    broken[2, 1] = np.nan
    here = SubspaceDetector(4, solver=solver, contamination=0.1).fit(broken)
    there = SubspaceDetector(4, solver=solver, contamination=0.1).fit(xp.asarray(broken))
    scores = there.score_samples(xp.asarray(broken))
    assert isinstance(scores, type(xp.asarray(X)))
    np.testing.assert_allclose(np.asarray(scores), here.score_samples(broken), rtol=1e-10)
    assert there.offset_ == pytest.approx(here.offset_, rel=1e-10)
    for part, expected in zip(
        there.contributions(xp.asarray(X)), here.contributions(X), strict=True
    ):
        np.testing.assert_allclose(np.asarray(part), expected, rtol=1e-8, atol=1e-9)


def test_subspace_of_everything_leaves_nothing():
    model = SubspaceDetector(12).fit(X)
    assert model.spe_limit_ == 0
    assert np.all(model.statistics(gaussian(9, 1)).spe < 1e-9)
    few = SubspaceDetector(5, solver="gram").fit(X[:6])  # no residual in what was learnt
    assert np.all(few.predict(gaussian(9, 1)) == -1)


def test_contamination_flags_its_share_of_what_was_kept():
    model = SubspaceDetector(4, contamination=0.1).fit(X)
    assert (model.predict(X) == -1).sum() == 60
    model.contamination = 0.02
    assert (model.predict(X) == -1).sum() == 12
    wide = SubspaceDetector(3).fit(RNG.standard_normal((40, 300_000)))
    assert wide._state.summary.kept.rows.shape == (16, 300_000)


def test_forgetting_does_not_depend_on_the_batches_and_follows_a_drift():
    shifted = gaussian(600, seed=2)[:, ::-1]
    both = np.concatenate([X, shifted])
    whole = SubspaceDetector(4, forgetting_factor=0.98).fit(both)
    stream = SubspaceDetector(4, forgetting_factor=0.98)
    for part in np.array_split(both, 11):
        stream.partial_fit(part)
    lazy = SubspaceDetector(4, forgetting_factor=0.98).fit(da.from_array(both, chunks=(250, 12)))
    for other in (stream, lazy):
        np.testing.assert_allclose(other.score_samples(X), whole.score_samples(X), rtol=1e-6)
        np.testing.assert_allclose(
            np.sort(other._model.kept_scores), np.sort(whole._model.kept_scores), rtol=1e-6
        )
    assert (whole.predict(gaussian(500, 3)[:, ::-1]) == 1).mean() > 0.9
    assert (whole.predict(X) == -1).mean() > 0.5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 13}, "n_components=13"),
        ({"n_components": 1.5}, "n_components=1.5"),
        ({"score_by": "Q"}, "score_by='Q'"),
        ({"confidence": 1.0}, "confidence=1.0"),
        ({"contamination": 0.7}, "contamination=0.7"),
        ({"solver": "power"}, "solver='power'"),
        ({"nan": "drop"}, "nan='drop'"),
    ],
)
def test_parameters_out_of_range(params, message):
    with pytest.raises(ValueError, match=message):
        SubspaceDetector(**params).fit(X)


def test_too_few_samples():
    with pytest.raises(ValueError, match="n_samples=3 is fewer than the 4"):
        SubspaceDetector(4).fit(X[:3])
    model = SubspaceDetector(4).partial_fit(X[:3])
    with pytest.raises(NotEnoughSamplesError, match="n_components=4 is more than the 3"):
        model.score_samples(X)


def patch_is_located(model, frame, patch):
    """Whether the region with the largest error is one that the patch touches."""
    regions = model.region_contributions(frame, {"y": 16, "x": 16}).spe.squeeze()
    row, column = np.unravel_index(int(regions.values.argmax()), regions.shape)
    y0, y1, x0, x1 = patch
    return y0 < 16 * (row + 1) and y1 > 16 * row and x0 < 16 * (column + 1) and x1 > 16 * column


@pytest.mark.parametrize("kind", ["spike", "nonphysical", "nan"])
def test_locates_a_patch_in_a_simulation(kind):
    injection = Injection(timestep=31, kind=kind, amplitude=6.0, patch=(20, 28, 40, 48))
    simulation = Tokam2D.sol(shape=(64, 64), length=64.0, rk4_steps_per_frame=8, inject=injection)
    density = np.stack([fields["density"].values for fields in simulation.run(31)])
    frames = xr.DataArray(density, dims=("time", "y", "x"))
    model = SubspaceDetector(8, sample_dims="time").fit(frames[:30])
    scores = model.score_samples(frames[25:])
    assert int(scores.values.argmin()) == 5
    assert scores[5] < 3 * scores[:5].min()
    assert patch_is_located(model, frames[30], injection.patch)


@pytest.mark.slow
def test_locates_patches_in_real_turbulence(shared_data):
    with h5py.File(shared_data / "tokam2d" / "sol" / "simulation_fields.h5") as file:
        density = file["density"][:]
    frames = xr.DataArray(density, dims=("time", "y", "x"))
    model = SubspaceDetector(40, sample_dims="time").fit(frames[:150])
    found = []
    for i in range(150, 200, 5):
        injection = Injection(timestep=i, kind="spike", amplitude=4.0)
        fields = {"density": density[i].copy()}
        patch = injection.apply(fields)["injected_patch"]
        frame = frames[i].copy(data=fields["density"])
        found.append(patch_is_located(model, frame, patch))
    assert np.mean(found) >= 0.9


@pytest.mark.slow
def test_healthy_turbulence_raises_no_more_alarms_than_asked(shared_data):
    with h5py.File(shared_data / "tokam2d" / "sol" / "simulation_fields.h5") as file:
        frames = file["density"][:].reshape(200, -1)
    model, threshold = SubspaceDetector(16, score_by="spe"), StreamingThreshold(n_calibration=50)
    scores, p = [], []
    for i, frame in enumerate(frames):
        if i >= 20:
            scores.append(float(model.score_samples(frame[None])[0]))
            p.append(threshold.update([scores[-1]])[0])
        model.partial_fit(frame[None])
    assert np.count_nonzero(np.array(p) <= 1e-3) <= 1


def test_worker_processes_do_not_show(client):
    lazy = da.from_array(X, chunks=(70, 5))
    model, here = SubspaceDetector(4).fit(lazy), SubspaceDetector(4).fit(X)
    np.testing.assert_allclose(
        model.score_samples(lazy).compute(), here.score_samples(X), rtol=1e-9
    )
    parts = model.contributions(lazy)
    np.testing.assert_allclose(parts.spe.compute(), here.contributions(X).spe, atol=1e-9)

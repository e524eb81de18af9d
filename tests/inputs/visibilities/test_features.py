"""Features of baselines against closed forms and naive sums; closures against broken gains."""

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import roc_auc_score

from dask_exa.anomaly import IsolationForest
from dask_exa.compose import make_streaming_pipeline
from dask_exa.datasets import Sky
from dask_exa.inputs import open_stream
from dask_exa.inputs.visibilities import (
    BaselineFeatures,
    baseline_cubes,
    baseline_features,
    closure_amplitudes,
    closure_phases,
)
from dask_exa.preprocessing import StandardScaler
from tests.naive import _interferometer as naive

N_STATIONS = 5


def block_of(values, **more):
    """A block of visibilities (time, baseline, frequency) of given values."""
    values = np.asarray(values, dtype=np.complex128)
    coords = {
        "time": 8.0 * np.arange(values.shape[0]),
        "frequency": 1e8 + 1e5 * np.arange(values.shape[2]),
    }
    dims = ("time", "baseline", "frequency")
    data = xr.Dataset({"visibility": (dims, values)}, coords)
    return data.assign({name: (dims, np.broadcast_to(v, values.shape)) for name, v in more.items()})


def simulated(n_dumps=4, **options):
    array = {"n_stations": N_STATIONS, "n_channels": 6, "noise": 0.0, "seed": 2, **options}
    return next(open_stream("interferometer", **array).windows(n_dumps))


def test_turning_phase_has_its_rate_and_delay():
    time, channel = np.arange(6)[:, None, None], np.arange(9)
    rate, delay = np.array([0.011, -0.03])[:, None], np.array([2e-6, -4.5e-6])[:, None]
    values = 3 * np.exp(2j * np.pi * (8 * time * rate + 1e5 * channel * delay))
    found = baseline_features(block_of(values)).to_dataset("feature")
    np.testing.assert_allclose(found.fringe_rate, rate[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found.delay, delay[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found.amplitude, 3)
    np.testing.assert_allclose(found.variation, 0, atol=1e-12)
    np.testing.assert_allclose(found.kurtosis, 0, atol=1e-12)
    assert (found.coherence < 0.5).all()


def test_fringe_rate_is_that_of_the_baseline():
    """The rate of the path u l + v m + w (n - 1) in wavelengths per second."""
    sky = Sky.of(np.radians(20.0) + 0.01, np.radians(-30.0) + 0.01, 2.0)
    window = simulated(2, sky=sky, n_channels=1)
    direction = sky.directions((np.radians(20.0), np.radians(-30.0)))[0]
    path = window.uvw.values @ (direction - [0, 0, 1])
    expected = np.diff(path, axis=0)[0] / 8 * 140e6 / naive.SPEED_OF_LIGHT
    found = baseline_features(window, ["fringe_rate"])[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert abs(expected).max() > 1e-5


def test_kurtosis_tells_noise_from_carriers_and_bursts():
    random = np.random.default_rng(3)
    noise = random.normal(size=(2, 50, 3, 40))
    values = noise[0] + 1j * noise[1]
    values[:, 1] += 10  # a carrier
    values[7, 2] *= 20  # a burst
    found = baseline_features(block_of(values), ["kurtosis"]).values[:, 0]
    for baseline in range(3):
        powers = (np.abs(values[:, baseline]) ** 2).ravel().tolist()
        assert np.isclose(found[baseline], naive.spectral_kurtosis(powers), rtol=1e-10)
    assert abs(found[0] - 1) < 5 * 2 / np.sqrt(2000)
    assert found[1] < 0.2
    assert found[2] > 10


def test_weights_and_flags_are_heeded():
    random = np.random.default_rng(4)
    values = random.normal(size=(4, 3, 5)) + 1j * random.normal(size=(4, 3, 5))
    weight = random.random((4, 3, 5))
    flag = random.random((4, 3, 5)) < 0.3
    flag[:, 2] = True
    dirty = np.where(flag, np.nan, values)
    names = ["amplitude", "phase", "coherence", "flagged", "variation"]
    found = baseline_features(block_of(dirty, weight=weight, flag=flag), names)
    w, v = np.where(flag, 0, weight)[:, :2], values[:, :2]
    mean = np.array([np.average(v[:, b], weights=w[:, b]) for b in range(2)])
    modulus = np.array([np.average(abs(v[:, b]), weights=w[:, b]) for b in range(2)])
    square = np.array([np.average(abs(v[:, b]) ** 2, weights=w[:, b]) for b in range(2)])
    found = found.to_dataset("feature")
    np.testing.assert_allclose(found.amplitude[:2], np.sqrt(square))
    np.testing.assert_allclose(found.phase[:2], np.angle(mean))
    np.testing.assert_allclose(found.coherence[:2], abs(mean) / modulus)
    np.testing.assert_allclose(found.variation[:2], np.sqrt(square - modulus**2) / modulus)
    np.testing.assert_allclose(found.flagged, flag.mean(axis=(0, 2)))
    assert [float(found[name][2]) for name in names] == [0, 0, 0, 1, 0]


def test_transformer_gives_rows_of_the_same_features():
    window = simulated(4, noise=1.0)
    rows = BaselineFeatures().fit_transform(window)
    table = baseline_features(window)
    assert rows.shape == (10, 8)
    np.testing.assert_allclose(rows[:, 0], np.log10(table[:, 0]))
    np.testing.assert_allclose(rows[:, 1:], table[:, 1:])
    features = BaselineFeatures(["kurtosis", "delay"])
    assert features.transform(window.isel(time=0)).shape == (10, 2)
    assert features.get_feature_names_out().tolist() == ["kurtosis", "delay"]
    assert "fringe_rate" not in BaselineFeatures().fit(window.isel(time=0)).names_
    window["flag"] = xr.ones_like(window.visibility, dtype=bool)
    assert np.isfinite(BaselineFeatures().fit_transform(window)).all()


def test_pipeline_scores_the_baselines_of_a_bad_station():
    event = {"kind": "bad", "timestep": 9, "n_timesteps": 4, "station": 3, "amplitude": 2.0}
    windows = open_stream("interferometer", inject=event).windows(4, 4)
    model = make_streaming_pipeline(
        BaselineFeatures(), StandardScaler(), IsolationForest(random_state=0)
    )
    for _ in range(2):
        model.partial_fit(next(windows))
    last = next(windows)
    faulty = last.faulty.values
    assert faulty.sum() == 15
    assert roc_auc_score(faulty, -model.score_samples(last)) > 0.95  # .989


def test_bad_features_are_named():
    window = simulated(2)
    with pytest.raises(ValueError, match=r"features=\['power'\] must be some of amplitude"):
        baseline_features(window, ["power"])
    with pytest.raises(ValueError, match="'fringe_rate' takes two dumps"):
        baseline_features(window.isel(time=0), ["fringe_rate"])
    with pytest.raises(ValueError, match="'delay' takes two channels"):
        baseline_features(window.isel(frequency=[0]), ["delay"])


def broken(window):
    """The same block with gains of the stations that change in every dump and channel."""
    random = np.random.default_rng(6)
    gains = np.exp(random.normal(size=(2, 4, N_STATIONS, 6)) * [[[[0.5]]], [[[2.0]]]])
    gains = gains[0] * np.exp(1j * np.log(gains[1]))
    first, second = window.antenna1.values, window.antenna2.values
    return window.assign(visibility=window.visibility * gains[:, first] * gains[:, second].conj())


def test_closures_are_those_of_their_definition_and_do_not_see_gains():
    window = simulated(4, sky=3)
    pairs = list(zip(window.antenna1.values.tolist(), window.antenna2.values.tolist(), strict=True))
    for data in (window, broken(window)):
        phases, amplitudes = closure_phases(data), closure_amplitudes(data)
        assert phases.sizes == {"time": 4, "triangle": 6, "frequency": 6}
        assert amplitudes.sizes == {"time": 4, "quadrangle": 5, "frequency": 6}
        values = dict(zip(pairs, window.visibility.values[1, :, 2].astype(complex), strict=True))
        for triangle in phases[1, :, 2]:
            corners = [int(triangle[name]) for name in "pqr"]
            assert abs(float(triangle) - naive.closure_phase(values, *corners)) < 1e-4
    chosen = closure_amplitudes(broken(window), [(0, 1, 2, 3), (1, 2, 3, 4)])
    for quadrangle in chosen[1, :, 2]:
        corners = [int(quadrangle[name]) for name in "pqrs"]
        assert np.isclose(quadrangle, naive.closure_amplitude(values, *corners), rtol=1e-4)
    np.testing.assert_allclose(
        closure_amplitudes(broken(window)), closure_amplitudes(window), rtol=1e-4
    )


def test_one_source_closes():
    window = simulated(2, sky=Sky.of(0.35, -0.52, 2.0))
    np.testing.assert_allclose(closure_phases(window), 0, atol=1e-5)
    np.testing.assert_allclose(closure_amplitudes(window), 1, rtol=1e-5)


def test_closure_is_nan_where_a_visibility_is_missing():
    window = simulated(2)
    window["flag"] = window.visibility.astype(bool) & False
    window.flag[0, 0, 3] = True  # stations 0 and 1
    phases = closure_phases(window)
    is_hit = (phases.p == 0) & (phases.q == 1)
    assert np.isnan(phases[0, :, 3]).values.tolist() == is_hit.values.tolist()
    assert np.isfinite(phases[1]).all()
    one = closure_phases(window.isel(time=1))
    assert one.dims == ("triangle", "frequency")
    np.testing.assert_allclose(one, phases[1])


def test_bad_closures_are_named():
    window = simulated(2)
    with pytest.raises(ValueError, match=r"antennas \(0, 9\) are no baseline"):
        closure_phases(window, [(0, 9, 1)])
    with pytest.raises(ValueError, match="data with 4 antennas or more"):
        closure_amplitudes(simulated(2, n_stations=3))
    with pytest.raises(ValueError, match="no 'antenna1'"):
        closure_phases(window.drop_vars("antenna1"))


def test_cubes_are_real_and_stay_lazy():
    window = simulated(3)
    window["flag"] = window.visibility.astype(bool) & False
    window.flag[2, 1, 0] = True
    cube = baseline_cubes(window.chunk({"baseline": 5}), ("real", "imag", "amplitude", "phase"))
    assert cube.dims == ("baseline", "time", "frequency", "part")
    assert cube.dtype == np.float32
    assert cube.chunks[0] == (5, 5)
    values = window.visibility.transpose("baseline", "time", "frequency").values
    expected = np.stack([values.real, values.imag, np.abs(values), np.angle(values)], axis=-1)
    expected[1, 2, 0] = 0
    np.testing.assert_allclose(cube, expected, rtol=1e-6)
    assert baseline_cubes(window.isel(time=0), "amplitude").dims == (
        "baseline",
        "frequency",
        "part",
    )
    with pytest.raises(ValueError, match=r"parts=\['angle'\]"):
        baseline_cubes(window, ["angle"])

"""Light curves of sources, and a streamed classifier that tells constant ones from transients."""

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import SGDClassifier

from dask_exa.compose import StreamingPipeline
from dask_exa.datasets import Interferometer, Sky
from dask_exa.inputs import open_stream
from dask_exa.inputs.visibilities import brightest_directions, light_curves, source_features
from dask_exa.preprocessing import StandardScaler
from tests.naive import _interferometer as naive

CENTRE = tuple(np.radians([20.0, -30.0]))
N_CONSTANT, N_TRANSIENT, N_DUMPS = 6, 4, 16


def window_of(n_dumps=N_DUMPS, **options):
    return next(open_stream("interferometer", n_channels=8, **options).windows(n_dumps))


def test_light_curve_is_the_dirty_image_at_its_place():
    window = window_of(3, n_stations=6, noise=1.0)
    random = np.random.default_rng(0)
    window["weight"] = (window.visibility.dims, random.random(window.visibility.shape))
    window["flag"] = (("time", "baseline"), np.arange(45).reshape(3, 15) % 4 == 0)
    window.flag[2] = True
    places = [(0.004, -0.003), (0.3, 0.2)]
    found = light_curves(window, places)
    assert found.dims == ("time", "source")
    for time in range(2):
        weight = np.where(window.flag[time], 0, window.weight[time].T).T
        arguments = (window.uvw[time].values, window.frequency.values)
        for source, place in enumerate(places):
            values = window.visibility[time].values.astype(complex)
            expected = naive.dirty_pixel(*arguments, values, weight, *place)
            assert abs(float(found[time, source]) - expected) < 1e-5
    assert np.isnan(found[2]).all()
    assert float(found.m[0]) == -0.003


def test_transient_is_seen_while_it_is_on():
    event = {"timestep": 5, "n_timesteps": 3, "amplitude": 2.0, "direction": (0.006, 0.002)}
    window = window_of(
        10, sky=Sky.of(*CENTRE, 1.0), noise=0.5, inject={"kind": "transient", **event}
    )
    there, nowhere = light_curves(window, [event["direction"], (-0.01, 0.01)]).values.T
    # the noise of an image is 0.5 / sqrt(120 * 8); the rest is the beam of the other source
    is_on = np.isin(window.timestep.values, (5, 6, 7))
    np.testing.assert_allclose(there[is_on] - there[~is_on].mean(), 2.0, atol=0.15)
    assert np.abs(nowhere).max() < 0.7
    features = source_features(window, [event["direction"], (0.0, 0.0)]).to_dataset("feature")
    assert features["peak"][0] > 2 > features["peak"][1]
    assert features["modulation"][0] > 5 * features["modulation"][1]
    assert features["octave 1"][0] > features["octave 1"][1] + 1
    assert features["contrast"][1] > 2


def test_octaves_hold_the_variance_of_the_light_curve():
    window = window_of(9, noise=2.0)
    curve = light_curves(window, [(0.0, 0.0)]).values[:, 0]
    features = source_features(window, [(0.0, 0.0)])[0]
    powers = 10 ** features.sel(feature=[f"octave {i}" for i in (1, 2, 3)]).values
    assert np.isclose(powers.sum(), curve.var() / np.abs(curve).mean() ** 2)


def test_brightest_directions_are_the_sources():
    pytest.importorskip("ducc0", reason="needs ducc0: pip install 'dask-exa[radio]'")
    from dask_exa.inputs.visibilities import dirty_images

    sky = Sky.of(CENTRE[0] + np.array([0.0, 0.012]), CENTRE[1] + np.array([0.01, -0.005]), [2, 4])
    array = Interferometer(24, sky=sky, noise=0.1)
    image = dirty_images(array.advance(), 256, 2e-4)[0]
    found = brightest_directions(image, 2, separation=0.004)
    np.testing.assert_allclose(found, sky.directions(CENTRE)[::-1, :2], atol=3e-4)
    assert len(brightest_directions(image.where(False), 3)) == 0
    assert len(brightest_directions(image, 9, separation=1.0)) == 1


def labelled_sources(seed):
    """Features of constant sources and transients of one window, and which they are."""
    random = np.random.default_rng(seed)
    events = [
        {
            "kind": "transient",
            "timestep": int(random.integers(2, 12)),
            "n_timesteps": int(random.integers(1, 8)),
            "amplitude": float(random.uniform(0.5, 4)),
            "direction": tuple(random.uniform(-0.015, 0.015, 2)),
        }
        for _ in range(N_TRANSIENT)
    ]
    sky = Sky.draw(N_CONSTANT, CENTRE, seed=seed)
    window = window_of(sky=sky, noise=4.0, seed=seed, inject=events)
    constant = sky.directions(CENTRE)[:, :2]
    directions = np.vstack([constant, [event["direction"] for event in events]])
    labels = np.repeat(["constant", "transient"], [N_CONSTANT, N_TRANSIENT])
    return source_features(window, directions).values, labels


@pytest.mark.slow
def test_streamed_classifier_tells_transients_from_constant_sources():
    """Transients of 0.5 to 4 Jy in 1 to 7 of 16 dumps, each with an image noise of 0.13 Jy."""
    model = StreamingPipeline(
        [("scale", StandardScaler()), ("classify", SGDClassifier(loss="log_loss", random_state=0))]
    )
    for seed in range(40):
        X, y = labelled_sources(seed)
        model.partial_fit(X, y, classes=["constant", "transient"])
    parts = [labelled_sources(seed) for seed in range(100, 130)]
    X, y = (np.concatenate(values) for values in zip(*parts, strict=True))
    found = model.predict(X)
    recalls = [np.mean(found[y == name] == name) for name in ("constant", "transient")]
    assert np.mean(found == y) > 0.93  # .953
    assert min(recalls) > 0.88


def test_bad_arguments_are_named():
    window = window_of(4)
    with pytest.raises(ValueError, match="4 dumps with values"):
        source_features(window, [(0, 0)])
    with pytest.raises(ValueError, match="within the unit circle"):
        light_curves(window, [(1.0, 0.3)])
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        light_curves(window, [(0.0, 0.3, 0.1)])
    with pytest.raises(ValueError, match="n_sources=0"):
        brightest_directions(xr.DataArray(np.zeros((2, 2)), dims=("m", "l")), 0)

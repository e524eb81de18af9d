"""Averages over dumps: weighted means of the right rows, with a bounded loss."""

import numpy as np
import pytest

from dask_exa.datasets import Sky
from dask_exa.inputs import open_stream
from dask_exa.inputs.visibilities import average_baselines

RADIUS, LOSS = 0.02, 0.01


def window_of(n_dumps, **options):
    array = {"n_stations": 12, "n_channels": 3, "noise": 0.0, **options}
    return next(open_stream("interferometer", **array).windows(n_dumps))


def test_amplitude_of_a_source_at_the_edge_is_kept_as_promised():
    """Long baselines stay whole, short ones are averaged, and no one loses more."""
    sky = Sky.of(np.radians(20.0) + RADIUS / np.cos(np.radians(-30.0)), np.radians(-30.0), 1.0)
    window = window_of(32, sky=sky, interval=30.0)
    rows = average_baselines(window, field_radius=RADIUS, max_loss=LOSS)
    loss = 1 - np.abs(rows.visibility.values)
    assert loss.max() <= LOSS * 1.02
    assert loss.max() > 0.1 * LOSS  # or it could have averaged more
    longest = np.linalg.norm(window.uvw, axis=2).max(axis=0)
    n_dumps = np.array([int(rows.n_dumps[rows.baseline == b].max()) for b in range(66)])
    assert set(n_dumps) >= {4, 8, 16, 32}
    assert n_dumps[longest.argmin()] > n_dumps[longest.argmax()]
    assert rows.sizes["row"] < 0.3 * 32 * 66


def test_rows_are_weighted_means_of_their_dumps():
    window = window_of(5, noise=1.0)
    random = np.random.default_rng(0)
    shape = window.visibility.shape
    window["weight"] = (window.visibility.dims, random.random(shape).astype(np.float32))
    window["flag"] = (window.visibility.dims, random.random(shape) < 0.3)
    window.visibility.values[window.flag.values] = np.nan
    rows = average_baselines(window, max_loss=0.5)
    assert rows.n_dumps.sum() == 5 * 66
    weight = np.where(window.flag, 0.0, window.weight.astype(float))
    for baseline in (0, 17, 65):
        mine = rows.isel(row=np.flatnonzero(rows.baseline == baseline))
        start = 0
        for i in range(mine.sizes["row"]):
            part = slice(start, start + int(mine.n_dumps[i]))
            start = part.stop
            w = weight[part, baseline]
            v = np.where(w > 0, window.visibility.values[part, baseline], 0)
            np.testing.assert_allclose(mine.weight[i], w.sum(axis=0), rtol=1e-5)
            there = w.sum(axis=0) > 0
            expected = (w * v).sum(axis=0)[there] / w.sum(axis=0)[there]
            np.testing.assert_allclose(mine.visibility[i].values[there], expected, rtol=1e-4)
            assert np.isnan(mine.visibility[i].values[~there]).all()
            if w.sum():
                share = w.sum(axis=1) / w.sum()
                np.testing.assert_allclose(mine.uvw[i], share @ window.uvw[part, baseline].values)
                np.testing.assert_allclose(mine.time[i], share @ window.time[part].values)
        assert start == 5
    assert (np.diff(rows.time) >= 0).all()
    assert np.array_equal(rows.antenna1, window.antenna1[rows.baseline.values])


def test_sums_of_weights_are_kept():
    window = window_of(8, noise=1.0)
    assert float(average_baselines(window).weight.sum()) == window.visibility.size


def test_nothing_is_averaged_where_nothing_may_be_lost():
    window = window_of(4)
    rows = average_baselines(window, max_loss=1e-12)
    assert rows.sizes["row"] == 4 * 66
    assert np.array_equal(rows.visibility.values, window.visibility.values.reshape(-1, 3))
    one = average_baselines(window.isel(time=0))
    assert one.sizes["row"] == 66
    assert np.array_equal(one.visibility, window.visibility[0])


def test_baseline_without_weight_is_nan_where_it_was():
    window = window_of(4)
    window["flag"] = (("baseline",), np.arange(66) == 7)
    rows = average_baselines(window)
    mine = rows.isel(row=np.flatnonzero(rows.baseline == 7))
    assert np.isnan(mine.visibility).all()
    assert not mine.weight.any()
    assert np.isfinite(mine.uvw).all()
    others = rows.isel(row=np.flatnonzero(rows.baseline != 7))
    assert np.isfinite(others.visibility).all()


def test_bad_arguments_are_named():
    window = window_of(2)
    with pytest.raises(ValueError, match=r"max_loss=1\.5"):
        average_baselines(window, max_loss=1.5)
    with pytest.raises(ValueError, match="field_radius=-1"):
        average_baselines(window, field_radius=-1)

"""Fields of a fixed size from dumps, and alarms about an observation by OSKAR."""

import numpy as np
import pytest

from dask_exa.apps.ska import VisibilityDetector
from dask_exa.datasets import Interferometer
from dask_exa.inputs import open_stream
from dask_exa.inputs.visibilities import Screening


def test_many_channels_are_put_together_in_the_waterfall():
    step = Interferometer(6, 320).advance()
    _, amplitude, flags = Screening(transients=False)(step).attrs["waterfall"][0]
    assert len(amplitude) == len(flags) == 160
    expected = np.abs(step.visibility.values).mean(axis=0).reshape(160, 2).mean(axis=1)
    np.testing.assert_allclose(amplitude, expected, atol=1e-3)


def test_a_window_is_represented_by_its_last_dump():

    options = {"n_stations": 8, "n_channels": 16}
    window = next(open_stream("interferometer", **options).windows(3))
    together, single = Screening(transients=False), Screening(transients=False)
    for step in Interferometer(**options).run(3):
        last = single(step)
    found = together(window)
    np.testing.assert_array_equal(found.channel_power, last.channel_power)
    assert int(found.timestep) == 3
    assert len(found.attrs["waterfall"]) == 3


@pytest.mark.slow
def test_alarms_about_an_observation_by_oskar(low_dev):
    """One station and one place in the sky, in their windows; and the channels of the truth."""
    detector, subjects, n_channels = VisibilityDetector(), {}, 0
    for step, fields in enumerate(low_dev.fields):
        for alarm in detector.observe(fields).alarms:
            subjects.setdefault(alarm.subject[1][0], []).append(step)
            if alarm.variable == "channel_power":
                n_channels += alarm.block[0][1] - alarm.block[0][0] + 1
    stations = [name for name in subjects if name.startswith("station")]
    sources = [name for name in subjects if name.startswith("source")]
    assert stations == [f"station {low_dev.truth['bad_station']}"]
    assert subjects[stations[0]] == list(range(*low_dev.truth["bad_steps"]))
    assert len(sources) == 1
    assert subjects[sources[0]] == list(range(*low_dev.truth["transient_steps"]))
    assert n_channels == low_dev.flags.any(axis=1).sum()

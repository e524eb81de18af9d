"""From what the scheduler knows of a stream to the columns of figures."""

import math

import numpy as np
import pytest

from dask_exa.insitu.telemetry import Shown, StepRecord, Telemetry
from dask_exa.report import _live_data


def record(timestep, completed, waited=(), held=(), state="complete", reason=""):
    return StepRecord(
        timestep, float(timestep), completed, np.asarray(waited), np.asarray(held), state, reason
    )


def stream(steps=(), **fields):
    given = {"n_ranks": 2, "depth": 2, "shown": (), "n_complete": 0, "n_lost": 0, "n_dropped": 0}
    given |= {"reader": "client", "stopped": "", "fault": ""}
    return Telemetry(name="simulation", steps=tuple(steps), **{**given, **fields})


@pytest.mark.parametrize(
    ("fields", "now", "text"),
    [
        ({"steps": ()}, 0.0, "waiting for the first step"),
        ({}, 0.0, "running"),
        ({"n_held": 3}, 1.0, "running"),  # it may be about to go on
        ({"n_held": 3}, 9.0, "waiting for analytics"),
        ({"n_held": 2}, 9.0, "running"),  # the simulation computes
        ({"reader": ""}, 0.0, "waiting for analytics"),
        ({"reader": "", "is_read": False}, 9.0, "running; analytics has left"),
        ({"stopped": "too hot."}, 0.0, "stopping: too hot"),
        ({"stopped": "too hot", "has_ended": True}, 0.0, "stopped: too hot"),
        ({"has_ended": True}, 0.0, "ended"),
        ({"fault": "rank 1 died", "has_ended": True}, 0.0, "fault: rank 1 died"),
    ],
)
def test_status(fields, now, text):
    assert _live_data.status(stream(**{"steps": [record(0, 0.0)], **fields}), now).text == text


def test_rates_are_those_of_the_last_eight_steps():
    steps = [record(i, 0.1 * i if i <= 10 else 1.0 + 0.2 * (i - 10)) for i in range(30)]
    rates = dict(zip(*_live_data.rates(steps).values(), strict=True))
    assert rates[5] == pytest.approx(10.0)
    assert rates[14] == pytest.approx(8 / (0.4 + 0.8))
    assert rates[29] == pytest.approx(5.0)


def test_the_rate_falls_while_no_step_comes():
    steps = [record(i, float(i)) for i in range(9)]
    assert _live_data.rate_now(steps, 8.5) == pytest.approx(1.0)
    assert _live_data.rate_now(steps, 17.0) == pytest.approx(8 / 16)
    assert _live_data.rate_now(steps[:1], 8.5) == 0.0


def test_neighbouring_ranks_share_a_row_with_their_largest_value():
    waited = np.zeros(130)
    waited[[1, 129]] = 5.0, 7.0
    steps = [record(0, 0.0, waited), record(1, 1.0, 2 * waited)]
    found = _live_data.rank_map(steps, "waited", 130)
    assert _live_data.group_size(130) == 3
    assert found.shape == (44, 2)
    expected = np.zeros((44, 2))
    expected[0], expected[43] = (5.0, 10.0), (7.0, 14.0)
    np.testing.assert_array_equal(found, expected)


def test_a_step_that_is_missing_is_held_from_the_one_before():
    steps = [record(timestep, 0.0, held=[i, i]) for i, timestep in enumerate((10, 20, 50))]
    np.testing.assert_array_equal(_live_data.rank_map(steps, "held", 2)[0], [0, 1, 1, 1, 2])
    assert _live_data.map_extent(steps) == (5.0, 50.0)


def test_lines_have_gaps_and_one_sum_of_shares():
    shown = [
        Shown("density", 1, explained_variance=np.array([0.5, 0.25]), score=1.0),
        Shown("density", 2, explained_variance=0.875, score=math.nan),
        Shown("flux", 2, score=3.0),
    ]
    variance = _live_data.lines(shown, "explained_variance", scale=100.0)
    assert variance == {"density": {"timestep": [1, 2], "value": [75.0, 87.5]}}
    scores = _live_data.lines(shown, "score")
    assert scores["flux"] == {"timestep": [2], "value": [3.0]}
    assert math.isnan(scores["density"]["value"][1])


def test_a_huge_score_is_drawn_at_the_edge_and_keeps_its_value():
    shown = [Shown("", i, score=1.0, limit=2.0) for i in range(20)]
    shown += [
        Shown("", 20, score=1e6, limit=2.0, alarms=("huge.",)),
        Shown("", 21, alarms=("nan",)),
    ]
    assert _live_data.usual_top(shown) == 3.0
    found = _live_data.alarms(shown)
    assert found["timestep"] == [20, 21]
    assert found["score"][0] == 1e6
    assert math.isnan(found["score"][1])
    assert found["place"] == [3.0, 3.0]


def test_what_did_not_come_is_told():
    steps = [
        record(1, 0.0),
        record(2, 0.0, state="lost", reason="step 2 is lost: rank 1 has died"),
        record(3, 0.0, state="dropped"),
    ]
    found = stream(steps)
    assert _live_data.losses(found)["text"] == [
        "step 2 is lost: rank 1 has died",
        "left out by the ranks",
    ]
    assert _live_data.last_loss(found) == "step 2 is lost: rank 1 has died"
    assert [step.timestep for step in _live_data.complete_steps(found)] == [1]

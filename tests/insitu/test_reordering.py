"""Arrays that come in any order leave in order of their timesteps, joined; against sorting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa.insitu._reordering import Complete, Lost, Reordering

ARRAYS = {"density": 1, "potential": 2, "flux": 3}


def drained(order):
    found = []
    while (step := order.take()) is not None:
        found.append(step)
    return found


def due(timestep, first=0):
    return {name for name, every in ARRAYS.items() if (timestep - first) % every == 0}


@given(st.permutations([(t, name) for t in range(3, 11) for name in sorted(due(t, 3))]))
def test_any_order_gives_the_sorted_steps(arrivals):
    order, found = Reordering(ARRAYS, first=3, depth=8), []
    for timestep, name in arrivals:
        assert order.add(name, timestep, (name, timestep)) == ""
        found += drained(order)
    assert [step.timestep for step in found] == list(range(3, 11))
    for timestep, arrays in found:
        assert arrays == {name: (name, timestep) for name in due(timestep, 3)}
    assert not order.is_behind


@given(
    st.permutations(range(12)),
    st.sets(st.integers(0, 11)),
    st.integers(1, 6),
)
def test_every_step_is_given_or_lost_once_and_few_wait(timesteps, never, depth):
    """Whatever does not come: the steps that do are given in order, the others are told."""
    order, found = Reordering({"density": 1}, depth=depth), []
    late = set()
    for timestep in timesteps:
        if timestep not in never and order.add("density", timestep, timestep):
            late.add(timestep)
        assert len(order._waiting) <= depth
        found += drained(order)
    while order.is_behind:
        found += [order.take() or order.give_up("the end")]
    assert [step.timestep for step in found] == list(range(len(found)))
    given_ = {step.timestep for step in found if isinstance(step, Complete)}
    lost = {step.timestep for step in found if isinstance(step, Lost)}
    assert given_ == set(range(12)) - never - late - {
        s.timestep for s in found if isinstance(s, Lost)
    }
    assert late <= lost
    assert never & set(range(len(found))) <= lost


def test_multiples_of_a_stride_are_the_steps():
    order = Reordering({"density": 4, "potential": 6}, first=2)
    for timestep in (14, 2, 8, 6, 10):
        for name, every in order.every.items():
            if (timestep - 2) % every == 0:
                order.add(name, timestep, None)
    steps = [(step.timestep, sorted(step.arrays)) for step in drained(order)]
    assert steps == [
        (2, ["density", "potential"]),
        (6, ["density"]),
        (8, ["potential"]),
        (10, ["density"]),
        (14, ["density", "potential"]),
    ]


def test_a_hole_makes_room_for_later_steps():
    order = Reordering({"density": 1, "potential": 1}, depth=3)
    order.add("density", 0, None)
    for timestep in (1, 2, 3):
        order.add("density", timestep, None)
        order.add("potential", timestep, None)
    lost, *rest = drained(order)
    assert lost == Lost(0, ("potential",), "while 3 later steps wait")
    assert [step.timestep for step in rest] == [1, 2, 3]
    assert "given up" in order.add("potential", 0, None)


def test_steps_beyond_slow_analytics_are_dropped_and_told_in_their_place():
    order = Reordering({"density": 1}, depth=2)
    for timestep in range(4):
        assert order.add("density", timestep, timestep) == ""
    assert order.take().timestep == 0
    order.add("density", 4, 4)  # does not fit: steps 2 and 3 have no place before 1 is taken
    found = drained(order)
    assert [(type(step), step.timestep) for step in found] == [
        (Complete, 1),
        (Lost, 2),
        (Lost, 3),
        (Lost, 4),
    ]
    assert all(step.is_dropped and "behind" in step.why for step in found[1:])
    order.add("density", 5, 5)
    assert order.take() == Complete(5, {"density": 5})


def test_what_was_missed_is_told_at_once():
    order = Reordering({"density": 1, "potential": 1}, first=7)
    order.refuse("density", 7, "sent too early")
    assert order.take() == Lost(7, ("density",), "sent too early")
    assert order.timestep == 8
    assert order.missing == ("density", "potential")


def test_unexpected_timesteps_are_named():
    order = Reordering({"density": 5}, first=2)
    assert "timestep 6 of array 'density' was not expected" in order.add("density", 6, None)
    assert "from 2 on" in order.add("density", 1, None)


@pytest.mark.parametrize("depth", [1, 4])
def test_lost_arrays_are_forgotten(depth):
    order = Reordering({"density": 1, "potential": 1}, depth=depth)
    order.add("density", 0, object())
    assert order.give_up("time").names == ("potential",)
    assert not order._waiting
    order.add("density", 1, object())
    order.clear()
    assert not order.is_behind

"""The course of a stream, without a network: every step is settled once, and nobody waits on."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dask_exa.insitu import _events as events
from dask_exa.insitu._layout import ArrayLayout
from dask_exa.insitu._state import StreamState
from dask_exa.insitu.errors import StreamError

TIMEOUT, TIME_TO_LIVE = 10.0, 20.0


def layout(name, owners, n_ranks):
    places = iter(range(n_ranks))
    positions = tuple((next(places),) if rank in owners else None for rank in range(n_ranks))
    return ArrayLayout(name, ("x",), ((1,) * len(owners),), positions, np.dtype(float))


def state_of(n_ranks, **owners):
    owners = {name: set(ranks) for name, ranks in owners.items()} or {"x": set(range(n_ranks))}
    layouts = {name: layout(name, ranks, n_ranks) for name, ranks in owners.items()}
    return StreamState("sim", layouts, n_ranks, timeout=TIMEOUT, time_to_live=TIME_TO_LIVE)


def put(rank, step, *names):
    names = names or ("x",)
    return events.Put(rank, step, float(step), names, (8,) * len(names))


def news(instructions):
    return [one.news for one in instructions if isinstance(one, events.Announce)]


def reasons(instructions):
    return [told["reason"] for told in news(instructions) if "reason" in told]


class Course(RuleBasedStateMachine):
    """Ranks, a reader and a clock in any interleaving that keeps the order of each rank."""

    def __init__(self):
        super().__init__()
        self.n_ranks = 3
        self.state = state_of(self.n_ranks)
        self.now = 0.0
        self.at = [-1] * self.n_ranks  # last step of each rank
        self.left = set()
        self.dead = set()
        self.reader = None
        self.chunks = set()  # (rank, step) that lie on a rank's worker and are not registered
        self.held = set()
        self.seen = set()
        self.n_released = 0
        self.told_fault = Counter()
        self.n_let_go = 0
        self.is_left_alone = False
        self.announced = -1
        self.n_announced_faults = 0

    def send(self, event):
        instructions = self.state.handle(event, self.now)
        for one in instructions:
            ENACT[type(one)](self, one)
        return instructions

    def hold(self, one):
        step = one.step.step
        assert sorted(one.step.puts) == list(range(self.n_ranks))
        assert step not in self.held
        assert not any(rank in self.dead for rank in one.step.puts)
        self.held.add(step)
        self.chunks -= {(rank, step) for rank in range(self.n_ranks)}

    def free(self, one):
        self.held.remove(one.step.step)

    def discard(self, one):
        for rank in one.puts:
            if rank not in self.dead:
                self.chunks.remove((rank, one.step))

    def announce(self, one):
        if one.news["what"] == "step" and self.reader is not None and not self.attaching:
            assert one.news["step"] > self.announced
            self.announced = one.news["step"]
        self.n_announced_faults += one.news["what"] == "fault" and not self.attaching

    def tell(self, one):
        assert not set(one.ranks) & (self.left | self.dead)
        if "fault" in one.news:
            self.told_fault.update(one.ranks)

    def let_go(self, one):
        self.n_let_go += 1

    attaching = False

    def present(self):
        return [rank for rank in range(self.n_ranks) if rank not in self.left | self.dead]

    @precondition(lambda self: self.present())
    @rule(data=st.data(), gap=st.sampled_from([1, 1, 1, 1, 2]))
    def rank_puts(self, data, gap):
        rank = data.draw(st.sampled_from(self.present()))
        self.at[rank] += gap
        self.chunks.add((rank, self.at[rank]))
        self.seen.add(self.at[rank])
        self.send(put(rank, self.at[rank]))

    @precondition(lambda self: self.present())
    @rule(data=st.data())
    def rank_leaves_a_step_out(self, data):
        rank = data.draw(st.sampled_from(self.present()))
        self.at[rank] += 1
        self.seen.add(self.at[rank])
        self.send(events.Dropped(rank, self.at[rank]))

    @precondition(lambda self: self.present())
    @rule()
    def all_ranks_put(self):
        step = max(self.at) + 1
        for rank in self.present():
            self.at[rank] = step
            self.chunks.add((rank, step))
            self.seen.add(step)
            self.send(put(rank, step))

    @precondition(lambda self: self.present())
    @rule(data=st.data(), error=st.sampled_from(["", "", "it broke"]))
    def rank_closes(self, data, error):
        rank = data.draw(st.sampled_from(self.present()))
        self.left.add(rank)
        self.send(events.Closed(rank, error))

    @rule(rank=st.integers(0, 2))
    def rank_dies(self, rank):
        if rank in self.dead:
            return
        self.dead.add(rank)
        self.chunks = {chunk for chunk in self.chunks if chunk[0] != rank}
        self.send(events.Died(rank))

    @precondition(lambda self: self.reader is None)
    @rule(reader=st.sampled_from("ab"))
    def reader_comes(self, reader):
        self.reader, self.attaching, self.is_left_alone = reader, True, False
        told = [one["step"] for one in news(self.send(events.Attached(reader))) if "time" in one]
        self.attaching = False
        if not self.n_let_go:
            assert told == sorted(self.held)

    @precondition(lambda self: self.reader is not None)
    @rule()
    def reader_leaves(self):
        self.send(events.Detached(self.reader))
        self.reader, self.is_left_alone = None, True
        assert not self.held
        assert not self.chunks

    @precondition(lambda self: self.reader is not None)
    @rule()
    def reader_dies(self):
        self.send(events.ReaderDied(self.reader))
        self.reader = None

    @precondition(lambda self: self.held and self.reader is not None)
    @rule()
    def reader_releases(self):
        step = min(self.held)
        self.send(events.Released(step))
        assert step not in self.held
        self.n_released += 1

    @rule()
    def reader_stops(self):
        if self.reader is not None:
            self.send(events.StopAsked("enough"))

    @rule(seconds=st.sampled_from([0.1, TIMEOUT / 2, TIMEOUT + 1, TIME_TO_LIVE + 1]))
    def time_passes(self, seconds):
        was_held = set(self.held)
        self.now += seconds
        self.send(events.Tick())
        if seconds > TIMEOUT:
            assert not self.state.pending
        if seconds > TIME_TO_LIVE and self.reader is None:
            assert not was_held & self.held

    @invariant()
    def every_step_is_settled_once(self):
        state = self.state
        if self.n_let_go:
            return
        open_steps = len(state.pending) + len(state.held)
        settled = self.n_released + state.n_lost + state.n_dropped + state.n_unread
        assert settled + open_steps == len(self.seen)
        assert set(state.held) == self.held

    @invariant()
    def chunks_of_no_step_on_its_way_are_gone(self):
        if self.n_let_go:
            return
        waiting = {(rank, s.step) for s in self.state.pending.values() for rank in s.puts}
        assert self.chunks == {(rank, step) for rank, step in waiting if rank not in self.dead}

    @invariant()
    def a_fault_is_told_once(self):
        assert all(count == 1 for count in self.told_fault.values())
        assert self.n_announced_faults <= 1
        if self.state.fault:
            assert set(self.present()) <= set(self.told_fault)

    @invariant()
    def ranks_are_let_go_once_and_only_when_all_have_left(self):
        assert self.n_let_go <= 1
        if self.is_left_alone and not self.present():
            assert self.n_let_go == 1
        if self.n_let_go:
            assert not self.present()
            assert not self.held


ENACT = {
    events.Hold: Course.hold,
    events.Free: Course.free,
    events.Discard: Course.discard,
    events.Announce: Course.announce,
    events.Tell: Course.tell,
    events.LetGo: Course.let_go,
}

TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def after(state, *told):
    """Return the reasons given for the last of some events."""
    for event in told[:-1]:
        state.handle(event, 0.0)
    return reasons(state.handle(told[-1], 0.0))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            [put(0, 3), put(1, 4)],
            ["step 3 is lost: rank 1 went on to step 4 without it"],
        ),
        ([put(1, 4), put(0, 3)], ["step 3 is lost: rank 1 went on without it"]),
        ([put(0, 3), events.Dropped(1, 3)], ["step 3 is lost: rank 1 left it out"]),
        ([put(0, 3), events.Closed(1)], ["step 3 is lost: rank 1 has left"]),
        ([events.Closed(1), put(0, 3)], ["step 3 is lost: rank 1 had left before it"]),
        (
            [put(0, 3), events.Died(1)],
            ["step 3 is lost: rank 1 has died", "rank 1 died before any step"],
        ),
        (
            [put(0, 3), put(1, 3), events.Died(1)],
            [
                "step 3 is lost: its chunks on rank 1 went with its worker",
                "rank 1 died after step 3",
            ],
        ),
        ([events.Closed(1, "rank 1 raised ValueError: x")], ["rank 1 raised ValueError: x"]),
        (
            [events.Put(0, 3, 3.0, (), ()), put(1, 3)],
            [
                "step 3 is lost: rank 1 did not put the arrays that others put",
                "rank 1 put ['x'] at step 3, rank 0 []; all ranks put the same arrays",
            ],
        ),
    ],
)
def test_reasons_name_step_and_rank(told, expected):
    assert after(state_of(2), *told) == expected


def test_a_late_rank_is_named_with_the_time_out():
    state = state_of(12)
    state.handle(put(0, 5), 0.0)
    assert not state.handle(events.Tick(), TIMEOUT)
    assert reasons(state.handle(events.Tick(), TIMEOUT + 0.1)) == [
        "step 5 is lost: ranks 1, 2, 3, 4, 5, 6, 7, 8, … did not put it within 10 s of the first "
        "rank"
    ]


def test_a_rank_that_comes_after_the_time_out_opens_no_step():
    state = state_of(2)
    state.handle(put(0, 5), 0.0)
    state.handle(events.Tick(), TIMEOUT + 1)
    assert state.handle(put(1, 5), TIMEOUT + 2) == [events.Discard(5, {1: put(1, 5)})]
    assert (state.n_lost, state.pending) == (1, {})


def test_arrays_are_compared_with_a_rank_that_has_them_too():
    """Rank 0 has no chunk of y: what it puts says nothing about it."""
    state = state_of(3, x=[0, 1, 2], y=[1, 2])
    state.handle(put(0, 0, "x"), 0.0)
    state.handle(put(1, 0, "x", "y"), 0.0)
    told = reasons(state.handle(put(2, 0, "x"), 0.0))
    assert told[-1] == (
        "rank 2 put ['x'] at step 0, rank 1 ['x', 'y']; all ranks put the same arrays"
    )


def test_a_stop_that_meets_a_waiting_rank_loses_no_step():
    """One rank still found a buffer for the step that another left out as it was told to stop."""
    state = state_of(2)
    state.handle(put(0, 3), 0.0)
    state.handle(events.StopAsked("enough"), 0.0)
    assert news(state.handle(events.Dropped(1, 3), 0.0)) == [{"what": "dropped", "step": 3}]
    assert (state.n_lost, state.n_dropped) == (0, 1)


def test_a_second_reader_is_refused():
    state = state_of(1)
    state.handle(events.Attached("a"), 0.0)
    with pytest.raises(StreamError, match=r"stream 'sim' is read by another client \(a\) than b"):
        state.handle(events.Attached("b"), 0.0)


def test_steps_of_analytics_that_never_comes_are_let_go():
    state = state_of(1)
    state.handle(put(0, 0), 100.0)
    assert not state.handle(events.Tick(), 100.0 + TIME_TO_LIVE)
    (freed,) = state.handle(events.Tick(), 101.0 + TIME_TO_LIVE)
    assert isinstance(freed, events.Free)
    assert (state.n_unread, state.held) == (1, {})


class CountingList(list):
    """A list that counts how many entries are read."""

    n_read = 0

    def __getitem__(self, at):
        self.n_read += 1
        return super().__getitem__(at)

    def __iter__(self):
        for value in super().__iter__():
            self.n_read += 1
            yield value


@pytest.mark.parametrize("lead", [0, 2])
def test_cost_of_a_put_does_not_depend_on_the_number_of_ranks(lead):
    """In lock step, and with half of the ranks some steps ahead; counted, not timed."""
    reads = {}
    for n_ranks in (10, 1000):
        state = state_of(n_ranks)
        state._last = CountingList(state._last)
        half = n_ranks // 2
        for turn in range(8 + lead):
            for rank in range(n_ranks):
                step = turn if rank < half else turn - lead
                if 0 <= step < 8:
                    state.handle(put(rank, step), 0.0)
        assert state.n_complete == 8
        reads[n_ranks] = state._last.n_read / (8 * n_ranks)
    assert reads[1000] <= reads[10] + 1


def test_a_reader_is_told_once_what_was_left_out_before_it_came():
    state = state_of(2)
    for rank in range(2):
        state.handle(events.Dropped(rank, 0), 0.0)
    state.handle(put(0, 1), 0.0)
    state.handle(put(0, 2), 0.0)
    state.handle(put(1, 2), 0.0)  # step 1 is lost
    told = news(state.handle(events.Attached("reader"), 1.0))
    assert [(one["what"], one["step"]) for one in told] == [
        ("dropped", 0),
        ("lost", 1),
        ("step", 2),
    ]
    state.handle(events.ReaderDied("reader"), 2.0)
    told = news(state.handle(events.Attached("another"), 3.0))
    assert [(one["what"], one["step"]) for one in told] == [("step", 2)]

"""Ranks as threads: the answers of mpi4py, and errors where MPI would hang."""

import operator
import threading
import time

import numpy as np
import pytest

from dask_exa.insitu.communicator import ThreadCommunicator, run_ranks
from dask_exa.insitu.errors import RankLostError, StreamError, StreamTimeoutError


def exchange(comm):
    """Every collective call once; also run under mpiexec, which must give the same."""
    rank, size = comm.Get_rank(), comm.Get_size()
    counts = [1 + (rank + other) % 2 for other in range(size)]  # symmetric
    sent = np.concatenate([np.full(n, 10.0 * rank + other) for other, n in enumerate(counts)])
    received = np.empty(sum(counts))
    comm.Alltoallv([sent, counts], [received, counts])
    total = np.zeros(2)
    request = comm.Iallreduce(np.array([rank, 1.0]), total)
    request.Wait()
    half = comm.Split(color=rank % 2, key=-rank)
    comm.barrier()
    return {
        "allgather": comm.allgather({"rank": rank}),
        "sum": comm.allreduce(rank + 1),
        "max": comm.allreduce(rank, op=max),
        "min": comm.allreduce(rank, op=min),
        "bcast": comm.bcast([rank, "root"], root=size - 1),
        "alltoall": comm.alltoall([(rank, other) for other in range(size)]),
        "Alltoallv": received.tolist(),
        "Iallreduce": total.tolist(),
        "Split": (half.Get_rank(), half.allgather(rank)),
    }


def expected(rank, size):
    parts = [[10.0 * other + rank] * (1 + (rank + other) % 2) for other in range(size)]
    half = [other for other in reversed(range(size)) if other % 2 == rank % 2]
    return {
        "allgather": [{"rank": other} for other in range(size)],
        "sum": size * (size + 1) // 2,
        "max": size - 1,
        "min": 0,
        "bcast": [size - 1, "root"],
        "alltoall": [(other, rank) for other in range(size)],
        "Alltoallv": [value for part in parts for value in part],
        "Iallreduce": [size * (size - 1) / 2, float(size)],
        "Split": (half.index(rank), half),
    }


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_call_gives_what_mpi_gives(size):
    assert run_ranks(size, exchange) == [expected(rank, size) for rank in range(size)]


@pytest.mark.mpi
@pytest.mark.slow
def test_mpi_gives_what_threads_give(mpiexec):
    program = """
from mpi4py import MPI
from tests.insitu.test_communicator import exchange, expected
comm = MPI.COMM_WORLD
assert exchange(comm) == expected(comm.Get_rank(), comm.Get_size())
"""
    mpiexec(4, "-c", program)


def test_a_thousand_calls_of_ranks_that_are_never_at_the_same_place():
    def run(comm):
        random = np.random.default_rng(comm.Get_rank())
        sums = []
        for number in range(1000):
            if random.random() < 0.01:
                time.sleep(1e-3)
            sums.append(comm.allreduce(number * (comm.Get_rank() + 1)))
        return sums

    assert run_ranks(4, run) == [[10 * number for number in range(1000)]] * 4


def test_values_are_copies():
    def run(comm):
        value = [comm.Get_rank()]
        everybody = comm.allgather(value)
        everybody[0].append("mine")
        comm.barrier()
        return value

    assert run_ranks(2, run) == [[0], [1]]


def test_a_sent_buffer_may_be_written_to_at_once():
    def run(comm):
        sent, received = np.arange(4.0), np.empty(4)
        for turn in range(50):
            sent[:] = 100 * turn + 10 * comm.Get_rank() + np.arange(4)
            comm.Alltoallv([sent, [2, 2]], [received, [2, 2]])
            sent[:] = np.nan
            first = 100 * turn + 2 * comm.Get_rank()
            np.testing.assert_array_equal(received, first + np.array([0, 1, 10, 11]))

    run_ranks(2, run)


def test_a_request_is_done_when_all_have_come():
    first, second = ThreadCommunicator.group(2)
    total = np.zeros(1, dtype=int)
    request = first.Iallreduce(np.array([3]), total)
    assert not request.Test()
    second.Iallreduce(np.array([4]), np.zeros(1, dtype=int), op=operator.add)
    assert request.Test()
    assert total[0] == 7


def test_the_first_error_is_raised_and_wakes_the_others():
    woken = []

    def run(comm):
        part = comm.Split(comm.Get_rank() // 2)
        if comm.Get_rank() == 2:
            raise ZeroDivisionError("step 7")
        try:
            (part if comm.Get_rank() == 3 else comm).barrier()
        except RankLostError as error:
            woken.append(str(error))
            raise

    started = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="step 7"):
        run_ranks(4, run)
    assert time.monotonic() - started < 30  # of a time-out of 60
    assert woken == ["rank 2 raised ZeroDivisionError: step 7"] * 3


def test_a_request_fails_when_a_rank_is_lost():
    first, second = ThreadCommunicator.group(2)
    request = first.Iallreduce(np.ones(1), np.ones(1))
    second.abort("rank 1 has left")
    with pytest.raises(RankLostError, match="rank 1 has left"):
        request.Test()


def test_time_out_names_who_was_waited_for():
    first, *_ = ThreadCommunicator.group(3, timeout=0.05)
    first.Iallreduce(np.ones(1), np.ones(1))
    message = r"rank 0 waited for rank 1, rank 2 in call 1 .* allgather, longer than timeout=0.05"
    with pytest.raises(StreamTimeoutError, match=message):
        first.allgather(1)


def test_different_calls_are_told_apart():
    message = "rank . calls (barrier|bcast from rank 0) where rank . calls"
    with pytest.raises(StreamError, match=message):
        run_ranks(2, lambda comm: comm.bcast(1) if comm.Get_rank() else comm.barrier())


def test_a_run_that_does_not_end_is_given_up():
    release = threading.Event()
    with pytest.raises(StreamTimeoutError, match=r"rank 1 did not end within timeout=0\.05 s"):
        run_ranks(2, lambda comm: comm.Get_rank() == 0 or release.wait(60), timeout=0.05)
    release.set()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda comm: comm.alltoall([1]), "values has 1 entries; pass one for each of 2"),
        (lambda comm: comm.Alltoallv([np.ones(3), [2, 2]], [np.ones(4), [2, 2]]), "do not fit"),
        (lambda comm: comm.Alltoallv([np.ones(8)[::2], [2, 2]], [np.ones(4), [2, 2]]), "strides"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        run_ranks(2, call)


def test_negative_color_is_in_no_communicator():
    parts = run_ranks(2, lambda comm: comm.Split(-comm.Get_rank()))
    assert parts[0].Get_size() == 1
    assert parts[1] is None

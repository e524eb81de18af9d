"""Threads share the cores with BLAS, and BLAS gets its own back afterwards."""

import threading

import pytest
import scipy.linalg  # noqa: F401  so that its BLAS is there before threads are counted
from threadpoolctl import ThreadpoolController, threadpool_info

from dask_exa._threads import available_threads, map_threads, thread_share


def blas_threads():
    return max(lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas")


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads for BLAS, set by nobody who would still have a say in it."""
    set_blas_threads(2)
    yield
    set_blas_threads(2)


def set_blas_threads(n_threads):
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)  # since threadpoolctl 3.8
        if clear is not None:
            clear(force=True)
        library.set_num_threads(n_threads)
        if clear is not None:
            clear(force=True)


def test_results_keep_the_order_of_the_items():
    barrier = threading.Barrier(2, timeout=20)

    def late_first(i):
        if i < 2:  # both at once: there are two threads
            barrier.wait()
        return i * i

    assert map_threads(late_first, range(10)) == [i * i for i in range(10)]
    assert map_threads(str, iter("abc")) == ["a", "b", "c"]
    assert map_threads(str, []) == []


def test_blas_has_one_thread_meanwhile():
    assert blas_threads() == 2
    assert map_threads(lambda _: blas_threads(), range(6)) == [1] * 6
    assert blas_threads() == 2


def test_nested_maps_run_on_their_own_thread():
    def inner(_):
        here = threading.get_ident()
        return all(ident == here for ident in map_threads(lambda _: threading.get_ident(), "ab"))

    assert map_threads(inner, range(4)) == [True] * 4


def test_one_thread_is_the_callers():
    with thread_share(1):
        assert available_threads() == 1
        assert blas_threads() == 1
        idents = map_threads(lambda _: threading.get_ident(), range(4))
    assert set(idents) == {threading.get_ident()}
    assert blas_threads() == 2
    assert available_threads() == 2


def test_share_is_that_of_the_task():
    with thread_share(3):
        assert available_threads() == 3
        assert len(set(map_threads(lambda _: threading.get_ident(), range(64)))) <= 3
        with thread_share(1):
            assert available_threads() == 1
        assert available_threads() == 3


@pytest.mark.parametrize("n_turns", [1, 3])
def test_overlapping_limits_do_not_outlive_their_users(n_turns):
    """The first thread to come is the first to go, and lives on, like those of a pool."""
    first_is_in, second_is_in, left, stop = (threading.Event() for _ in range(4))

    def first():
        with thread_share(1):
            first_is_in.set()
            second_is_in.wait(20)
        left.set()
        stop.wait(20)

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait(20)
    with thread_share(1):
        second_is_in.set()
        left.wait(20)
        assert blas_threads() == 1  # one still needs it
    after = blas_threads()
    for _ in range(n_turns):
        with thread_share(1):
            during = blas_threads()
    stop.set()
    thread.join()
    assert (after, during, blas_threads()) == (2, 1, 2)


def test_errors_come_through_and_restore():
    def fail(i):
        if i == 3:
            raise KeyError("three")
        return i

    with pytest.raises(KeyError, match="three"):
        map_threads(fail, range(6))
    with pytest.raises(KeyError, match="three"), thread_share(1):
        map_threads(fail, range(6))
    assert blas_threads() == 2

"""Threads that share the cores with BLAS instead of fighting it for them.

Blocks that fit into a core's cache are processed one block a thread, each with a single-threaded
BLAS; that is faster than a threaded BLAS on small blocks and the order of the results is fixed.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

_share: contextvars.ContextVar[int | None] = contextvars.ContextVar("thread_share", default=None)


@functools.cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  so that its BLAS is loaded before the libraries are listed

    return ThreadpoolController().select(user_api="blas")


@functools.cache
def _pool(n_threads: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of a process, kept so that their memory is not mapped anew each time.

    A forked process inherits the record of the threads but not the threads: hence its number.
    """
    return ThreadPoolExecutor(n_threads, thread_name_prefix="dask-exa")


@functools.cache
def _setter(process: int) -> ThreadPoolExecutor:
    """Return the one thread that sets limits: no other may take back what a thread has set."""
    return ThreadPoolExecutor(1, thread_name_prefix="dask-exa-blas")


def _limit_blas() -> contextlib.AbstractContextManager:
    limit = _controller().limit(limits=1)
    limit.__enter__()
    return limit


class _SingleThreadedBlas:
    """Limit BLAS to one thread for as long as anybody in the process needs it.

    The limit is a setting of the whole process: were every thread to save and restore it by
    itself, two that overlap could leave it at one for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit: contextlib.AbstractContextManager | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._limit = _setter(os.getpid()).submit(_limit_blas).result()
            self._users += 1

    def __exit__(self, *exc_info: Any) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._limit is not None:
                _setter(os.getpid()).submit(self._limit.__exit__, *exc_info).result()
                self._limit = None


_single_threaded_blas = _SingleThreadedBlas()


def available_threads() -> int:
    """Return the number of threads that this task may use.

    The task's share where `thread_share` set one (a task on a Dask worker), else what BLAS was
    given: it obeys `OMP_NUM_THREADS`, which Dask sets to 1 in its worker processes.
    """
    share = _share.get()
    if share is not None:
        return share
    return max((library["num_threads"] for library in _controller().info()), default=1)


@contextlib.contextmanager
def thread_share(n_threads: int) -> Iterator[None]:
    """Allow the code inside to use `n_threads` threads."""
    token = _share.set(n_threads)
    try:
        with _single_threaded_blas if n_threads == 1 else contextlib.nullcontext():
            yield
    finally:
        _share.reset(token)


def map_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function to every item, on this task's threads; results keep the items' order."""
    items = list(items)
    n_threads = min(available_threads(), len(items))
    if n_threads <= 1:
        return [function(item) for item in items]
    with _single_threaded_blas:
        return list(_pool(n_threads, os.getpid()).map(function, items))

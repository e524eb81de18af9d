"""The buffers of one rank: a chunk's buffer is taken until nobody reads the chunk any more.

The scheduler frees a step's chunks when analytics has released it and no task needs them; the
worker then drops its reference, the last view dies, and the buffer is free. So nobody has to count
credits, and a rank never holds more than its buffers, whatever analytics keeps.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np


class Ring:
    """Places for the steps that a rank has put, each with one buffer per array.

    Parameters
    ----------
    n_places : int
        Steps that may be taken at a time.
    on_free : callable
        Called whenever a place has become free; from any thread.
    """

    def __init__(self, n_places: int, on_free: Callable[[], None]) -> None:
        self.n_places = n_places
        self._on_free = on_free
        self._lock = threading.RLock()  # a finalizer may run in a thread that holds it
        self._views: dict[int, int] = {}
        self._taken: tuple[int, ...] = ()
        self._pool: dict[str, list[np.ndarray]] = {}
        # by id; what a rank neither puts nor keeps is no buffer any more
        self._lent: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()

    @property
    def taken(self) -> tuple[int, ...]:
        """Steps whose chunks are still in use; without the lock, as waiting threads look."""
        return self._taken

    @property
    def is_full(self) -> bool:
        """Whether no place is free."""
        return len(self._taken) >= self.n_places

    def buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array that nobody reads, for a rank to fill and to hand over."""
        with self._lock:
            pool = self._pool.setdefault(name, [])
            array = pool.pop() if pool else np.empty(shape, dtype)
            self._lent[id(array)] = array
            return array

    def snapshot(self, step: int, name: str, array: Any) -> Any:
        """Return a read-only view of a copy."""
        if not isinstance(array, np.ndarray):
            return self.view(step, name, array.copy())
        copy = self.buffer(name, array.shape, array.dtype)
        np.copyto(copy, array)
        return self.view(step, name, copy)

    def view(self, step: int, name: str, array: Any) -> Any:
        """Return a read-only view of an array, whose end frees it.

        Views of the view keep it alive: it lies on a memory view, which NumPy does not look
        through. Arrays of other libraries have no such views and are passed on as they are.
        """
        if isinstance(array, np.ndarray):
            view = np.asarray(memoryview(array).toreadonly())  # type: ignore[arg-type]
        else:
            view = array[...]
        with self._lock:
            self._views[step] = self._views.get(step, 0) + 1
            self._taken = tuple(self._views)
            lent = self._lent.pop(id(array), None)
        weakref.finalize(view, self._return, step, name, lent).atexit = False
        return view

    def _return(self, step: int, name: str, lent: np.ndarray | None) -> None:
        with self._lock:
            if lent is not None:
                self._pool[name].append(lent)
            self._views[step] -= 1
            if not self._views[step]:
                del self._views[step]
            self._taken = tuple(self._views)
        self._on_free()

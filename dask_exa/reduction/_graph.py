"""Task graphs of reductions: the one place that knows Dask's tasks, keys and schedulers.

Both of Dask's array modes (with and without ``array.query-planning``) give their tasks through
``__dask_graph__`` and ``__dask_keys__``; nothing else of a collection is used here.
"""

from __future__ import annotations

import collections
import itertools
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import Any

import dask
import dask.array as da
import dask.threaded
import numpy as np
from dask._task_spec import Alias, DataNode, GraphNode, List, Task, TaskRef, convert_legacy_graph
from dask.base import get_scheduler
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from dask_exa import _threads
from dask_exa.reduction._errors import errors_let_go

Key = Any


class Chunks:
    """The chunks of a Dask array: their keys as a grid, and the tasks that make them.

    A chunk that is a future of data on a worker has the key of the data, and no task.
    """

    def __init__(self, array: Any) -> None:
        # expressions are lowered by their own method, graphs by dask's function
        optimize = getattr(array, "optimize", None)
        array = dask.optimize(array)[0] if optimize is None else optimize()
        self.tasks = convert_legacy_graph(dict(array.__dask_graph__()))
        self.keys = _key_grid(array)
        for place, key in np.ndenumerate(self.keys):
            self.keys[place] = self._data_key(key)

    def is_made(self, key: Key) -> bool:
        """Whether a chunk has yet to be made, and is not data that are here or on a worker."""
        return not isinstance(self.tasks.get(key), DataNode | NoneType)

    def _data_key(self, key: Key) -> Key:
        """Return the key of data on a worker for one that only stands for it, as futures do."""
        task = self.tasks.get(key)
        if not isinstance(task, Alias) or (task.target != key and task.target in self.tasks):
            return key
        del self.tasks[key]
        return task.target

    def makers(self, keys: Iterable[Key]) -> dict[Key, GraphNode]:
        """Return the tasks that it takes to make some chunks."""
        found: dict[Key, GraphNode] = {}
        frontier = list(keys)
        while frontier:
            key = frontier.pop()
            task = self.tasks.get(key)
            if task is not None and key not in found:
                found[key] = task
                frontier.extend(task.dependencies)
        return found


class Graph:
    """Tasks of one reduction: those that make the chunks, and ours."""

    def __init__(self) -> None:
        self.sources: dict[Key, GraphNode] = {}
        self.tasks: dict[Key, GraphNode] = {}
        self.homes: dict[Key, float] = {}
        self.follows_data = self.has_chunks = False
        self._token = uuid.uuid4().hex[:12]
        self._counter = itertools.count()

    def add_chunks(self, chunks: Chunks, keys: Sequence[Key], homes: Sequence[float]) -> None:
        """Add the tasks that make some chunks of an array, and where they would best run.

        Chunks that are on workers already, or are made from what is, stay there: all tasks follow
        the data.
        """
        self.has_chunks = True
        makers = chunks.makers(keys)
        self.sources.update(makers)
        needed = itertools.chain(keys, *(task.dependencies for task in makers.values()))
        self.follows_data |= not all(key in makers for key in needed)
        self.homes.update(zip(keys, homes, strict=True))

    def add_value(self, value: Any) -> Key:
        """Add a value that is here already, or a future of one; return its key."""
        if is_future(value):
            return value.key
        key = self._new_key("value")
        self.sources[key] = DataNode(key, value)
        return key

    def add_task(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        home: float | None = None,
    ) -> Key:
        """Add ``function(*arguments)`` and return its key.

        Parameters
        ----------
        name : str
            Shown on the dashboard.
        function : callable
        *arguments : keys wrapped by `ref`, lists of them, or plain values
        home : float in [0, 1), optional
            Where among all tasks this one stands: tasks that are near to each other are placed
            on the same worker, so that neighbours merge without a transfer.
        """
        key = self._new_key(name)
        self.tasks[key] = Task(key, _on_this_tasks_threads, function, *arguments)
        if home is not None:
            self.homes[key] = home
        return key

    def add_levels(
        self,
        name: str,
        combine: Callable[[Sequence[Any]], Any],
        keys: Sequence[Key],
        *,
        split_every: int,
    ) -> list[Key]:
        """Combine values by neighbours until at most `split_every` are left.

        Parameters
        ----------
        name : str
        combine : callable
            ``combine(values)``, associative.
        keys : sequence of keys
        split_every : int
            Values that one task combines.

        Returns
        -------
        list of keys
            In an order that only the number of values decides.
        """
        keys = list(keys)
        while len(keys) > split_every:
            groups = [keys[i : i + split_every] for i in range(0, len(keys), split_every)]
            keys = [
                self.add_task(name, combine, ref(group), home=self.homes.get(group[0]))
                for group in groups
            ]
        return keys

    def fuse(self) -> None:
        """Run the tasks that lead to a chunk inside the task that reads it.

        Only where there is no other reader; what they make then never leaves that task. Tasks
        that are not ours keep their form: the scheduler may know them from elsewhere.
        """
        readers = collections.Counter(
            dependency
            for task in itertools.chain(self.sources.values(), self.tasks.values())
            for dependency in task.dependencies
        )
        for key, task in self.tasks.items():
            makers = self._take_makers(task, readers)
            if makers:
                self.tasks[key] = Task.fuse(*makers, task)

    def _take_makers(self, task: GraphNode, readers: Mapping[Key, int]) -> list[GraphNode]:
        makers = []
        frontier = [task]
        while frontier:
            for dependency in frontier.pop().dependencies:
                maker = self.sources.get(dependency)
                if readers[dependency] == 1 and isinstance(maker, Task | Alias):
                    makers.append(self.sources.pop(dependency))
                    frontier.append(maker)
        return makers

    def run(self, keys: Sequence[Key], *, wait: bool) -> list[Any]:
        """Compute some keys.

        Parameters
        ----------
        keys : sequence of keys
        wait : bool
            True returns the values. False returns futures of them under a distributed client,
            where the values stay on their workers; elsewhere values all the same.
        """
        self.fuse()
        get = get_scheduler() or dask.threaded.get
        client = getattr(get, "__self__", None)
        if client is not None and hasattr(client, "scheduler_info"):
            if not self._is_all_here():
                return client.get(self._placed(client), list(keys), sync=wait)
            get = dask.threaded.get
        with _threads.thread_share(1):  # Dask's own threads take the cores
            return list(get({**self.sources, **self.tasks}, list(keys)))

    def _is_all_here(self) -> bool:
        """Whether the tasks read values of this process alone, no array, and need no worker.

        Such are states that were brought home from the ranks of a simulation, whose workers leave
        with it: nobody should wait for them.
        """
        if self.has_chunks or not self.sources:
            return False
        known = self.sources.keys() | self.tasks.keys()
        return all(task.dependencies <= known for task in self.tasks.values())

    def _placed(self, client: Any) -> HighLevelGraph:
        """Return the tasks with the worker that each would best run on.

        Tasks are dealt over the workers like ranks over the blocks of a domain. They may run
        elsewhere if that worker is busy or gone.
        """
        tasks = {**self.sources, **self.tasks}
        threads = sorted(client.nthreads().items())
        slots = [address for address, n_threads in threads for _ in range(n_threads)]
        if not slots or self.follows_data:
            return HighLevelGraph({"free": MaterializedLayer(tasks)}, {"free": set()})
        homes = {
            key: slots[int(home * len(slots))] for key, home in self.homes.items() if key in tasks
        }
        placed = MaterializedLayer(
            {key: tasks[key] for key in homes},
            annotations={"workers": _Places(homes), "allow_other_workers": True},
        )
        free = MaterializedLayer({key: task for key, task in tasks.items() if key not in homes})
        return HighLevelGraph({"placed": placed, "free": free}, {"placed": set(), "free": set()})

    def _new_key(self, name: str) -> Key:
        return (f"exa-{name}-{self._token}", next(self._counter))


class _Places:
    """The worker of every task, in a form that Dask asks key by key."""

    def __init__(self, homes: Mapping[Key, str]) -> None:
        self.homes = homes

    def __call__(self, key: Key) -> list[str]:
        return [self.homes[key]]


def ref(keys: Any) -> Any:
    """Mark a key, or a nested list of keys, as the value that its task will return."""
    if isinstance(keys, list | np.ndarray):
        return List(*[ref(key) for key in keys])
    return TaskRef(keys)


def array_of_tasks(
    name: str,
    tasks: Mapping[tuple[int, ...], tuple[Callable[..., Any], tuple[Any, ...]]],
    handles: Sequence[Any],
    chunks: tuple[tuple[int, ...], ...],
    dtype: Any,
) -> da.Array:
    """Return a lazy Dask array whose chunks are computed from values that are on workers.

    Parameters
    ----------
    name : str
    tasks : mapping
        For every place in the grid of chunks a function and its arguments, where a handle may
        stand for its value.
    handles : sequence
        Results of `Graph.run` that the arguments refer to.
    chunks : tuple of tuples of int
    dtype : dtype
    """
    graph = Graph()
    keys = {id(handle): graph.add_value(handle) for handle in handles}
    name = f"exa-{name}-{graph._token}"
    layer: dict[Key, Any] = dict(graph.sources)
    layer.update({handle.key: handle for handle in handles if is_future(handle)})
    for place, (function, arguments) in tasks.items():
        refs = [TaskRef(keys[id(a)]) if id(a) in keys else a for a in arguments]
        layer[(name, *place)] = Task((name, *place), function, *refs)
    return array_of_layer(name, layer, chunks, dtype)


def array_of_layer(
    name: str, layer: Mapping[Key, Any], chunks: Any, dtype: Any, source: Any = None
) -> da.Array:
    """Return the lazy Dask array whose chunks are the tasks ``(name, *place)`` of a layer.

    Parameters
    ----------
    name : str
    layer : mapping of keys to tasks
    chunks : tuple of tuples of int
    dtype : dtype
    source : dask.array.Array, optional
        Whose chunks tasks of the layer read, by the keys that `with_keys` gives.
    """
    meta = np.empty((0,) * len(chunks), dtype=dtype)
    if da.Array.__module__ == "dask.array.core":
        if source is not None:
            layer = HighLevelGraph.from_collections(name, layer, dependencies=(source,))
        return da.Array(layer, name, chunks, meta=meta)
    from dask.array._array_expr._collection import from_graph

    places = [(name, *place) for place in np.ndindex(*map(len, chunks))]
    if source is not None:
        layer = {**dict(source.__dask_graph__()), **layer}
    return from_graph(layer, meta, chunks, places, name)


def with_keys(array: Any) -> tuple[Any, np.ndarray]:
    """Return a Dask array whose keys are final, and its keys as a grid."""
    if da.Array.__module__ != "dask.array.core":
        array = array.optimize()  # expressions get other keys when they are lowered
    return array, _key_grid(array)


def _key_grid(array: Any) -> np.ndarray:
    keys = np.empty(array.numblocks, dtype=object)
    for place, key in zip(
        np.ndindex(*array.numblocks), flatten(array.__dask_keys__()), strict=True
    ):
        keys[place] = key
    return keys


def scatter(value: Any) -> Any:
    """Send a value to one worker and return its future; None where there is no cluster."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.get_client()
    except ValueError:
        return None
    return client.scatter(value, hash=False, broadcast=False)


def fetch(handles: Sequence[Any]) -> list[Any]:
    """Return the values behind the results of `Graph.run`, which may be futures."""
    if handles and is_future(handles[0]):
        with errors_let_go():
            return handles[0].client.gather(list(handles))
    return list(handles)


def settle(handles: Sequence[Any]) -> list[Any]:
    """Wait for the values behind the results of `Graph.run`, and raise the first error."""
    if handles and is_future(handles[0]):
        sys.modules["distributed"].wait(list(handles))
        for handle in handles:
            if handle.status != "finished":
                with errors_let_go():
                    handle.result()
    return list(handles)


def is_future(value: Any) -> bool:
    """Whether a value is on a worker, and this only stands for it."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(value, distributed.Future)


def _on_this_tasks_threads(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function with this task's share of its worker's threads."""
    n_tasks = _n_worker_threads()
    if n_tasks == 1:
        return function(*arguments)
    with _threads.thread_share(max(1, _threads.available_threads() // n_tasks)):
        return function(*arguments)


def _n_worker_threads() -> int:
    worker_module = sys.modules.get("distributed.worker")
    if worker_module is None:
        return 1
    try:
        return worker_module.get_worker().state.nthreads
    except ValueError:  # not on a worker: the scheduler of threads limits BLAS by itself
        return 1

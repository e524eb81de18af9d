"""Where the state of a model is: here, or in pieces on the workers of a cluster."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable
from typing import Any

from dask_exa._checkpoint import CheckpointReplacedError
from dask_exa._state import State
from dask_exa.reduction._graph import Graph, fetch, is_future, ref

Handles = list[Any]


def bring_home(model: Any, workers: Iterable[str] | None = None) -> Any:
    """Take the state of a model from the workers that hold it to where it stays.

    The workers of a simulation's ranks leave with them, and with them the slabs of a basis that is
    split over columns. What is brought home is the same to the last bit: the slabs stay apart, so
    the model goes on learning, and transforms, as before.

    Parameters
    ----------
    model : estimator, StreamingPipeline, or list or dict of them
        Changed in place.
    workers : iterable of str, optional
        Addresses of workers that stay: the pieces go there, directly, dealt in their order. By
        default they come into the memory of this process.

    Returns
    -------
    model

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_exa.decomposition import IncrementalPCA
    >>> from dask_exa.inputs import bring_home
    >>> X = da.random.default_rng(0).normal(size=(20, 8), chunks=(20, 4))
    >>> pca = bring_home(IncrementalPCA(2).fit(X))
    >>> pca.components_.chunks
    ((2,), (4, 4))
    """
    move = fetch if workers is None else _Mover([*workers])
    for one in estimators_of(model):
        _replace(one, move)
    return model


def is_away(model: Any) -> bool:
    """Whether a part of the state of a model is on a worker."""
    return bool(_handles(model))


def is_intact(model: Any) -> bool:
    """Whether all of the state of a model is there; waits for what is being made."""
    handles = _handles(model)
    if not handles:
        return True
    graph = Graph()
    keys = [graph.add_task("probe", _is_there, ref(graph.add_value(h))) for h in handles]
    try:
        graph.run(keys, wait=True)
    except losses():
        return False
    return True


def losses() -> tuple[type[Exception], ...]:
    """Return the exceptions that say that something was lost with a worker."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    return (
        concurrent.futures.CancelledError,  # lost dependencies
        KilledWorker,
        CommClosedError,
        CheckpointReplacedError,
    )


class _Mover:
    """Hand values from worker to worker."""

    def __init__(self, workers: list[str]) -> None:
        if not workers:
            raise ValueError("workers is empty; pass the addresses of workers that stay, or None.")
        self.workers = workers

    def __call__(self, handles: Handles) -> Handles:
        from distributed import wait

        moved = []
        for i, handle in enumerate(handles):
            client = handle.client
            place = self.workers[i * len(self.workers) // len(handles)]
            moved.append(client.submit(_same, handle, workers=[place], pure=False))
        wait(moved)
        return moved


def estimators_of(model: Any) -> list[Any]:
    """Return the estimators that a model, or several, are made of."""
    if isinstance(model, dict):
        model = [*model.values()]
    if isinstance(model, list | tuple):
        return [member for one in model for member in estimators_of(one)]
    steps = getattr(model, "steps", None)
    return [model] if steps is None else estimators_of([step for _, step in steps])


def _handles(model: Any) -> Handles:
    """Return the handles of what is on workers."""
    found: Handles = []

    def look(handles: Handles) -> Handles:
        found.extend(handles)
        return handles

    for one in estimators_of(model):
        _replace(one, look)
    return found


def _replace(model: Any, move: Callable[[Handles], Handles]) -> None:
    """Put what `move` makes of the handles of an estimator in their place."""
    held = getattr(model, "__dict__", {})
    slabs = getattr(getattr(held.get("_state"), "summary", None), "slabs", None)
    if slabs is not None and any(map(is_future, slabs)):
        state = model._state
        summary = state.summary._replace(slabs=tuple(move([*slabs])))
        model._state = State(summary, state.params, state.dtype, state.labels)
    if any(map(is_future, held.get("_models", ()))):  # one model per block
        model._models = move([*held["_models"]])


def _is_there(value: Any) -> bool:
    return value is not None


def _same(value: Any) -> Any:
    return value

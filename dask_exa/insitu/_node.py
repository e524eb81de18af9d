"""The ranks of a node speak as one: what all of them have put of a step, in one message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dask_exa.insitu._events import Put


def join_puts(puts: Sequence[Put]) -> dict[str, Any]:
    """Return what some ranks have put of one step as the fields of one message.

    Names and sizes, which most ranks share, are said once.

    Parameters
    ----------
    puts : sequence of Put
        At least one; all of one step and time.

    Examples
    --------
    >>> puts = [Put(rank, 7, 0.5, ("density",), (800,)) for rank in (2, 3)]
    >>> message = join_puts(puts)
    >>> message["kinds"], len(message["ranks"])
    ([(('density',), (800,))], 2)
    >>> list(split_puts(**message)) == puts
    True
    """
    steps = {(put.step, put.time) for put in puts}
    if len(steps) != 1:
        raise ValueError(f"puts are of the steps and times {sorted(steps)}; join those of one.")
    ((step, time),) = steps
    kinds = list(dict.fromkeys((put.names, put.nbytes) for put in puts))
    places = {kind: place for place, kind in enumerate(kinds)}
    ranks = [(put.rank, places[put.names, put.nbytes], float(put.waited), put.held) for put in puts]
    return {"step": step, "time": time, "kinds": kinds, "ranks": ranks}


def split_puts(
    step: int,
    time: float,
    kinds: Sequence[tuple[tuple[str, ...], tuple[int, ...]]],
    ranks: Iterable[tuple[int, int, float, int]],
) -> Iterable[Put]:
    """Yield what `join_puts` has joined, in its order."""
    for rank, place, waited, held in ranks:
        yield Put(rank, step, time, *kinds[place], waited, held)

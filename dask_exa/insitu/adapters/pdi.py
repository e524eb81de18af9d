"""What to call from PDI's pycall plugin, in the process of a simulation.

``pycall`` runs a text of Python at every event of the simulation, with views of its buffers under
the names that the ``with:`` of the event gives. ``docs/examples/pdi.yml`` has such texts for
Gysela's distribution function. PDI logs an exception that a text raises, and lets the simulation
go on.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dask_exa.insitu.bridge import Bridge

GYSELA_DIMS = ("species", "tor1", "tor2", "tor3", "vpar", "mu")
"""Dimensions of Gysela's distribution function, in the order of its arrays."""


def declare(
    comm: Any,
    starts: Sequence[int],
    extents: Sequence[int],
    global_extents: Sequence[int],
    *,
    dims: Sequence[str] = GYSELA_DIMS,
    dtype: Any = "float64",
    attrs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what `open_bridge` needs to know of one array; all ranks call it.

    Parameters
    ----------
    comm : mpi4py communicator or None
        Of the simulation's ranks; None: this process is the only one.
    starts, extents : sequence of int
        Where this rank's part of the array begins, and its size, along each dimension.
    global_extents : sequence of int
        Size of the whole array.
    dims : sequence of str
        Default: those of Gysela's distribution function.
    dtype : dtype, default="float64"
    attrs : mapping of str to object, optional
        Such as units.

    Returns
    -------
    dict
        An entry of the bridge's ``arrays``.

    Raises
    ------
    ValueError
        When a rank's numbers are not one per dimension.

    Examples
    --------
    >>> from dask_exa.insitu.adapters.pdi import declare
    >>> declare(None, [0, 0], [4, 3], [4, 3], dims=("y", "x"))["chunk_position"]
    (0, 0)
    """
    mine = [_numbers(name, of, dims) for name, of in (("starts", starts), ("extents", extents))]
    shape = _numbers("global_extents", global_extents, dims)
    everybody = [mine[0]] if comm is None else comm.allgather(mine[0])
    edges = [sorted({one[axis] for one in everybody}) for axis in range(len(dims))]
    return {
        "global_shape": shape,
        "chunk_shape": mine[1],
        "chunk_position": tuple(map(bisect.bisect_left, edges, mine[0])),
        "dims": tuple(dims),
        "dtype": np.dtype(dtype),
        "attrs": dict(attrs or {}),
    }


def open_bridge(comm: Any, arrays: Mapping[str, Mapping[str, Any]], **options: Any) -> Bridge:
    """Open the bridge of this rank; all ranks do.

    Parameters
    ----------
    comm : mpi4py communicator or None
    arrays : mapping of str to dict
        What `declare` returns, by the name that analytics is to see.
    **options
        Of `dask_exa.insitu.Bridge`, such as ``depth``. Coordinates may be views of PDI's buffers.

    Returns
    -------
    Bridge

    Raises
    ------
    ValueError
        For ``mode="handover"``: PDI takes its buffers back after the event.
    """
    if options.get("mode", "snapshot") != "snapshot":
        raise ValueError(
            f"mode={options['mode']!r} would keep buffers that PDI takes back after the event; "
            "leave mode out."
        )
    coords = {name: np.array(values) for name, values in options.pop("coords", {}).items()}
    return Bridge(options.pop("scheduler", None), comm, arrays, coords=coords, **options)


def put(
    bridge: Bridge, step: Any, *, time: Any = None, stop: Any = None, **fields: np.ndarray
) -> bool:
    """Hand a step over, and tell the simulation whether to end; all ranks call it.

    Parameters
    ----------
    bridge : Bridge
    step, time : number, or array of no dimension as pycall makes them
    stop : writable array of one number, optional
        Gets 1 when the simulation is to end before its next step, and 0 otherwise. It must be in
        PDI's ``data:`` and be exposed with PDI_INOUT, so that the simulation sees it.
    **fields : array
        By the names that were declared. Views with ghost cells left out may be strided.

    Returns
    -------
    bool
        Whether the simulation is to end.
    """
    bridge.put(int(step), None if time is None else float(time), **fields)
    ends = bridge.should_stop()
    if stop is not None:
        stop[...] = ends
    return ends


def _numbers(name: str, values: Sequence[int], dims: Sequence[str]) -> tuple[int, ...]:
    found = tuple(int(value) for value in values)
    if len(found) != len(dims):
        raise ValueError(
            f"{name}={list(found)} has {len(found)} numbers for the {len(dims)} dimensions "
            f"{', '.join(dims)}; pass one for each."
        )
    return found

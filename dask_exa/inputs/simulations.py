"""Built-in simulations by name, each as a stream that computes its steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr

from dask_exa.datasets.amr_blast import AmrBlast
from dask_exa.datasets.crystal import Crystal
from dask_exa.datasets.interferometer import Interferometer
from dask_exa.datasets.tokam2d import Tokam2D
from dask_exa.datasets.vlasov import Vlasov
from dask_exa.inputs.stream import Stream

SIMULATIONS: dict[str, Callable[..., Any]] = {
    "amr-blast": AmrBlast,
    "crystal": Crystal,
    "interferometer": Interferometer,
    "tokam2d": Tokam2D.sol,
    "tokam2d-sol": Tokam2D.sol,
    "tokam2d-hw": Tokam2D.hw,
    "tokam2d-mhw": Tokam2D.mhw,
    "vlasov": Vlasov.two_stream,
    "vlasov-landau": Vlasov.landau,
}
"""Name to what starts the simulation: an object with `fields` (the state now, a data set) and
`advance()` (the next frame). The same options give the same steps."""


def recognise(source: str) -> bool:
    """Whether the source is the name of a built-in simulation."""
    return source in SIMULATIONS


def open_simulation(
    source: str, *, chunks: Any = None, variables: Any = None, **options: Any
) -> Stream:
    """Start a built-in simulation; it goes on until nobody asks for more steps.

    Parameters
    ----------
    source : str
        A name of `SIMULATIONS`.
    chunks, variables
        As for `dask_exa.inputs.open_stream`.
    **options
        Arguments of the simulation, such as ``shape=(64, 64)`` and ``seed=1``. A run that breaks
        down goes on with frames of NaN, unless ``on_nan="raise"``.

    Returns
    -------
    Stream
        Without a length. Every iteration starts a simulation of its own.
    """
    start_simulation = SIMULATIONS[source]
    options = {"on_nan": "yield", **options}
    template = start_simulation(**options).fields
    chosen = tuple(template.data_vars) if variables is None else tuple(variables)
    unknown = [name for name in chosen if name not in template.data_vars]
    if unknown:
        raise ValueError(
            f"variables={unknown} are not in {source!r}; it has {', '.join(template.data_vars)}."
        )

    others = [name for name in template.data_vars if name not in chosen]

    def read(start: int) -> Iterator[xr.Dataset]:
        simulation = start_simulation(**options)
        frames = (simulation.advance() for _ in itertools.count())
        for frame in itertools.islice(frames, start, None):
            step = frame.drop_vars(others)  # which keeps all coordinates, uvw of visibilities too
            yield step if chunks is None else step.chunk(chunks)

    sizes = {str(dim): size for dim, size in template[list(chosen)].sizes.items()}
    return Stream(read, name=source, sizes=sizes, variables=chosen)

"""Points drawn from a field, more of them where it is steep, with what makes means unbiased."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr

from dask_exa._array import Array, namespace, to_host
from dask_exa._parameters import check_count, draw_seed

AXES = ("x", "y", "z")
MIXTURES: Mapping[str, Mapping[str, float]] = {
    "volume": {"volume": 1.0},
    "mixture": {"volume": 0.5, "gradient": 0.5},
    "gradient": {"volume": 0.1, "gradient": 0.9},
}
"""Share of the points by what their density is proportional to. Some are always spread by volume:
no region may be out of reach, or means miss it."""


class Source(Protocol):
    """What points are drawn from: cells, or points that each stand for some volume."""

    fields: dict[str, Array]

    @property
    def ndim(self) -> int:
        """Number of axes."""

    def volumes(self) -> Array:
        """Return the volume of every cell, (n_cells,)."""

    def steepness(self, name: str) -> Array:
        """Return the modulus of the gradient in every cell, (n_cells,); 0 if it is not finite."""

    def draw(self, cumulative: Array, n: int, seed: int) -> tuple[Array, Array, Array]:
        """Return drawn cells, places in them, and positions (n, ndim)."""

    def interpolated(self, name: str, cells: Array, places: Array) -> tuple[Array, Array]:
        """Return values (n,) and gradients (n, ndim) there."""


def draw_points(
    source: Source,
    n: int,
    weights: Any = "mixture",
    *,
    by: str | Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    random_state: Any = None,
) -> xr.Dataset:
    """Draw points, see `dask_exa.inputs.amr.sample`."""
    check_count("n", n)
    by = list(source.fields) if by is None else [by] if isinstance(by, str) else list(by)
    names = list(source.fields) if names is None else list(names)
    unknown = [name for name in (*by, *names) if name not in source.fields]
    if unknown:
        raise ValueError(f"{unknown} are no fields; there are {', '.join(source.fields)}.")
    volumes = source.volumes()
    xp = namespace(volumes)
    chances = _chances(source, weights, by, volumes)
    cumulative = xp.cumulative_sum(chances)
    cells, places, positions = source.draw(cumulative, n, draw_seed(random_state))
    importance = volumes[cells] / chances[cells] * (float(cumulative[-1]) / n)
    data: dict[str, Any] = {}
    for name in names:
        values, gradient = source.interpolated(name, cells, places)
        data[name] = ("sample", values)
        data[f"gradient_{name}"] = (("sample", "axis"), gradient)
    coords = {
        "position": (("sample", "axis"), positions),
        "weight": ("sample", importance, {"long_name": "volume that the point stands for"}),
        "axis": list(AXES[: source.ndim]),
    }
    return xr.Dataset(data, coords=coords, attrs={"volume": float(xp.sum(volumes))})


def _chances(source: Source, weights: Any, by: Sequence[str], volumes: Array) -> Array:
    """Return the chance of every cell, up to a factor."""
    if callable(weights):
        return volumes * _asked(source, weights, volumes)
    shares = MIXTURES.get(weights) if isinstance(weights, str) else weights
    if not isinstance(shares, Mapping) or set(shares) - {"volume", "gradient"}:
        raise ValueError(
            f"weights={weights!r} must be {', '.join(map(repr, MIXTURES))}, a mapping with shares "
            "of 'volume' and 'gradient', or a callable."
        )
    by_volume, by_gradient = (float(shares.get(kind, 0.0)) for kind in ("volume", "gradient"))
    if not (0 < by_volume < np.inf and 0 <= by_gradient < np.inf):
        raise ValueError(
            f"weights={dict(shares)} must have a share of 'volume' above 0, and none below: where "
            "a field is flat no point would ever fall, and means would be biased."
        )
    whole = float(namespace(volumes).sum(volumes))
    chances = volumes * (by_volume / whole)
    for name in by if by_gradient else ():
        rise = source.steepness(name)
        rise *= volumes
        total = float(rise.sum())
        if total > 0:
            rise *= by_gradient / len(by) / total
        else:  # flat everywhere
            rise = volumes * (by_gradient / len(by) / whole)
        chances += rise
    return chances


def _asked(source: Source, weights: Callable[[Any], Any], volumes: Array) -> Array:
    xp = namespace(volumes)
    density = xp.reshape(xp.asarray(weights(source), dtype=xp.float64), (-1,))
    if density.shape != volumes.shape:
        raise ValueError(
            f"weights returned {density.shape[0]} values for {volumes.shape[0]} cells; return one "
            "for each cell, in the order of the fields."
        )
    fitting = xp.isfinite(density) & (density > 0)
    if not bool(xp.all(fitting)):
        worst = int(to_host(xp.argmin(xp.astype(fitting, xp.int8))))
        raise ValueError(
            f"weights returned {float(density[worst])} for cell {worst}; return finite numbers "
            "above 0, or means are biased: add a small share of the largest one."
        )
    return density

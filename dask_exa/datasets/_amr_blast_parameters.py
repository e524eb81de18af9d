"""What a run of a blast wave is: gas, mesh and solver, and what may go wrong on purpose."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dask_exa._parameters import check_count, check_positive
from dask_exa.datasets._injection import KINDS, Injection


@dataclass(frozen=True)
class BlastInjection(Injection):
    """One thing that goes wrong in an `AmrBlast`.

    Parameters
    ----------
    timestep : int
        Number of the frame, 1 or more.
    kind : {"courant", "nan", "nonphysical", "spike"}
        "courant": from this frame on, the solver takes steps that are too long. Floors of density
        and pressure hide it; energy appears from nothing, and the steps become ever shorter. The
        others corrupt a patch, see `Injection`.
    field : str, default="rho"
        For those that corrupt a patch.
    patch : None
        One block of 32, next to each other in Morton order, at a place drawn from ``seed`` and
        ``timestep``. Blocks come and go, so that it cannot be chosen.
    factor : float, default=1.8
        Courant number of "courant"; the solver is stable up to 1.

    Examples
    --------
    >>> from dask_exa.datasets import BlastInjection
    >>> BlastInjection(timestep=3, kind="courant").factor
    1.8
    """

    kinds: ClassVar[tuple[str, ...]] = ("courant", *KINDS)

    field: str = "rho"
    factor: float = 1.8

    def __post_init__(self):
        super().__post_init__()
        check_positive("factor", self.factor)
        if self.patch is not None:
            raise ValueError(
                f"patch={self.patch!r} cannot be chosen, as blocks come and go; pass a seed."
            )

    @property
    def is_patch(self):
        """Whether a patch is corrupted, rather than the solver."""
        return self.kind in KINDS

    def _patch_of(self, shape):
        n_blocks = max(1, shape[0] // 32)
        random = np.random.default_rng([self.seed, self.timestep])
        first = int(random.integers(shape[0] - n_blocks + 1))
        return (first, first + n_blocks, *(edge for n in shape[1:] for edge in (0, n)))


@dataclass(frozen=True)
class AmrBlastParameters:
    """Gas, mesh and solver of an `AmrBlast`.

    Parameters
    ----------
    ndim : {2, 3}, default=2
        Two dimensions: the explosion of a line.
    block : int, default=8
        Cells along a side of a block, even and 4 or more.
    min_level, max_level : int, default=2, 5
        Blocks have sides of 2^-level; the box has side 1.
    energy : float, default=1
        Of the explosion; per unit of length in two dimensions.
    density, pressure : float, default=1, 1e-5
        Of the gas at rest.
    radius : float, default=0.02
        Of the ball that has the energy at first.
    lumps : float, default=0
        Standard deviation of the logarithm of the density at first: waves drawn from the seed.
    gamma : float, default=1.4
        Ratio of specific heats.
    courant : float, default=0.7
        Time step relative to the longest stable one.
    refine_above, coarsen_below : float, default=0.1, 0.03
        Steepness ``|q[i+1] - q[i-1]| / (q[i+1] + q[i-1] + mean of q)`` of density and pressure:
        relative where there is more than in the mean, and blind to what is nearly empty.
    steps_per_frame : int, default=10
        Steps of the solver from one frame to the next.
    floor : float, default=1e-7
        Least density and pressure; a run that is in order never falls so low.
    """

    ndim: int = 2
    block: int = 8
    min_level: int = 2
    max_level: int = 5
    energy: float = 1.0
    density: float = 1.0
    pressure: float = 1e-5
    radius: float = 0.02
    lumps: float = 0.0
    gamma: float = 1.4
    courant: float = 0.7
    refine_above: float = 0.1
    coarsen_below: float = 0.03
    steps_per_frame: int = 10
    floor: float = 1e-7

    def __post_init__(self):
        if self.ndim not in (2, 3):
            raise ValueError(f"ndim={self.ndim!r} must be 2 or 3.")
        check_count("block", self.block, least=4)
        if self.block % 2:
            raise ValueError(f"block={self.block} must be even, so that blocks can be halved.")
        check_count("min_level", self.min_level)
        check_count("max_level", self.max_level, least=self.min_level)
        check_count("steps_per_frame", self.steps_per_frame)
        for name in _POSITIVE:
            check_positive(name, getattr(self, name))
        check_positive("lumps", self.lumps, zero=True)
        if not self.gamma > 1:
            raise ValueError(f"gamma={self.gamma!r} must be above 1.")
        if not self.coarsen_below < self.refine_above:
            raise ValueError(
                f"coarsen_below={self.coarsen_below!r} must be below refine_above="
                f"{self.refine_above!r}, or blocks would be split and joined in turn."
            )
        if not self.floor < min(self.density, self.pressure):
            raise ValueError(
                f"floor={self.floor!r} must be below density={self.density!r} and pressure="
                f"{self.pressure!r}."
            )
        smallest = 1.0 / (self.block << self.max_level)
        if self.radius < smallest:
            raise ValueError(
                f"radius={self.radius!r} is less than the smallest cell, {smallest:.3g}; pass a "
                "larger one, or raise max_level."
            )


_POSITIVE = (
    "energy",
    "density",
    "pressure",
    "radius",
    "gamma",
    "courant",
    "refine_above",
    "coarsen_below",
    "floor",
)

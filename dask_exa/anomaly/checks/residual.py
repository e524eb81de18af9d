"""Residual weights: whether a field still obeys its equation, term by term."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import Check, Evidence, Failure

BANDS = ("dealiased", "all")
_TOO_SMALL = 0.01
"""Norm of a term, relative to the time derivative, below which its weight means nothing."""


@dataclass(frozen=True)
class Residual(Check):
    """The time derivative of a variable is the sum of the terms of its equation.

    The difference of two steps is regressed on the mean of the terms in both: where the solver
    is right, every weight is 1. The weights tell which operator has gone wrong.

    Parameters
    ----------
    variable : str
        On periodic dimensions, in one block.
    rhs : callable
        Gets the block, a `BlockFields`, which has the variables by their names, and returns a
        mapping of names to terms, arrays like the variable.
    terms : tuple of str
        Names of the terms, in the order of the weights.
    reads : tuple of str, optional
        Further variables that `rhs` reads.
    band : {"dealiased", "all"}, default="dealiased"
        "dealiased" compares wavenumbers below 2/3 of the Nyquist wavenumber only. Above, codes
        that filter now and then do not solve the equation.
    limit : float, default=0.1
        How far a weight may be from 1. Steps that are far apart have weights off by the square
        of their distance.

    References
    ----------
    T. Cartier-Michaud, P. Ghendrih, Y. Sarazin, J. Abiteboul, H. Bufferand, G. Dif-Pradalier,
    X. Garbet, V. Grandgirard, G. Latu, C. Norscini, C. Passeron, P. Tamain, *Projection on Proper
    elements for code control: verification, numerical convergence, and reduced models*, Phys.
    Plasmas 23, 020702 (2016), arXiv:1511.01743.
    """

    variable: str
    rhs: Callable[[BlockFields], Mapping[str, np.ndarray]]
    terms: tuple[str, ...]
    reads: tuple[str, ...] = ()
    band: str = "dealiased"
    limit: float = 0.1
    is_whole = True
    carries = True

    def __post_init__(self) -> None:
        if self.band not in BANDS:
            raise ValueError(f"band={self.band!r} is unknown; pass one of {', '.join(BANDS)}.")
        if not self.terms or isinstance(self.terms, str):
            raise ValueError(f"terms={self.terms!r} must be a tuple of one or more names.")

    @property
    def quantities(self) -> tuple[str, ...]:  # type: ignore[override]
        """Weight of every term less 1, what is left of the derivative, and errors of weights."""
        weights = (f"weight of {name} less 1" for name in self.terms)
        return *weights, "relative residual", *(f"error of {name}" for name in self.terms)

    @property
    def n_features(self) -> int:  # type: ignore[override]
        """All of them but the errors."""
        return len(self.terms) + 1

    @property
    def operations(self) -> tuple[str, ...]:  # type: ignore[override]
        """There is one block."""
        return ("sum",) * (2 * len(self.terms) + 1)

    def carry(self, block: BlockFields) -> np.ndarray:
        """Return the variable and its terms in the band: what the next step is compared with."""
        dims = block.dims[self.variable]
        place = block.place
        if any(place.stop[dim] - place.start[dim] != place.sizes[dim] for dim in dims):
            raise ValueError(
                f"the residual of {self.variable} needs the whole field in one block; leave "
                "blocks=None, or rechunk to one chunk."
            )
        found = self.rhs(block)
        missing = [name for name in self.terms if name not in found]
        if missing:
            raise ValueError(f"terms={missing} are not in what rhs returns, {sorted(found)}.")
        parts = [block[self.variable], *(found[name] for name in self.terms)]
        return np.stack([self._in_band(part, len(dims)) for part in parts])

    def measure(self, block: BlockFields) -> Any:
        """Return the weights less 1, the relative norm of the residual, and errors of weights.

        The error of a weight is what no weights explain, relative to the term: a small term has
        a weight that says little.
        """
        before, interval = block.carried.get(self.names), block.clock.interval
        if before is None or not interval > 0:
            return np.full(self.size, np.nan)
        now = block.carry(self)
        before = before.reshape(now.shape)
        rate = ((now[0] - before[0]) / interval).ravel()
        terms = ((now[1:] + before[1:]) / 2.0).reshape(len(self.terms), -1)
        norm = np.linalg.norm(rate)
        if not norm > 0:
            return np.full(self.size, np.nan)
        sizes = np.linalg.norm(terms, axis=1)
        kept = sizes > _TOO_SMALL * norm
        weights = np.full(len(self.terms), np.nan)
        scaled = terms[kept] / sizes[kept, None]
        weights[kept] = np.linalg.lstsq(scaled @ scaled.T, scaled @ rate, rcond=None)[0]
        weights[kept] /= sizes[kept]
        unexplained = np.linalg.norm(rate - weights[kept] @ terms[kept])
        residual = np.linalg.norm(rate - terms.sum(axis=0)) / norm
        return [*(weights - 1.0), residual, *(unexplained / np.maximum(sizes, _TOO_SMALL * norm))]

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail for every term whose weight is too far from 1, beyond its error."""
        n_terms = len(self.terms)
        off = np.abs(evidence.now[:n_terms]) - evidence.now[n_terms + 1 :]
        return [
            self.failure(
                int(i),
                off[i] / self.limit,
                f"{self.terms[i]} has the weight {1 + evidence.now[i]:.3g} in the equation of "
                f"{self.variable}; it must be 1 within {self.limit:.3g}.",
            )
            for i in np.flatnonzero(off > self.limit)
        ]

    def _in_band(self, values: np.ndarray, n_axes: int) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        if self.band == "all":
            return values
        axes = tuple(range(n_axes))
        spectrum = np.fft.fftn(values, axes=axes)
        for axis in axes:
            share = 2.0 * np.abs(np.fft.fftfreq(values.shape[axis]))  # of the Nyquist wavenumber
            shape = [-1 if other == axis else 1 for other in range(values.ndim)]
            spectrum *= (share < 2.0 / 3.0).reshape(shape)
        return np.fft.ifftn(spectrum, axes=axes).real

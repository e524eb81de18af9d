"""Principal kurtosis: which variables the outliers of a block are made of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import Check, missing, quotient, stack


@dataclass(frozen=True)
class PrincipalKurtosis(Check):
    """How far the make-up of extreme values in a block is from the rest, and from before.

    The fourth joint cumulants of the standardised variables form a tensor; the singular vectors
    of its unfolding are the principal kurtosis vectors. The share that each variable has in them,
    weighted with the singular values, is a distribution over the variables. Its Hellinger
    distance to the mean of all blocks, and to that of the same block in the step before, are
    features; neither is a failure by itself.

    Parameters
    ----------
    variables : tuple of str
        Two to six, on the same dimensions.

    References
    ----------
    K. Aditya, H. Kolla, W. P. Kegelmeyer, T. M. Shead, J. Ling, W. L. Davis, *Anomaly detection
    in scientific data using joint statistical moments*, J. Comput. Phys. 387 (2019),
    arXiv:1808.04498.
    """

    variables: tuple[str, ...] = ()  # type: ignore[assignment]
    quantities = ("kurtosis unlike other blocks", "kurtosis unlike before")
    n_features = 2

    def __post_init__(self) -> None:
        if not 2 <= len(self.variables) <= 6:
            raise ValueError(
                f"variables={self.variables!r} must be two to six names; one variable alone has "
                "no share in anything."
            )

    @property
    def operations(self) -> tuple[str, ...]:  # type: ignore[override]
        """Shares of blocks are averaged by their sum."""
        return ("sum",) * len(self.variables)

    def measure(self, block: BlockFields) -> Any:
        """Return the share of every variable in the principal kurtosis vectors."""
        return kurtosis_shares(np.stack([block[name].ravel() for name in self.variables]))

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the distances to the mean over the blocks and to the step before."""
        shares = quotient(measures, np.sum(measures, axis=-1, keepdims=True))
        known = shares.reshape(-1, shares.shape[-1])
        known = known[np.isfinite(known).all(axis=1)]
        mean = known.mean(axis=0) if len(known) else np.full(shares.shape[-1], np.nan)
        unlike_others = hellinger(shares, mean)
        if before is None:
            return stack(unlike_others, missing(unlike_others))
        before = quotient(before, np.sum(before, axis=-1, keepdims=True))
        return stack(unlike_others, hellinger(shares, before))


def kurtosis_shares(samples: np.ndarray) -> np.ndarray:
    """Return the share (n_variables,) of each variable in the principal kurtosis vectors.

    Parameters
    ----------
    samples : ndarray of shape (n_variables, n_samples)

    Examples
    --------
    >>> import numpy as np
    >>> calm, wild = np.sin(np.arange(100.0)), np.zeros(100)
    >>> wild[::50] = 1.0
    >>> bool(kurtosis_shares(np.stack([calm, wild]))[1] > 0.95)
    True
    """
    n_variables, n_samples = samples.shape
    centred = samples - samples.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.mean(centred**2, axis=1, keepdims=True))
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    every = range(n_variables)
    pairs = list(itertools.combinations_with_replacement(every, 2))
    place = {pair: i for i, pair in enumerate(pairs)}
    products = np.stack([scaled[i] * scaled[j] for i, j in pairs])
    fourth = products @ products.T / n_samples
    second = scaled @ scaled.T / n_samples
    at = np.array([[place[min(i, j), max(i, j)] for j in every] for i in every])
    moments = fourth[at[:, :, None, None], at[None, None, :, :]]
    gaussian = sum(
        np.einsum(f"{a},{b}->ijkl", second, second)
        for a, b in (("ij", "kl"), ("ik", "jl"), ("il", "jk"))
    )
    vectors, sizes, _ = np.linalg.svd((moments - gaussian).reshape(n_variables, -1))
    total = sizes.sum()
    if not total > 0:
        return np.full(n_variables, 1.0 / n_variables)
    return (vectors**2) @ sizes[:n_variables] / total


def hellinger(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the Hellinger distance of distributions along the last axis, in [0, 1].

    Examples
    --------
    >>> float(hellinger(np.array([1.0, 0.0]), np.array([0.0, 1.0])))
    1.0
    """
    overlap = np.sum(np.sqrt(np.maximum(p * q, 0.0)) + 0.0 * p * q, axis=-1)
    return np.sqrt(np.clip(1.0 - overlap, 0.0, None))

"""Features that are uniformly or normally distributed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from dask_exa import kernels
from dask_exa._array import Array, is_host, namespace, to_host
from dask_exa._parameters import check_choice, check_count
from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa._threads import map_threads
from dask_exa.preprocessing._scaling import Maps
from dask_exa.preprocessing._sketching import Sketching
from dask_exa.summaries import Summary, sketch

_BLOCK_SIZE = 1 << 17
"""Values that a thread maps at a time."""
_OUTERMOST = 1e-7
"""Ranks nearer than this to 0 or 1 are mapped to normal values as if they were that far away."""


class _Model(NamedTuple):
    quantiles: np.ndarray
    references: np.ndarray
    n_quantiles: int
    rank_error: float


class QuantileTransformer(Sketching):
    """Features made uniform or normal by their ranks, learnt in pieces, anywhere.

    A drop-in for `sklearn.preprocessing.QuantileTransformer` whose fitted state merges: a sketch
    of the quantiles of every feature. Up to `capacity` samples it keeps them all and equals
    scikit-learn; beyond, ranks are off by `rank_error_` at most.

    Parameters
    ----------
    n_quantiles : int, default=1000
        Quantiles that are read off the sketch; no more than there are samples.
    output_distribution : {"uniform", "normal"}, default="uniform"
    ignore_implicit_zeros : bool, default=False
        Kept for scikit-learn; sparse matrices are not taken.
    subsample : int or None, default=10_000
        Kept for scikit-learn, which learns from a random sample of that many rows, 1.3 % off with
        a probability of 99 %. Here all samples are learnt from, and `capacity` decides.
    random_state : int, RandomState instance or None, default=None
        Kept for scikit-learn; what the sketch draws depends on the samples only.
    copy : bool, default=True
        Kept for scikit-learn; `X` is never written to.
    capacity : int, default=2048
        Values of every feature that the state keeps, at least 16: that many rows of memory. The
        rank error is below ``16 / capacity`` with a probability of 99 %, mostly a quarter of it.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features, and fitted attributes come back labelled with them.

    Attributes
    ----------
    n_quantiles_ : int
    quantiles_ : array of shape (n_quantiles_, n_features), float64
    references_ : array of shape (n_quantiles_,), float64
        Ranks of the quantiles, from 0 to 1.
    rank_error_ : float
        The share of the samples by which the rank of a quantile of a feature is off at most, with
        a probability of 99 %; 0 where all samples are kept.
    n_samples_seen_ : int

    Notes
    -----
    NaN and infinity are refused, where scikit-learn leaves NaN out. Weights count as repetitions.
    To the normal distribution, scikit-learn maps whatever is within 1e-7, in units of the feature,
    of its smallest and largest value to the outermost values; here, only what is at or beyond
    them, so that features of any unit may come.

    References
    ----------
    Z. Karnin, K. Lang, E. Liberty, "Optimal quantile approximation in streams", FOCS 2016. For
    what is different here see `dask_exa.summaries.sketch`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).exponential(size=(50_000, 1))
    >>> stream = QuantileTransformer(output_distribution="normal")
    >>> for batch in np.array_split(X, 30):
    ...     stream = stream.partial_fit(batch)
    >>> normal = stream.transform(X)
    >>> bool(abs(normal.mean()) < 0.02), bool(abs(normal.std() - 1) < 0.02)
    (True, True)
    >>> bool(np.allclose(stream.inverse_transform(normal[:100]), X[:100]))
    True
    """

    quantiles_ = Fitted("Quantiles of every feature.", leading=("quantile",))
    references_ = Fitted("Ranks of the quantiles.")
    n_quantiles_ = Fitted("Number of quantiles.")

    _state_params = ("n_quantiles", "output_distribution", "capacity")

    def __init__(
        self,
        *,
        n_quantiles: int = 1000,
        output_distribution: str = "uniform",
        ignore_implicit_zeros: bool = False,
        subsample: int | None = 10_000,
        random_state: Any = None,
        copy: bool = True,
        capacity: int = 2048,
        sample_dims: Any = None,
    ) -> None:
        self.n_quantiles = n_quantiles
        self.output_distribution = output_distribution
        self.ignore_implicit_zeros = ignore_implicit_zeros
        self.subsample = subsample
        self.random_state = random_state
        self.copy = copy
        self.capacity = capacity
        self.sample_dims = sample_dims

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        check_count("n_quantiles", self.n_quantiles)
        check_choice("output_distribution", self.output_distribution, ("uniform", "normal"))
        return super()._learn(samples, sample_weight, start)

    def _maps(self) -> Maps:
        quantiles = self._model.quantiles
        normal = self._state.params["output_distribution"] == "normal"
        return Maps(
            functools.partial(_map_columns, _to_normal if normal else kernels.quantile_ranks),
            functools.partial(_map_columns, _from_normal if normal else _from_ranks),
            quantiles,
        )

    def _finalize(self, state: State) -> _Model:
        n_quantiles = min(state.params["n_quantiles"], sketch.count_repeated(state.summary))
        references = np.linspace(0, 1, n_quantiles)
        return _Model(
            sketch.quantiles(state.summary, references),
            references,
            n_quantiles,
            sketch.rank_error(state.summary),
        )


def _map_columns(
    formula: Callable[[np.ndarray, np.ndarray], np.ndarray], X: Array, values: np.ndarray
) -> Array:
    """Return ``formula(X, quantiles)`` of quantiles (n_features, n_quantiles), on the host."""
    rows, quantiles = to_host(X), np.ascontiguousarray(values.T)
    mapped = np.empty(rows.shape, dtype=rows.dtype)
    step = max(1, _BLOCK_SIZE // rows.shape[1])

    def map_block(first: int) -> None:
        block = slice(first, first + step)
        mapped[block] = formula(rows[block], quantiles)

    map_threads(map_block, range(0, rows.shape[0], step))
    return mapped if is_host(X) else namespace(X).asarray(mapped)


def _from_ranks(X: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    ranks = np.linspace(0, 1, quantiles.shape[1])
    return np.stack([np.interp(X[:, f], ranks, quantiles[f]) for f in range(X.shape[1])], axis=1)


def _to_normal(X: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    least = _OUTERMOST - np.spacing(1.0)
    return ndtri(np.clip(kernels.quantile_ranks(X, quantiles), least, 1 - least))


def _from_normal(X: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    ranks = ndtr(X.astype(np.float64, copy=False))
    ranks[ranks < _OUTERMOST] = 0.0
    ranks[ranks > 1 - _OUTERMOST] = 1.0
    return _from_ranks(ranks, quantiles)

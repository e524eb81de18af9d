"""Which reduction an IncrementalPCA runs, by the layout of its input and its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import dask.array as da
import numpy as np
from scipy import sparse

from dask_exa._array import Array, namespace
from dask_exa._samples import Samples, flat_rows, is_dask
from dask_exa.decomposition import _columns, _solvers
from dask_exa.decomposition._columns import SlabSummary
from dask_exa.reduction.fold import fold
from dask_exa.reduction.stream import stream
from dask_exa.reduction.tree import tree
from dask_exa.summaries import Reducer, Summary
from dask_exa.summaries.moments import checked_weight
from dask_exa.summaries.svd import SVDSummary

LAYOUTS = ("auto", "rows", "columns", "both")
SOLVERS = ("auto", "scatter", "gram", "qr")

_MAX_RANGE_BYTES = 64 << 20
"""Memory for the scatter matrices of the ranges that are summarized side by side."""


def learn(params: Any, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
    """Return the summary of `start` and the samples.

    Parameters
    ----------
    params : IncrementalPCA
        Read only.
    samples : Samples
    sample_weight : array of shape (n_samples,), optional
    start : Summary, optional
        What is known already.
    """
    if not samples.is_lazy:
        return _learn_in_memory(params, samples, sample_weight, start)
    blocks = math.prod(samples.array.numblocks[samples.n_sample_axes :])
    by_rows = params.layout == "rows" or (params.layout == "auto" and blocks == 1)
    if start is not None and by_rows == isinstance(start, SlabSummary):
        fitted = "split over workers by columns" if by_rows else "kept whole, by rows"
        raise ValueError(
            f"X comes with its features in {blocks} chunks and layout={params.layout!r}, but the "
            f"fitted basis is {fitted}; rechunk X as before."
        )
    if not by_rows:
        return _learn_columns(params, samples, sample_weight, start)
    samples, sample_weight = flat_rows(samples, sample_weight)
    reducer = choose_reducer(params, samples, start)
    return weighty(tree(reducer, samples.array, sample_weight, start))


def merge(params: Any, summaries: Sequence[Summary], n_features: int, dtype: str) -> Summary:
    """Merge the summaries of several models of the same parameters."""
    split = [isinstance(summary, SlabSummary) for summary in summaries]
    if any(split) and not all(split):
        raise ValueError(
            "cannot merge a model whose basis is split over workers with one whose basis is in "
            "memory; fit both in the same layout."
        )
    low_rank = _low_rank(params, n_features, dtype, slim=all(split))
    if all(split):
        return _columns.merge(summaries, low_rank.truncation)
    if not any(isinstance(summary, SVDSummary) for summary in summaries):
        return _solvers.scatter().merge(summaries)
    return low_rank.merge([_solvers.as_rows(summary, dtype) for summary in summaries])


def decay(sample_weight: Any, samples: Samples, factor: float) -> Any:
    """Return weights that fall by `factor` from each sample to the one before it."""
    n_samples = samples.n_samples
    # far samples weigh nothing, but a block of them must still have a mean
    ages = np.arange(n_samples - 1, -1, -1)
    weights = np.maximum(np.power(factor, ages.astype(np.float64)), 1e-300)
    if samples.is_lazy and samples.n_sample_axes == 1:
        weights = da.from_array(weights, chunks=(samples.array.chunks[0],))
    elif not samples.is_lazy and not sparse.issparse(samples.array):
        weights = namespace(samples.array).asarray(weights)
    return weights if sample_weight is None else weights * sample_weight


def check_parameters(params: Any, n_features: int) -> None:
    """Raise ValueError or TypeError for parameters that make no sense for these features."""
    k: Any = params.n_components
    tol: Any = params.tol
    if isinstance(k, bool) or not (k is None or isinstance(k, int | float | np.number)):
        raise TypeError(f"n_components={k!r} must be an int, a float in (0, 1) or None.")
    if isinstance(k, int | np.integer):
        if not 1 <= k <= n_features:
            raise ValueError(
                f"n_components={k} invalid for n_features={n_features}; it must be between 1 and "
                "the number of features."
            )
    elif k is not None and not 0 < k < 1:
        raise ValueError(
            f"n_components={k} invalid for n_features={n_features}; a share of the variance must "
            "be between 0 and 1."
        )
    if tol is not None and not (isinstance(tol, float | np.floating) and 0 < tol < 1):
        raise ValueError(f"tol={tol!r} must be between 0 and 1.")
    if tol is not None and k is not None:
        raise ValueError(f"n_components={k} and tol={tol} both set the rank; give one of them.")
    if params.layout not in LAYOUTS:
        raise ValueError(f"layout={params.layout!r} is not one of {LAYOUTS}.")
    if params.solver not in SOLVERS:
        raise ValueError(f"solver={params.solver!r} is not one of {SOLVERS}.")
    factor: Any = params.forgetting_factor
    if not (isinstance(factor, int | float | np.number) and 0 < factor <= 1):
        raise ValueError(
            f"forgetting_factor={factor!r} must be a number in (0, 1]; 1 forgets nothing."
        )
    for name, least in (("batch_size", 1), ("oversampling", 0)):
        value: Any = getattr(params, name)
        if value is not None and not (isinstance(value, int | np.integer) and value >= least):
            raise ValueError(f"{name}={value!r} must be an int of at least {least}, or None.")


def check_enough(params: Any, n_samples: int) -> None:
    """Raise ValueError for fewer samples than `fit` can make the wanted components of."""
    wanted = params.n_components if isinstance(params.n_components, int | np.integer) else 2
    if n_samples < max(wanted, 2):
        raise ValueError(
            f"n_samples={n_samples} is fewer than the {max(wanted, 2)} that "
            f"n_components={params.n_components} needs; pass more samples or lower n_components."
        )


def _learn_in_memory(
    params: Any, samples: Samples, sample_weight: Array | None, start: Summary | None
) -> Summary:
    X = samples.array
    if isinstance(start, SlabSummary) or params.layout in ("columns", "both"):
        raise TypeError(
            f"layout={params.layout!r}, but X is a {type(X).__name__} in memory; pass a Dask array "
            "with its features chunked as the basis is to be split."
        )
    sample_weight = _computed(sample_weight)
    reducer = choose_reducer(params, samples, start)
    if sparse.issparse(X):
        batches = _dense_batches(X.tocsr(), sample_weight, params.batch_size)
        for summary in stream(reducer, batches, start):
            start = summary
        return start
    n_ranges = 1
    if reducer.extend is None:
        n_ranges = min(8, _MAX_RANGE_BYTES // (8 * samples.n_features**2))
    return fold(reducer, X, sample_weight, start, n_ranges=n_ranges)


def _learn_columns(
    params: Any, samples: Samples, sample_weight: Any, start: SlabSummary | None
) -> SlabSummary:
    if params.solver == "scatter":
        raise ValueError(
            "solver='scatter' needs all features in one chunk; rechunk X or take solver='gram'."
        )
    sample_weight = _computed(sample_weight)
    dtype = str(samples.array.dtype)
    if start is not None:
        dtype = str(np.promote_types(dtype, start.dtype))
    low_rank = _low_rank(params, samples.n_features, dtype, slim=True)
    learnt = _columns.learn(samples, sample_weight, start, *low_rank)
    return weighty(learnt)


def _computed(sample_weight: Any) -> Any:
    if not is_dask(sample_weight):
        return sample_weight
    return checked_weight(sample_weight.compute())


def weighty(summary: Any) -> Any:
    """Return a summary of chunks, whose weights nobody has seen together, if it has any weight."""
    if getattr(summary, "moments", summary).weight == 0:
        raise ValueError("sample_weight is zero for every sample; weight some of them.")
    return summary


def choose_reducer(params: Any, samples: Samples, start: Summary | None) -> Reducer:
    """Return the reduction of whole samples that parameters and data ask for."""
    if start is not None:
        by_scatter = not isinstance(start, SVDSummary)
    elif params.solver == "auto":
        by_scatter = _solvers.prefers_scatter(samples.n_samples, samples.n_features)
    else:
        by_scatter = params.solver == "scatter"
    if by_scatter:
        return _solvers.scatter()
    dtype = "float32" if str(samples.array.dtype).endswith("float32") else "float64"
    if start is not None and str(start.rows.dtype).endswith("float64"):
        dtype = "float64"
    return _low_rank(params, samples.n_features, dtype).reducer


def _low_rank(params: Any, n_features: int, dtype: str, *, slim: bool = False) -> _solvers.LowRank:
    return _solvers.low_rank(
        params.n_components,
        params.tol,
        n_features,
        solver="qr" if params.solver == "qr" else "gram",
        oversampling=params.oversampling,
        batch_size=params.batch_size,
        dtype=dtype,
        slim=slim,
    )


def _dense_batches(
    X: Any, sample_weight: Array | None, batch_size: int | None
) -> Iterator[tuple[Array, Array | None]]:
    """Yield a sparse matrix in dense batches of some 32 MB."""
    step = batch_size or max(1, (32 << 20) // (8 * X.shape[1]))
    for i in range(0, X.shape[0], step):
        weight = None if sample_weight is None else sample_weight[i : i + step]
        yield X[i : i + step].toarray(), weight

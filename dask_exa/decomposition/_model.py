"""From a summary to the fitted attributes of IncrementalPCA."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array, namespace, to_host
from dask_exa._state import NotEnoughSamplesError, State
from dask_exa.decomposition import _columns, _solvers
from dask_exa.decomposition._columns import SlabSummary
from dask_exa.summaries import axes, svd
from dask_exa.summaries.axes import Selection
from dask_exa.summaries.moments import Moments
from dask_exa.summaries.svd import SVDSummary
from dask_exa.summaries.tiles import Tiles


class PCAModel(NamedTuple):
    """Fitted attributes of `IncrementalPCA`, without their trailing underscore."""

    components: Any
    mean: Any
    var: Any
    singular_values: np.ndarray
    explained_variance: np.ndarray
    explained_variance_ratio: np.ndarray
    noise_variance: float
    n_components: int
    truncation_error: float


def finalize(state: State, n_features: int) -> PCAModel:
    """Return the fitted attributes that a state stands for."""
    summary = state.summary
    total: Any = getattr(summary, "moments", summary)
    check_variance(summary)
    # a weight counts as that many repetitions, so that it is the number of samples
    rank = min(max(round(total.weight), 1), n_features)
    selection = _selection(state.params, total.n_samples, rank)
    solver = "qr" if state.params["solver"] == "qr" else "gram"
    dtype = str(state.dtype)
    tail = 0.0
    if isinstance(summary, Moments):
        components, squared, energy = axes.of_scatter(summary, selection)
        components = components.astype(dtype) if dtype == "float32" else components
        mean, variances = summary.mean, summary.variances / summary.weight
    elif isinstance(summary, SVDSummary):
        components, squared, energy = axes.of_rows(summary, selection, solver, dtype)
        mean, variances = total.mean, total.m2 / total.weight
        tail = summary.tail
    else:
        squared, weights, energy = _columns.principal_axes(summary, selection, solver)
        components, mean, variances = _slab_arrays(summary, weights, dtype)
        tail = summary.tail
    squared = to_host(squared)
    n_components = int(squared.shape[0])
    freedom = total.weight - 1 if total.weight > 1 else total.weight
    left = rank - n_components
    share = squared / energy if energy > 0 else np.zeros_like(squared)
    return PCAModel(
        components,
        mean,
        variances,
        np.sqrt(squared),
        squared / freedom,
        share,
        max(energy - float(squared.sum()), 0.0) / freedom / left if left > 0 else 0.0,
        n_components,
        (tail / energy) ** 0.5 if energy > 0 else 0.0,
    )


def check_variance(summary: Any) -> None:
    """Raise NotEnoughSamplesError where all samples seen are the same."""
    total = getattr(summary, "moments", summary)
    means = 0.0
    if not isinstance(summary, SlabSummary):
        means = float(namespace(total.mean).sum(total.mean**2)) * total.weight
    if total.energy <= means * (4 * np.finfo(np.float64).eps) ** 2:
        raise NotEnoughSamplesError(
            f"X has zero variance: all {total.n_samples} samples seen so far are the same; pass "
            "samples that differ."
        )


def _selection(params: dict[str, Any], n_samples: int, rank: int) -> Selection:
    wanted = params["n_components"]
    if isinstance(wanted, int | np.integer):
        if n_samples < wanted:
            raise NotEnoughSamplesError(
                f"n_components={wanted} is more than the {n_samples} samples seen so far; go on "
                "with partial_fit or lower n_components."
            )
        return Selection(int(wanted))
    return Selection(rank, _solvers.allowed_loss(wanted, params["tol"]))


def _slab_arrays(summary: SlabSummary, weights: Array, dtype: str) -> tuple[Any, Any, Any]:
    """Return components, mean and variances as Dask arrays whose chunks are on their workers."""
    n_components = weights.shape[0]
    components = _columns.slab_array(
        summary,
        "components",
        functools.partial(_slab_components, weights=weights, dtype=dtype),
        (n_components,),
        dtype,
    )
    mean = _columns.slab_array(summary, "mean", _slab_mean, (), np.float64)
    variances = _columns.slab_array(summary, "var", _slab_variances, (), np.float64)
    return components, mean, variances


def _slab_components(slab: SVDSummary, weights: Array, dtype: str) -> Array:
    return Tiles([slab]).rotate(svd.Turn(weights, 0.0, 0.0), dtype).rows


def _slab_mean(slab: SVDSummary) -> Array:
    return slab.moments.mean


def _slab_variances(slab: SVDSummary) -> Array:
    return slab.moments.m2 / slab.moments.weight

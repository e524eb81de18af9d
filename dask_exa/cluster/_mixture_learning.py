"""From parameters and samples to what a `GaussianMixture` knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array
from dask_exa._parameters import check_choice, check_count, check_positive, draw_seeds
from dask_exa._samples import Samples
from dask_exa._state import NotEnoughSamplesError
from dask_exa.cluster import _mixture_sample, _mixture_starts
from dask_exa.cluster._mixture_sample import Drawn, capacity, draw, least
from dask_exa.reduction.broadcast import Question, Rounds
from dask_exa.summaries import mixture
from dask_exa.summaries.affine import Change, carry
from dask_exa.summaries.gaussians import TYPES, Gaussians
from dask_exa.summaries.mixture import Mixture
from dask_exa.summaries.mixture_reduction import unite

_RANGES = 8
"""Ranges of samples in memory that are gone through side by side."""


class Learnt(NamedTuple):
    """A mixture as statistics of all samples seen."""

    n_samples: int
    seed: int
    statistics: Mixture
    n_iter: int
    """Passes of the last `fit`, and steps of the stream since."""
    converged: bool
    lower_bounds: np.ndarray
    """Mean log-likelihood before the M-step of every pass of the last `fit`."""


def fit(params: Any, samples: Samples, sample_weight: Any) -> Learnt:
    """Learn a mixture from samples by EM: a pass over them a round.

    Parameters
    ----------
    params : GaussianMixture
        Read only.
    samples : Samples
    sample_weight : array of shape (n_samples,), optional
    """
    rounds = Rounds(samples, sample_weight)
    drawn = draw(params, rounds, None)
    if drawn.is_all:
        return settle(params, drawn)
    if _mixture_starts.is_partly_given(params):
        starts = _starts(params, drawn)
    else:  # the best of the starts is found on the drawn samples alone
        starts = [mixture.maximize(settle(params, drawn).statistics, params.reg_covar)]
    return _best(params, drawn, rounds, starts)


def learn(
    params: Any, samples: Samples, sample_weight: Any, known: Drawn | Learnt | None
) -> Drawn | Learnt:
    """Learn more samples of a stream: one step, in one pass over them.

    Parameters
    ----------
    params : GaussianMixture
        Read only.
    samples : Samples
    sample_weight : array of shape (n_samples,), optional
    known : Drawn or Learnt, optional
    """
    rounds = Rounds(samples, sample_weight)
    if not isinstance(known, Learnt):
        return _begin(params, draw(params, rounds, known))
    now = mixture.maximize(known.statistics, params.reg_covar)
    batch = rounds.ask(EXPECT, now, n_ranges=_RANGES)
    if batch.weight == 0:
        raise ValueError("sample_weight is zero for every sample; weight some of them.")
    statistics = mixture.step(known.statistics, batch, params.batch_size, params.learning_decay)
    return _later(known, statistics, known.n_iter + 1)


def merge(params: Any, parts: Sequence[Drawn | Learnt]) -> Drawn | Learnt:
    """Return what several models have learnt, as one.

    Samples that wait make a mixture of their own if there are enough; else the others, united,
    learn them.
    """
    waiting = [part for part in parts if isinstance(part, Drawn)]
    size = capacity(params, waiting[0].draw.rows.shape[1] - 1) if waiting else 0
    if len(waiting) == len(parts):
        return _begin(params, _mixture_sample.merge(waiting, size=size))
    few = [part for part in waiting if not _is_enough(params, part)]
    models = [
        settle(params, part)
        for part in parts
        if isinstance(part, Learnt) or _is_enough(params, part)
    ]
    statistics = unite(
        [model.statistics for model in models], params.n_components, params.reg_covar
    )
    if few:
        rows, weight = _mixture_sample.merge(few, size=size).rows()
        if rows.shape[0]:
            now = mixture.maximize(statistics, params.reg_covar)
            statistics = mixture.merge([statistics, mixture.summarize(rows, weight, now)])
    n_samples = sum(part.n_samples for part in parts)
    n_iter = max(model.n_iter for model in models)
    return _later(models[0], statistics._replace(n_samples=n_samples), n_iter)


def forget(known: Drawn | Learnt, factor: float) -> Drawn | Learnt:
    """Scale the weight of all that was seen by `factor`."""
    if isinstance(known, Drawn):
        return _mixture_sample.forget(known, factor)
    return known._replace(statistics=mixture.forget(known.statistics, factor))


@carry.register
def carry_learnt(known: Learnt, change: Change) -> Learnt:
    """Return the mixture where its samples are now; see `dask_exa.summaries.affine`."""
    return known._replace(statistics=carry(known.statistics, change))


def settle(params: Any, known: Drawn | Learnt) -> Learnt:
    """Return what is known as statistics: by EM on the samples, where they still wait."""
    if isinstance(known, Learnt):
        return known
    rows, weight = known.rows()
    if rows.shape[0] < least(params):
        raise NotEnoughSamplesError(
            f"n_components={params.n_components} needs at least {least(params)} samples, "
            f"{rows.shape[0]} with a weight were seen; learn more, or lower n_components."
        )
    return _best(params, known, Rounds(Samples(rows), weight), _starts(params, known))


def check_parameters(params: Any, n_features: int) -> None:
    """Raise ValueError or TypeError for parameters that make no sense."""
    for name in ("n_components", "max_iter", "n_init"):
        check_count(name, getattr(params, name))
    for name in ("batch_size", "learning_decay"):
        check_positive(name, getattr(params, name))
    for name in ("tol", "reg_covar"):
        check_positive(name, getattr(params, name), zero=True)
    check_choice("covariance_type", params.covariance_type, TYPES)
    check_choice("init_params", params.init_params, _mixture_starts.INITS)
    if not 0.5 < params.learning_decay <= 1:
        raise ValueError(
            f"learning_decay={params.learning_decay!r} must be in (0.5, 1]: steps that become "
            "shorter more slowly never settle, faster ones stop short."
        )
    if params.warm_start:
        raise ValueError(
            "warm_start=True is not possible with a state that merges; leave it False, and use "
            "partial_fit to learn more or means_init to start where another fit ended."
        )
    _mixture_starts.check_given(params, n_features)


def check_enough(params: Any, n_samples: int) -> None:
    """Raise ValueError for fewer samples than `fit` can make the wanted components of."""
    check_count("n_components", params.n_components)
    if n_samples < least(params):
        raise ValueError(
            f"n_samples={n_samples} is fewer than the {least(params)} that n_components="
            f"{params.n_components} needs; pass more samples or lower n_components."
        )


def _answer(gaussians: Gaussians, X: Array, sample_weight: Array | None, row: int) -> Mixture:
    return mixture.summarize(X, sample_weight, gaussians)


EXPECT = Question(_answer, mixture.merge)
"""Asks about `Gaussians`; the answer is the statistics under them, a `Mixture`."""


def _best(params: Any, drawn: Drawn, rounds: Rounds, starts: Sequence[Gaussians]) -> Learnt:
    """Return what EM makes of the best of several starts, in the weight of all that was seen."""
    found = max((_climb(params, rounds, start) for start in starts), key=_last_bound)
    statistics = found.statistics._replace(n_samples=drawn.n_samples)
    statistics = mixture.scale(statistics, drawn.weight / statistics.weight)
    return found._replace(n_samples=drawn.n_samples, seed=drawn.seed, statistics=statistics)


def _climb(params: Any, rounds: Rounds, gaussians: Gaussians) -> Learnt:
    """Repeat E-step and M-step until the likelihood hardly grows."""
    bounds: list[float] = []
    converged = False
    while not converged and len(bounds) < params.max_iter:
        statistics = rounds.ask(EXPECT, gaussians, n_ranges=_RANGES)
        gaussians = mixture.maximize(statistics, params.reg_covar)
        bounds.append(statistics.log_likelihood / statistics.weight)
        converged = len(bounds) > 1 and abs(bounds[-1] - bounds[-2]) < params.tol
        if params.verbose:
            print(f"Pass {len(bounds)}: mean log-likelihood {bounds[-1]:.6g}")
    n_iter = len(bounds)
    return Learnt(statistics.n_samples, 0, statistics, n_iter, converged, np.asarray(bounds))


def _last_bound(learnt: Learnt) -> float:
    return float(learnt.lower_bounds[-1])


def _later(known: Learnt, statistics: Mixture, n_iter: int) -> Learnt:
    """Return what is known after more than the last fit."""
    return Learnt(statistics.n_samples, known.seed, statistics, n_iter, False, np.empty(0))


def _begin(params: Any, drawn: Drawn) -> Drawn | Learnt:
    """Go over from samples to statistics as soon as there are enough of them."""
    rows = drawn.draw.rows
    is_full = rows.shape[0] >= capacity(params, rows.shape[1] - 1)
    return settle(params, drawn) if is_full and _is_enough(params, drawn) else drawn


def _is_enough(params: Any, drawn: Drawn) -> bool:
    return drawn.rows()[0].shape[0] >= least(params)


def _starts(params: Any, drawn: Drawn) -> list[Gaussians]:
    rows, weight = drawn.rows()
    n_starts = 1 if _mixture_starts.is_given(params) else params.n_init
    seeds = draw_seeds(drawn.seed, n_starts)
    return [_mixture_starts.start(params, rows, weight, int(seed)) for seed in seeds]

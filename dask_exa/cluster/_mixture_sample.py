"""The samples that a `GaussianMixture` keeps as they are while they are few."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array, as_float64, namespace, to_host
from dask_exa._parameters import draw_seed
from dask_exa.reduction.broadcast import Question, Rounds
from dask_exa.summaries import draws
from dask_exa.summaries.affine import Change, carry, move
from dask_exa.summaries.draws import Draw
from dask_exa.summaries.moments import checked_weight, refuse_non_finite_samples

_ROWS_PER_COMPONENT = 100
_ROWS_PER_PARAMETER = 4


class Drawn(NamedTuple):
    """Samples drawn from all that were seen; all of them, while they are few."""

    n_samples: int
    weight: float
    """Sum of the weights of all samples seen."""
    seed: int
    draw: Draw
    """The last column of its rows, float64, are weights: each is as likely as any other to be
    drawn."""

    @property
    def is_all(self) -> bool:
        """Whether no sample was left out."""
        return self.draw.rows.shape[0] == self.n_samples

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the drawn samples and their weights, in an order that is that of their values.

        What is made of them then depends neither on the order in which they came nor on whether
        a sample came twice or with a weight of 2.
        """
        rows = self.draw.rows[self.draw.rows[:, -1] > 0]
        rows = rows[np.lexsort(rows.T[::-1])]
        return np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, -1])


@carry.register
def carry_drawn(seen: Drawn, change: Change) -> Drawn:
    """Return the same samples where they are now; see `dask_exa.summaries.affine`."""
    samples, weights = seen.draw.rows[:, :-1], seen.draw.rows[:, -1:]
    rows = np.concatenate([move(samples, change), weights], axis=1)
    return seen._replace(draw=seen.draw._replace(rows=rows))


def draw(params: Any, rounds: Rounds, known: Drawn | None) -> Drawn:
    """Draw from samples, together with those that were drawn before.

    Parameters
    ----------
    params : GaussianMixture
        Read only.
    rounds : Rounds
    known : Drawn, optional
    """
    if known is None:
        seed, first = draw_seed(params.random_state), 0
    else:
        seed, first = known.seed, known.n_samples
    size = capacity(params, rounds.samples.n_features)
    question = Question(
        functools.partial(_answer, size=size, seed=seed, first=first),
        functools.partial(merge, size=size),
    )
    drawn = rounds.ask(question)
    if drawn.weight == 0:
        raise ValueError("sample_weight is zero for every sample; weight some of them.")
    return drawn if known is None else merge([known, drawn], size=size)


def merge(parts: Sequence[Drawn], *, size: int) -> Drawn:
    """Return what was drawn from all the samples that the given draws are of."""
    return Drawn(
        sum(part.n_samples for part in parts),
        sum(part.weight for part in parts),
        min(part.seed for part in parts),
        draws.merge([part.draw for part in parts], size),
    )


def forget(drawn: Drawn, factor: float) -> Drawn:
    """Scale the weight of all that was seen by `factor`."""
    rows = drawn.draw.rows.copy()
    rows[:, -1] *= factor
    return drawn._replace(weight=drawn.weight * factor, draw=drawn.draw._replace(rows=rows))


def capacity(params: Any, n_features: int) -> int:
    """Return how many samples are drawn: enough to start from, and not much more than a model."""
    per_component = {"full": params.n_components, "tied": 1}.get(params.covariance_type, 0)
    for_covariances = _ROWS_PER_PARAMETER * per_component * n_features
    return max(int(params.batch_size), _ROWS_PER_COMPONENT * params.n_components, for_covariances)


def least(params: Any) -> int:
    """Return how many samples a mixture needs."""
    return max(params.n_components, 2)


def _answer(
    small: None,
    X: Array,
    sample_weight: Array | None,
    row: int,
    *,
    size: int,
    seed: int,
    first: int,
) -> Drawn:
    xp = namespace(X)
    n_samples = int(X.shape[0])
    refuse_non_finite_samples(X)
    weight = checked_weight(sample_weight)
    numbers = np.arange(n_samples)[:, None]
    places = draws.summarize(numbers, None, size, seed, first=first + row)
    taken = places.rows[:, 0]
    rows = np.ones((taken.size, X.shape[1] + 1))
    rows[:, :-1] = to_host(as_float64(xp.take(X, xp.asarray(taken), axis=0)))
    total = float(n_samples)
    if weight is not None:
        rows[:, -1] = to_host(weight)[taken]
        total = float(xp.sum(weight))
    return Drawn(n_samples, total, seed, places._replace(rows=rows))

"""Which values a sketch of their tail needs, and what drifting ones are measured from."""

from __future__ import annotations

from typing import Any


def draw_exponentials(values: Any, first: int) -> Any:
    """Return an exponential variable for every value, a function of the value and its number.

    Parameters
    ----------
    values : array of shape (n_values,), float64
    first : int
        Number of the first value in its stream.

    Returns
    -------
    array of shape (n_values,), float64
    """
    from dask_exa.kernels._extremes_numba import draw_exponentials as twin

    return twin(values, first)


def sample_above(keys: Any, capacity: int) -> tuple[Any, Any]:
    """Return which keys are among the `capacity` smallest of those before them.

    There is one twin, on the host.

    Parameters
    ----------
    keys : array of shape (n_keys,), float64
    capacity : int

    Returns
    -------
    places : array of shape (n_kept,), int64
        Increasing. A key that equals the largest of the `capacity` smallest is not kept.
    limits : array of shape (n_kept,), float64
        The `capacity`-th smallest key up to and including each kept one; infinite where there
        are fewer.
    """
    from dask_exa.kernels._extremes_numba import sample_above as twin

    return twin(keys, capacity)


def moving_mean(scores: Any, recent: Any, depth: int, limit: float) -> tuple[Any, Any]:
    """Return the means of the scores before each one, and the last scores of all.

    A score that is NaN, or farther than `limit` above its mean, counts for those after it as that
    mean. There is one twin, on the host.

    Parameters
    ----------
    scores : array of shape (n_samples, n_series), float64
    recent : array of shape (n_recent, n_series), float64
        The scores just before, at most `depth` of them.
    depth : int
        Scores that a mean is taken of.
    limit : float

    Returns
    -------
    means : array of shape (n_samples, n_series), float64
        NaN where there are not yet `depth` scores before.
    recent : array of shape (min(n_recent + n_samples, depth), n_series), float64
    """
    from dask_exa.kernels._extremes_numba import moving_mean as twin

    return twin(scores, recent, depth, limit)

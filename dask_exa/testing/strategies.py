"""Hypothesis strategies: matrices with a spectrum, and ways of cutting and regrouping them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import strategies as st

OFFSETS = (0.0, 1.0, -1e3, 1e6)
DECAYS = (1.0, 0.5, 0.1)


@st.composite
def matrices(
    draw: st.DrawFn,
    min_samples: int = 1,
    max_samples: int = 40,
    min_features: int = 1,
    max_features: int = 12,
    max_rank: int | None = None,
    offsets: tuple[float, ...] = OFFSETS,
    constant_features: bool = True,
) -> np.ndarray:
    """Draw samples of low or full rank with a decaying spectrum, far from the origin or near it.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    min_samples, max_samples, min_features, max_features : int
    max_rank : int, optional
        Of the samples about their mean.
    offsets : tuple of float
        Distances of the mean from the origin, in standard deviations of the first direction.
    constant_features : bool, default=True
        Whether some features may have the same value in all samples.

    Returns
    -------
    array of shape (n_samples, n_features)
        float64.
    """
    n_samples = draw(st.integers(min_samples, max_samples), label="n_samples")
    n_features = draw(st.integers(min_features, max_features), label="n_features")
    largest = min(n_samples, n_features, max_rank or n_features)
    rank = draw(st.integers(1, largest), label="rank")
    decay = draw(st.sampled_from(DECAYS), label="decay")
    offset = draw(st.sampled_from(offsets), label="offset")
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    scores = random.standard_normal((n_samples, rank)) * decay ** np.arange(rank)
    X = scores @ random.standard_normal((rank, n_features))
    if constant_features and draw(st.booleans(), label="constant features"):
        X[:, random.random(n_features) < 0.3] = 0.0
    return X + offset * random.uniform(0.5, 1.0, n_features)


@st.composite
def cuts(draw: st.DrawFn, n_samples: int, *, empty: bool = False) -> tuple[int, ...]:
    """Draw the sizes of consecutive pieces that `n_samples` are cut into.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    n_samples : int
    empty : bool, default=False
        Whether pieces may have no samples.
    """
    edges = draw(st.lists(st.integers(0, n_samples), max_size=6, unique=not empty), label="edges")
    sizes = np.diff([0, *sorted(edges), n_samples])
    return tuple(int(size) for size in sizes if empty or size > 0)


@st.composite
def groupings(draw: st.DrawFn, n_items: int) -> Any:
    """Draw an order of merges: ``((0, 1), 2)`` merges 0 and 1 first, then 2.

    The items stay in their order; a group has two members or more.
    """
    groups: list[Any] = list(range(n_items))
    while len(groups) > 1:
        start = draw(st.integers(0, len(groups) - 2), label="first of the group")
        size = draw(st.integers(2, len(groups) - start), label="size of the group")
        groups[start : start + size] = [tuple(groups[start : start + size])]
    return groups[0]


@st.composite
def sample_weights(draw: st.DrawFn, n_samples: int) -> np.ndarray | None:
    """Draw no weights, numbers of repetitions (at least one), or weights of many sizes."""
    kind = draw(st.sampled_from(["none", "repetitions", "any"]), label="weights")
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed of the weights"))
    if kind == "none":
        return None
    if kind == "repetitions":
        return random.integers(1, 4, n_samples).astype(np.float64)
    return 10.0 ** random.uniform(-3, 3, n_samples)


def merge_grouped(merge: Any, items: Any, grouping: Any) -> Any:
    """Merge items as a grouping says, with ``merge([item, …])``."""
    if isinstance(grouping, int):
        return items[grouping]
    return merge([merge_grouped(merge, items, group) for group in grouping])


def pieces(array: Any, sizes: tuple[int, ...]) -> list[Any]:
    """Cut an array, or None, along its first axis into pieces of the given sizes."""
    if array is None:
        return [None] * len(sizes)
    edges = np.cumsum((0, *sizes))
    return [array[start:stop] for start, stop in itertools.pairwise(edges)]

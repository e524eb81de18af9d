"""Broadcast-reduce over samples: ask all of them about a small value, again and again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dask_exa._array import Array
from dask_exa._samples import Samples, flat_rows, is_dask
from dask_exa.reduction._errors import naming
from dask_exa.reduction._graph import Chunks, Graph, ref
from dask_exa.reduction.fold import fold
from dask_exa.reduction.tree import add_all, first_rows, merge_leaves
from dask_exa.summaries.reducer import Reducer, Summary


class Question(NamedTuple):
    """What samples are asked: a `Reducer` whose summaries are about a small value."""

    answer: Callable[[Any, Array, Array | None, int], Summary]
    """`answer(small, X, sample_weight, row)`: what one block of samples (n_samples, n_features)
    says, the first of which has that number in the input."""

    merge: Callable[[Sequence[Summary]], Summary]
    """`merge(summaries)`: what they say together. Associative; the given order is kept."""

    def about(self, small: Any) -> Reducer:
        """Return the question about one value, as a fold of samples in memory takes it."""
        return self._about(0, small)

    def _about(self, row: int, small: Any) -> Reducer:
        def summarize(X: Array, sample_weight: Array | None) -> Summary:
            return self.answer(small, X, sample_weight, row)

        return Reducer(summarize, self.merge, located=functools.partial(self._about, small=small))


class Rounds:
    """Samples that are asked again and again.

    In memory, and as a Dask array: then every round is one task a chunk, fused onto the task that
    makes the chunk, and a tree of merges whose order is that of the chunks. The value that is
    asked about is sent once to every worker, and only summaries come back. Chunks are made anew
    in each round and never kept; those of a persisted array stay where they are.

    Parameters
    ----------
    samples : Samples
    sample_weight : array of shape (n_samples,), optional

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_exa._samples import as_samples
    >>> nearer = Question(lambda small, X, weight, row: int((X < small).sum()), sum)
    >>> rounds = Rounds(as_samples(da.arange(10, chunks=3).reshape(10, 1)))
    >>> rounds.ask(nearer, 4), rounds.ask(nearer, 7), rounds.n_rounds
    (4, 7, 2)
    """

    def __init__(self, samples: Samples, sample_weight: Any = None) -> None:
        if samples.is_lazy:
            samples, sample_weight = flat_rows(samples, sample_weight)
            self._chunks = Chunks(samples.array)
            self._weights = None if sample_weight is None else Chunks(sample_weight)
        elif is_dask(sample_weight):
            sample_weight = sample_weight.compute()
        self.samples = samples
        self.sample_weight = sample_weight
        self.n_rounds = 0
        """How often the samples were asked so far: the number of passes over the data."""

    def ask(
        self, question: Question, small: Any = None, *, split_every: int = 8, n_ranges: int = 1
    ) -> Summary:
        """Return what all samples say about a value.

        Parameters
        ----------
        question : Question
        small : any
            Sent to every worker.
        split_every : int, default=8
            Summaries that one task merges.
        n_ranges : int, default=1
            For samples in memory, see `dask_exa.reduction.fold.fold`.
        """
        self.n_rounds += 1
        if self.samples.is_lazy:
            return self._ask_chunks(question, small, split_every)
        reducer = question.about(small)
        return fold(reducer, self.samples.array, self.sample_weight, n_ranges=n_ranges)

    def _ask_chunks(self, question: Question, small: Any, split_every: int) -> Summary:
        graph = Graph()
        broadcast = graph.add_value(small)
        chunks = add_all(graph, self._chunks)
        weights = [None] * len(chunks) if self._weights is None else add_all(graph, self._weights)
        rows = first_rows(self.samples.array.chunks[0])
        leaves = [
            graph.add_task(
                "answer",
                _answer_chunk,
                question,
                i,
                row,
                ref(broadcast),
                ref(chunk),
                None if weight is None else ref(weight),
                home=i / len(chunks),
            )
            for i, (chunk, weight, row) in enumerate(zip(chunks, weights, rows, strict=True))
        ]
        return merge_leaves(graph, question.merge, leaves, split_every)


def _answer_chunk(
    question: Question, index: int, row: int, small: Any, X: Array, sample_weight: Array | None
) -> Summary | None:
    if X.shape[0] == 0:
        return None
    with naming(f"chunk {index} of the samples"):
        return question.answer(small, X, sample_weight, row)

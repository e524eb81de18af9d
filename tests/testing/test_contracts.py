"""The contract suite: a small honest estimator passes, and each way of cheating is noticed."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from dask_exa._samples import flat_rows
from dask_exa._state import Fitted
from dask_exa.base import MergeableEstimator
from dask_exa.reduction.fold import fold
from dask_exa.reduction.tree import tree
from dask_exa.summaries import Reducer, moments
from dask_exa.testing.contracts import MergeableEstimatorContract

REDUCER = Reducer(moments.summarize, moments.merge)


class Model:
    def __init__(self, state):
        summary = state.summary
        self.mean = summary.mean
        self.var = summary.m2 / summary.weight


class Spread(MergeableEstimator):
    """Mean and variance of every feature, as the author of a plug-in would write it."""

    mean_ = Fitted("Mean.", leading=())
    var_ = Fitted("Variance.", leading=())
    _state_params = ("scale",)

    def __init__(self, scale=1.0):
        self.scale = scale

    @property
    def n_samples_seen_(self):
        return self._state.summary.n_samples

    def _learn(self, samples, sample_weight, start):
        if samples.is_lazy:
            samples, sample_weight = flat_rows(samples, sample_weight)
            return tree(REDUCER, samples.array, sample_weight, start)
        return fold(REDUCER, samples.array, sample_weight, start)

    def _merge_summaries(self, summaries, dtype):
        return moments.merge(summaries)

    def _forget_summary(self, summary, factor):
        return moments.forget(summary, factor)

    def _finalize(self, state):
        return Model(state)


class TestSpread(MergeableEstimatorContract):
    atol = {"mean_": 1e-12, "var_": 1e-12}  # noqa: RUF012

    def make(self):
        return Spread()


class ForgetsWeights(Spread):
    def _learn(self, samples, sample_weight, start):
        return super()._learn(samples, None, start)


class AveragesMeans(Spread):
    def _merge_summaries(self, summaries, dtype):
        merged = moments.merge(summaries)
        return merged._replace(mean=sum(s.mean for s in summaries) / len(summaries))


class MiscountsSamples(Spread):
    def _merge_summaries(self, summaries, dtype):
        return moments.merge(summaries)._replace(n_samples=summaries[0].n_samples)


class WritesToX(Spread):
    def _learn(self, samples, sample_weight, start):
        if not samples.is_lazy:
            samples.array[...] += 0.0
        return super()._learn(samples, sample_weight, start)


class KeepsWhatItLearntOnError(Spread):
    def partial_fit(self, X, y=None, check_input=True, sample_weight=None):
        self.n_calls = getattr(self, "n_calls", 0) + 1
        return super().partial_fit(X, y, check_input, sample_weight)


class StartsFromTheLastFit(Spread):
    def fit(self, X, y=None, sample_weight=None):
        return self.partial_fit(X, y, sample_weight=sample_weight)


class MergesInPlace(Spread):
    def __or__(self, other):
        return self.merge(other)


class RemembersSamples(Spread):
    def _absorb(self, samples, sample_weight):
        super()._absorb(samples, sample_weight)
        self.samples_ = np.asarray(samples.array)


class LosesItsStateWhenStored(Spread):
    def __getstate__(self):
        return {**super().__getstate__(), "_state": None}


BROKEN = [
    (ForgetsWeights, "test_weight_is_repetition"),
    (AveragesMeans, "test_merge_of_models_is_fit"),
    (MiscountsSamples, "test_number_of_samples_is_exact"),
    (WritesToX, "test_samples_are_never_written_to"),
    (KeepsWhatItLearntOnError, "test_errors_leave_everything_as_it_was"),
    (StartsFromTheLastFit, "test_fit_forgets_and_repeats_to_the_last_bit"),
    (MergesInPlace, "test_union_leaves_both_as_they_were"),
    (RemembersSamples, "test_state_does_not_grow_with_the_number_of_samples"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("cls", "test"), BROKEN)
def test_cheating_is_noticed(cls, test):
    class Broken(TestSpread):
        def make(self):
            return cls()

    with pytest.raises((AssertionError, ValueError)):
        getattr(Broken(), test)()


def test_loss_of_state_is_noticed():
    class Broken(MergeableEstimatorContract):
        def make(self):
            return LosesItsStateWhenStored()

    with tempfile.TemporaryDirectory() as folder, pytest.raises((AssertionError, AttributeError)):
        Broken().test_resumes_from_storage_to_the_last_bit("pickle", 20, Path(folder))

"""What every estimator whose state merges has to hold: subclass, say how to make one, run pytest.

Examples
--------
>>> from dask_exa.decomposition import IncrementalPCA
>>> from dask_exa.testing.contracts import MergeableEstimatorContract
>>> class TestIncrementalPCA(MergeableEstimatorContract):
...     def make(self):
...         return IncrementalPCA(n_components=3)
"""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dask
import dask.array as da
import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from dask_exa._state import Fitted
from dask_exa.testing.strategies import cuts, groupings, merge_grouped, pieces

SAMPLES = 60
# Every subclass runs the same test functions.
LAW = settings(max_examples=15, suppress_health_check=[HealthCheck.differing_executors])


class MergeableEstimatorContract:
    """Tests of one estimator; a subclass gives `make` and, where it must, changes the rest."""

    rtol: float = 1e-9
    """Relative to the largest entry of an attribute."""
    atol: Mapping[str, float] = MappingProxyType({})
    """Absolute, for attributes that are zero but for rounding errors."""
    commutative: bool = True
    """Whether the order of merges makes no difference either."""
    takes_weights: bool = True

    def make(self) -> Any:
        """Return an unfitted estimator, always with the same parameters."""
        raise NotImplementedError

    def samples(self) -> np.ndarray:
        """Return (60, n_features) samples that the estimator summarizes without loss."""
        rng = np.random.default_rng(0)
        scores = rng.standard_normal((SAMPLES, 6)) * np.arange(6, 0, -1)
        return scores @ rng.standard_normal((6, 6)) + 5

    def present(self, X: np.ndarray) -> Any:
        """Return samples in memory in the form in which the estimator is to be given them."""
        return X

    def learnt(self, estimator: Any) -> dict[str, np.ndarray]:
        """Return everything that can be read off a fitted estimator, by name, as NumPy arrays."""
        names = [name for name, value in vars_of(type(estimator)) if isinstance(value, Fitted)]
        values = {name: getattr(estimator, name) for name in ("n_samples_seen_", *names)}
        return {name: np.asarray(value) for name, value in values.items()}

    def fitted(self, X: np.ndarray, **weights: Any) -> Any:
        """Return an estimator that has seen these samples."""
        return self.make().fit(self.present(X), **weights)

    def assert_same(self, actual: Any, expected: Any, *, bits: bool = False) -> None:
        """Compare two fitted estimators: to `rtol` and `atol`, or to the last bit."""
        values = self.learnt(actual)
        for name, wanted in self.learnt(expected).items():
            assert values[name].dtype == wanted.dtype, name
            self.assert_near(name, values[name], wanted, bits=bits)

    def assert_near(self, name: str, value: Any, wanted: Any, *, bits: bool = False) -> None:
        """Compare an attribute."""
        atol = self.rtol * np.abs(wanted).max(initial=0) + self.atol.get(name, 0)
        np.testing.assert_allclose(value, wanted, rtol=0, atol=0 if bits else atol, err_msg=name)

    @LAW
    @given(data=st.data())
    def test_partial_fit_in_pieces_is_fit(self, data: st.DataObject) -> None:
        """A stream of batches of any sizes gives what one fit on all of it does."""
        X = self.samples()
        stream = self.make()
        for piece in pieces(X, data.draw(cuts(len(X)))):
            assert stream.partial_fit(self.present(piece)) is stream
        self.assert_same(stream, self.fitted(X))

    @LAW
    @given(data=st.data())
    def test_merge_of_models_is_fit(self, data: st.DataObject) -> None:
        """Models of parts of the samples merge, in any grouping, to one of all."""
        X = self.samples()
        parts = pieces(X, data.draw(cuts(len(X))))
        models = [self.make().partial_fit(self.present(part)) for part in parts]
        if self.commutative:
            models = data.draw(st.permutations(models))
        grouping = data.draw(groupings(len(models)))
        merged = merge_grouped(lambda group: self.make().merge(*group), models, grouping)
        self.assert_same(merged, self.fitted(X))

    @LAW
    @given(data=st.data())
    def test_chunks_of_samples_are_fit(self, data: st.DataObject) -> None:
        """A Dask array gives what the same samples in memory do, however it is chunked."""
        X = self.samples()
        sizes = data.draw(cuts(len(X), empty=True))
        lazy = da.from_array(X, chunks=(sizes, -1))
        with dask.config.set(scheduler="synchronous"):
            self.assert_same(self.make().fit(self.present(lazy)), self.fitted(X))

    def test_single_samples_are_fit(self) -> None:
        """A stream of one sample at a time is legal and loses nothing."""
        X = self.samples()
        stream = self.make()
        for x in X:
            stream.partial_fit(self.present(x[None, :]))
        self.assert_same(stream, self.fitted(X))

    def test_number_of_samples_is_exact(self) -> None:
        """Every sample is counted once."""
        X = self.samples()
        a, b = self.fitted(X[:41]), self.fitted(X[41:])
        assert a.n_samples_seen_ == 41
        assert (a | b).n_samples_seen_ == len(X)
        assert a.partial_fit(self.present(X[41:])).n_samples_seen_ == len(X)

    def test_fit_forgets_and_repeats_to_the_last_bit(self) -> None:
        """What was learnt before a fit leaves no trace in it."""
        X = self.samples()
        again = self.fitted(2 * X[:30] + 1).fit(self.present(X))
        self.assert_same(again, self.fitted(X), bits=True)

    def test_unfitted_models_change_nothing(self) -> None:
        """A model that has seen nothing is the identity of merging."""
        fitted = self.fitted(self.samples())
        before = snapshot(fitted)
        fitted.merge()
        fitted.merge(self.make(), self.make())
        assert snapshot(fitted) == before
        for model in (self.make() | fitted, fitted | self.make(), self.make().merge(fitted)):
            self.assert_same(model, fitted, bits=True)
        nothing = self.make().merge(self.make())
        with pytest.raises(NotFittedError):
            check_is_fitted(nothing)

    def test_union_leaves_both_as_they_were(self) -> None:
        """``a | b`` is a new model."""
        X = self.samples()
        a, b = self.fitted(X[:41]), self.fitted(X[41:])
        before = snapshot(a), snapshot(b)
        union = a | b
        assert union is not a
        assert (snapshot(a), snapshot(b)) == before
        self.assert_same(union, a.merge(b), bits=True)
        assert snapshot(b) == before[1]

    def test_samples_are_never_written_to(self) -> None:
        """Samples may be read-only."""
        for order in ("C", "F"):
            X = np.array(self.samples(), order=order)
            before = X.copy()
            X.flags.writeable = False
            model = self.fitted(X).partial_fit(self.present(X), check_input=False)
            if hasattr(model, "transform"):
                model.transform(X)
            assert np.array_equal(X, before)

    def test_weight_is_repetition(self) -> None:
        """A weight counts a sample that many times."""
        if not self.takes_weights:
            pytest.skip("takes no sample weights")
        X = self.samples()
        times = np.random.default_rng(1).integers(1, 4, len(X))
        values = self.learnt(self.fitted(X, sample_weight=times.astype(float)))
        for name, wanted in self.learnt(self.fitted(np.repeat(X, times, axis=0))).items():
            if name != "n_samples_seen_":
                self.assert_near(name, values[name], wanted)

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_errors_leave_everything_as_it_was(self) -> None:
        """A call that raises has learnt nothing and forgotten nothing."""
        X = self.samples()
        for name, call in self.bad_calls(X).items():
            for estimator in (self.make(), self.fitted(X)):
                before = snapshot(estimator)
                with refusal(name):
                    call(estimator)
                assert snapshot(estimator) == before, f"{name}: the state has changed"

    def bad_calls(self, X: np.ndarray) -> dict[str, Callable[[Any], Any]]:
        """Return calls that must raise ValueError or TypeError, by what is wrong with them."""
        nan, inf = X.copy(), X.copy()
        nan[50, 1], inf[3, -1] = np.nan, -np.inf
        unknown = da.from_array(X, chunks=(7, -1))
        bad_samples = {
            "NaN": nan,
            "infinity": inf,
            "NaN in a chunk": da.from_array(nan, chunks=(7, -1)),
            "unknown chunk sizes": unknown[unknown[:, 0] > 0],
            "one dimension": X[0],
            "one dimension of chunks": da.from_array(X[0]),
            "no samples": X[:0],
            "no samples in any chunk": da.from_array(X[:0], chunks=(0, -1)),
            "no features": X[:, :0],
            "complex numbers": X + 1j,
            "complex chunks": da.from_array(X + 1j),
            "words": np.full(X.shape, "word"),
        }
        bad_weights = {
            "too few weights": np.ones(len(X) - 1),
            "two-dimensional weights": np.ones((len(X), 1)),
            "negative weights": np.full(len(X), -1.0),
            "a weight that is NaN": np.where(np.arange(len(X)) == 3, np.nan, 1.0),
            "no weight at all": np.zeros(len(X)),
        }
        calls = {name: _learn(self.present(bad)) for name, bad in bad_samples.items()}
        calls["NaN in fit"] = _learn(self.present(nan), "fit")
        calls["a model of another class"] = lambda estimator: estimator.merge(object())
        if self.takes_weights:
            calls |= {
                name: _learn(self.present(X), sample_weight=bad)
                for name, bad in bad_weights.items()
            }
        return calls

    def test_other_number_of_features_is_refused(self) -> None:
        """Neither samples nor models of other features are taken."""
        X = self.samples()
        fitted, narrow = self.fitted(X), self.fitted(X[:, 1:])
        before = snapshot(fitted)
        for wrong in (X[:, 1:], da.from_array(X[:, 1:], chunks=(7, -1))):
            with refusal("another number of features"):
                fitted.partial_fit(self.present(wrong))
        for model in (fitted, self.make()):
            with refusal("a model of other features"):
                model.merge(self.fitted(X), narrow)
        assert snapshot(fitted) == before

    def test_error_of_a_source_leaves_everything_as_it_was(self) -> None:
        """Nor does an error in the middle of reading change anything."""
        X = self.samples()

        def fail(block: np.ndarray) -> np.ndarray:
            raise OSError("the disk is gone")

        fitted = self.fitted(X)
        before = snapshot(fitted)
        lazy = da.from_array(X, chunks=(7, -1)).map_blocks(fail, meta=X[:0])
        for learn in (fitted.fit, fitted.partial_fit):
            with pytest.raises(OSError, match="the disk is gone"):
                learn(self.present(lazy))
            assert snapshot(fitted) == before

    def test_clone_keeps_parameters_and_forgets_the_rest(self) -> None:
        """A clone starts anew."""
        fitted = self.fitted(self.samples())
        copied = clone(fitted)
        assert copied.get_params() == fitted.get_params()
        with pytest.raises(NotFittedError):
            check_is_fitted(copied)
        self.assert_same(copied.fit(self.present(self.samples())), fitted, bits=True)

    @pytest.mark.parametrize("how", ["pickle", "joblib", "save"])
    @pytest.mark.parametrize("n_samples", [1, 20, 41])
    def test_resumes_from_storage_to_the_last_bit(
        self, how: str, n_samples: int, tmp_path: Path
    ) -> None:
        """A stream that was interrupted goes on as if it had not been."""
        X = self.samples()
        uninterrupted = self.make().partial_fit(self.present(X[:n_samples]))
        resumed = ROUND_TRIPS[how](uninterrupted, tmp_path / "checkpoint")
        assert type(resumed) is type(uninterrupted)
        assert resumed.get_params() == uninterrupted.get_params()
        for batch in (X[n_samples:50], X[50:]):
            uninterrupted.partial_fit(self.present(batch))
            resumed.partial_fit(self.present(batch))
        self.assert_same(resumed, uninterrupted, bits=True)

    def test_state_does_not_grow_with_the_number_of_samples(self) -> None:
        """A state takes memory for features, not for samples."""
        X = self.samples()
        short, long = self.fitted(X), self.fitted(np.tile(X, (40, 1)))
        # a low-rank state may have room for a few more rows
        assert _stored_bytes(long) <= _stored_bytes(short) + X.nbytes


def _stored_bytes(estimator: Any) -> int:
    estimator = copy.copy(estimator)
    vars(estimator).pop("labels_", None)  # scikit-learn's, one for every sample of a fit
    return len(pickle.dumps(estimator))


def _learn(X: Any, verb: str = "partial_fit", **weights: Any) -> Callable[[Any], Any]:
    return lambda estimator: getattr(estimator, verb)(X, **weights)


def _by_pickle(estimator: Any, path: Path) -> Any:
    return pickle.loads(pickle.dumps(estimator))


def _by_joblib(estimator: Any, path: Path) -> Any:
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    return joblib.load(buffer)


def _by_save(estimator: Any, path: Path) -> Any:
    estimator.save(path)
    return type(estimator).load(path)


ROUND_TRIPS = {"pickle": _by_pickle, "joblib": _by_joblib, "save": _by_save}


def snapshot(estimator: Any) -> Any:
    """Return all that an estimator knows as plain values, which later calls cannot change."""
    names = sorted(name for name in vars(estimator) if name != "_state")
    state = vars(estimator).get("_state")
    known = [(name, repr(vars(estimator)[name])) for name in names]
    if state is None:
        return known
    labels = None if state.labels is None else repr(state.labels)
    return known, _frozen(state.summary), repr(state.params), str(state.dtype), labels


def _frozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_frozen(part) for part in value)
    if hasattr(value, "shape"):
        array = np.asarray(value)
        return array.shape, str(array.dtype), array.tobytes()
    return value


def vars_of(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield what a class and its bases define, by name."""
    for name in dir(cls):
        yield name, getattr(cls, name, None)


@contextlib.contextmanager
def refusal(what: str) -> Iterator[None]:
    """Check that something is refused in words, as a ValueError or a TypeError."""
    refused = None
    try:
        yield
    except (ValueError, TypeError) as error:
        refused = error
    assert refused is not None, f"{what} was not refused"
    assert len(str(refused)) > 20, f"{what}: {refused!r} does not say what to do"

"""What every anomaly detector has to hold: subclass, say how to make one, run pytest.

Examples
--------
>>> from dask_exa.anomaly import IsolationForest
>>> from dask_exa.testing.detectors import DetectorContract
>>> class TestIsolationForest(DetectorContract):
...     def make(self, **params):
...         return IsolationForest(**{"n_estimators": 25, "random_state": 3, **params})
"""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dask_exa._threads import thread_share
from dask_exa.testing.strategies import cuts, pieces

N_SAMPLES, N_FEATURES = 3000, 5
METHODS = ("score_samples", "decision_function", "predict")
LAW = settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


class DetectorContract:
    """Tests of one detector; a subclass gives `make` and, where it must, changes the rest."""

    rtol: float = 0.0
    """Of scores, however the samples came; 0 is equal to the last bit."""

    def make(self, **params: Any) -> Any:
        """Return an unfitted detector, always the same but for the given parameters."""
        raise NotImplementedError

    def samples(self) -> np.ndarray:
        """Return (3000, 5) samples."""
        return np.random.default_rng(0).standard_normal((N_SAMPLES, N_FEATURES))

    def queries(self) -> np.ndarray:
        """Return samples to score, some of them abnormal."""
        return 3 * np.random.default_rng(1).standard_normal((200, N_FEATURES))

    def assert_same(self, detector: Any, expected: Any) -> None:
        """Compare the scores of two fitted detectors."""
        queries = self.queries()
        wanted = expected.score_samples(queries)
        np.testing.assert_allclose(detector.score_samples(queries), wanted, rtol=self.rtol, atol=0)

    @LAW
    @given(data=st.data())
    def test_no_cut_of_the_stream_shows(self, data: st.DataObject) -> None:
        """Pieces of any sizes, in memory or chunked, are one stream."""
        X = self.samples()
        stream = self.make()
        for piece in pieces(X, data.draw(cuts(len(X)))):
            lazy = data.draw(st.booleans())
            stream.partial_fit(da.from_array(piece, chunks=(700, 2)) if lazy else piece)
        assert stream.n_samples_seen_ == len(X)
        self.assert_same(stream, self.make().fit(X))

    @pytest.mark.parametrize("n_threads", [1, 2, 4, 8])
    @pytest.mark.parametrize("chunks", [(N_SAMPLES, 5), (1000, 2), (97, 5)])
    def test_neither_chunks_nor_threads_show(self, chunks: tuple[int, int], n_threads: int) -> None:
        """Who computes what is of no consequence."""
        X = self.samples()
        with thread_share(2):
            expected = self.make().fit(X)
        with dask.config.set(scheduler="threads", num_workers=n_threads):
            self.assert_same(self.make().fit(da.from_array(X, chunks=chunks)), expected)
        with thread_share(n_threads):
            self.assert_same(self.make().fit(X), expected)

    def test_lazy_in_lazy_out(self) -> None:
        """Dask arrays are scored chunk by chunk, when they are asked for."""
        model, queries = self.make().fit(self.samples()), self.queries()
        lazy = da.from_array(queries, chunks=(70, 2))
        for name in METHODS:
            answer = getattr(model, name)(lazy)
            assert isinstance(answer, da.Array)
            assert answer.chunks == ((70, 70, 60),)
            expected = getattr(model, name)(queries)
            np.testing.assert_allclose(answer.compute(), expected, rtol=self.rtol, atol=0)

    def test_labelled_in_labelled_out(self) -> None:
        """Scores of labelled samples have the labels of the samples."""
        X = self.samples()
        time = np.arange(30) * 0.5
        film = xr.DataArray(
            X.reshape(30, 100, N_FEATURES), dims=("time", "x", "field"), coords={"time": time}
        )
        model = self.make(sample_dims=("time", "x")).fit(film)
        expected = self.make().fit(X).predict(X)
        for array in (film, film.chunk({"time": 7, "x": 50})):
            verdict = model.predict(array)
            assert verdict.dims == ("time", "x")
            np.testing.assert_array_equal(verdict.time, time)
            np.testing.assert_array_equal(verdict.values.ravel(), expected)

    def test_verdict_is_the_sign_of_the_decision(self) -> None:
        """Scores, decisions and verdicts say the same."""
        model, queries = self.make().fit(self.samples()), self.queries()
        decision = model.decision_function(queries)
        np.testing.assert_allclose(decision, model.score_samples(queries) - model.offset_)
        np.testing.assert_array_equal(model.predict(queries), np.where(decision < 0, -1, 1))

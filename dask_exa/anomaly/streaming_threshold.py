"""From scores to alarms at a chosen false-alarm rate."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from dask_exa._frames import is_lazy_series, lazy_array
from dask_exa._parameters import check_count
from dask_exa._samples import Samples
from dask_exa._state import NotEnoughSamplesError, State
from dask_exa.anomaly import _thresholding
from dask_exa.anomaly._score_law import ScoreLaw, ScoreLaws
from dask_exa.anomaly.alarm import Alarm, Block
from dask_exa.base import MergeableEstimator
from dask_exa.summaries import Summary, scores


class StreamingThreshold(MergeableEstimator):
    """Scores that are too improbable to be normal are alarms.

    Scores beyond a high level follow a generalised Pareto law, whatever the law of all scores; the
    threshold is where that law has the asked-for probability (peaks over threshold, as SPOT and
    DSPOT). What is kept of the scores is a sample of those above every level, which merges
    exactly: batches, Dask chunks and the models of other ranks give the threshold of all scores.

    After few scores the threshold is farther out than the best law has it: probabilities are
    averaged over all laws that explain what was seen, and approach it as more comes in.

    Parameters
    ----------
    false_alarm_rate : float in (0, 1), default=1e-3
        Share of normal scores that raise an alarm. May be changed at any time.
    level : float in (0, 1), default=0.98
        Share of the scores below the tail. A quarter of all scores, up to 25, is tail where there
        are few; at most `max_excesses` are where there are many. May be changed at any time.
    n_calibration : int, default=100
        Scores before there are alarms. May be changed at any time.
    forgetting_factor : float in (0, 1], default=1.0
        Weight of a step relative to the next one, for scores that drift. Independent of how the
        stream is cut into batches.
    drift_depth : int, optional
        Measure every score from the mean of that many before it in its series. Such scores have
        to come in their order: Dask chunks are then computed one after the other, and a merge
        takes the recent scores of the model that has seen the longest stream.
    side : {"low", "high"}, default="low"
        Which scores are abnormal: low ones, as detectors have it, or high ones.
    learn_alarms : bool, default=False
        Whether `update` learns scores that it has raised an alarm for. Otherwise it counts, of all
        alarms, as many as normal scores cause, as scores of unknown size beyond the threshold;
        SPOT, which counts none, raises more and more. Where scores may move to another level for
        good, take True.
    max_excesses : int, default=1024
        Scores above any level that are kept. Probabilities are off by one in the square root of
        it where more were seen.

    Attributes
    ----------
    threshold_ : float
        Scores beyond it are alarms; with `drift_depth`, distances from the mean. Infinite where so
        few scores cannot tell.
    tail_shape_, tail_scale_ : float
        ξ and σ of maximum likelihood of the tail; NaN where it has fewer than 3 different scores.
    is_calibrated_ : bool
        Whether `n_calibration` scores were learnt.
    n_samples_seen_ : int
        Steps seen.

    Notes
    -----
    Scores come as (n_steps,), or as (n_steps, n_series), for instance one series per block of a
    field: all series share one threshold.

    A score that is NaN, or infinite on the abnormal side, is an alarm by itself, from the first
    one on; its probability is 0 and it is never learnt. Before `n_calibration` scores were learnt,
    nothing else is: probabilities are then 1, and `threshold_` raises NotEnoughSamplesError.

    References
    ----------
    A. Siffer, P.-A. Fouque, A. Termier, C. Largouët, "Anomaly detection in streams with extreme
    value theory", KDD 2017. For the sketch see `dask_exa.summaries.extremes`, for the tail
    `dask_exa.summaries.pareto`.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.random.default_rng(0).standard_normal(200_000)
    >>> threshold = StreamingThreshold(false_alarm_rate=1e-3, side="high").fit(scores)
    >>> round(threshold.threshold_, 1)  # 3.09 for a normal law
    3.1
    >>> threshold.predict([0.3, 2.0, 7.5])
    array([ 1,  1, -1])
    >>> ranks = [StreamingThreshold(side="high").fit(scores[i::4]) for i in range(4)]
    >>> StreamingThreshold(side="high").merge(*ranks).threshold_ == threshold.threshold_
    True
    """

    _state_params = ("forgetting_factor", "drift_depth", "side", "max_excesses")

    def __init__(
        self,
        *,
        false_alarm_rate: float = 1e-3,
        level: float = 0.98,
        n_calibration: int = 100,
        forgetting_factor: float = 1.0,
        drift_depth: int | None = None,
        side: str = "low",
        learn_alarms: bool = False,
        max_excesses: int = 1024,
    ) -> None:
        self.false_alarm_rate = false_alarm_rate
        self.level = level
        self.n_calibration = n_calibration
        self.forgetting_factor = forgetting_factor
        self.drift_depth = drift_depth
        self.side = side
        self.learn_alarms = learn_alarms
        self.max_excesses = max_excesses

    @property
    def is_calibrated_(self) -> bool:
        """Whether `n_calibration` scores were learnt."""
        return self._is_fitted() and self._state.summary.n_scores >= self.n_calibration

    @property
    def threshold_(self) -> float:
        """Score beyond which there is an alarm."""
        return _thresholding.sign_of(self) * self._known_law.quantile(self.false_alarm_rate)

    @property
    def tail_shape_(self) -> float:
        """ξ of the tail: below 0 it ends, above it is a power law."""
        tail = self._known_law.tail
        return np.nan if tail is None else tail.shape

    @property
    def tail_scale_(self) -> float:
        """σ of the tail, in the units of the scores."""
        tail = self._known_law.tail
        return np.nan if tail is None else tail.scale

    def p_values(self, scores: Any) -> Any:
        """Return the probability that a normal score is at least as extreme, for each.

        Parameters
        ----------
        scores : array of shape (n_steps,) or (n_steps, n_series), or labelled array
            With `drift_depth`, each is measured from the last scores that were learnt.

        Returns
        -------
        array of the shape of `scores`, float64
            Lazy for Dask, labelled for xarray. 1 before there are `n_calibration` scores.
        """
        check_is_fitted(self)
        if is_lazy_series(scores):
            scores = lazy_array(scores)
        samples = self._validate(scores, reset=False)
        if samples.columns is not None:  # a Dask DataFrame
            scores = samples.array
        return _thresholding.p_values(self, scores, self._usable_law, self._state)

    def predict(self, scores: Any) -> Any:
        """Return -1 for alarms and 1 for normal scores, in the kind and shape of `scores`."""
        function = functools.partial(_thresholding.verdict, rate=self.false_alarm_rate)
        return _thresholding.elementwise(function, self.p_values(scores), np.int64)

    def update(self, scores: Any, *, batch_size: int = 64) -> np.ndarray:
        """Test scores against those before them, then learn those that are no alarms.

        Parameters
        ----------
        scores : array of shape (n_steps,) or (n_steps, n_series), or labelled array
            The next steps of the stream.
        batch_size : int, default=64
            Steps that are tested together, by the law of all steps before them. One is what SPOT
            does.

        Returns
        -------
        array of the shape of `scores`, float64
            The probabilities that the scores had when they were tested.
        """
        check_count("batch_size", batch_size)
        rows = _thresholding.in_memory(scores)
        p = np.ones(rows.shape)
        with self._unchanged_on_error():
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                p[start : start + batch_size] = self._update(batch)
        return p

    def alarms(
        self,
        scores: Any,
        *,
        p_values: Any = None,
        steps: Any = None,
        blocks: Sequence[Block] | None = None,
        features: Any = None,
        variable: str = "",
    ) -> list[Alarm]:
        """Return an alarm for every score that is too improbable.

        Parameters
        ----------
        scores : array of shape (n_steps,) or (n_steps, n_series), or labelled array
        p_values : array of the same shape, optional
            What `update` has returned; by default `p_values` of the scores.
        steps : int or array of shape (n_steps,), optional
            Their numbers in the stream; by default 0, 1, …
        blocks : sequence of Block, optional
            Which part of a field each series, or each score of a single one, is about.
        features : sequence of tuple of str, optional
            For each step what is most responsible for its scores.
        variable : str, default=""

        Returns
        -------
        list of Alarm
            By step. Their scores are larger the farther they are from normal.
        """
        p = np.asarray(self.p_values(scores) if p_values is None else p_values)
        values = _thresholding.sign_of(self) * _thresholding.in_memory(scores)
        where = _thresholding.Where(steps, blocks, features, variable)
        return _thresholding.alarms(values, p, self.false_alarm_rate, where)

    def _update(self, batch: np.ndarray) -> np.ndarray:
        if self._is_fitted():
            self._validate(batch, reset=False)
        law, known = self._usable_law, self._state.summary if self._is_fitted() else None
        p = _thresholding.next_p_values(self, batch, law, known)
        alarms = p <= self.false_alarm_rate
        self.partial_fit(batch if self.learn_alarms else np.where(alarms, np.nan, batch))
        n_alarms = int(np.count_nonzero(alarms & np.isfinite(batch)))
        if n_alarms and law is not None and not self.learn_alarms:
            limit, state = law.quantile(self.false_alarm_rate), self._state
            summary = scores.with_alarms(state.summary, n_alarms, limit, self.false_alarm_rate)
            self._state = State(summary, state.params, state.dtype, state.labels)
        return p

    @property
    def _known_law(self) -> ScoreLaw:
        model = self._model
        if not self.is_calibrated_:
            raise NotEnoughSamplesError(
                f"n_calibration={self.n_calibration} is more than the "
                f"{self._state.summary.n_scores} scores learnt so far; go on with partial_fit or "
                "lower n_calibration."
            )
        return model.at(self.level)

    @property
    def _usable_law(self) -> ScoreLaw | None:
        return self._known_law if self.is_calibrated_ else None

    def _validate(
        self, X: Any, *, reset: bool, finite: bool = False, named: bool = True
    ) -> Samples:
        if reset or self.n_features_in_ == 1:
            X = _thresholding.as_matrix(X)
        return super()._validate(X, reset=reset, finite=finite, named=named)

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        _thresholding.check_parameters(self)
        return _thresholding.learn(self, samples, sample_weight, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return scores.merge(summaries)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return scores.forget(summary, factor)

    def _finalize(self, state: State) -> ScoreLaws:
        return ScoreLaws(state.summary.extremes)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what kinds of data the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

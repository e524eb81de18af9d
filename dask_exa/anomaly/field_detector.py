"""From the steps of a stream to alarms: a monitor, a detector and a threshold in a row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, clone

from dask_exa._parameters import check_count
from dask_exa._state import NotEnoughSamplesError
from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.field_monitor import FieldMonitor, Observation
from dask_exa.anomaly.streaming_threshold import StreamingThreshold
from dask_exa.anomaly.subspace_detector import SubspaceDetector
from dask_exa.summaries import reservoir
from dask_exa.summaries.reservoir import Sampling

FALSE_ALARM_RATE = 1e-3
TWICE_THE_LIMIT = 2.0
"""Of a subspace detector, whose scores are relative to its limit."""
_N_RESPONSIBLE = 3
_MEMORY = 4096
_KEPT = Sampling(n_trees=1, capacity=256, seed=0, decay=1 / _MEMORY)


class Finding(NamedTuple):
    """What a detector makes of one step."""

    alarms: list[Alarm]
    score: float
    """Of the most abnormal block, the larger the more abnormal; NaN if not known yet."""
    limit: float
    """Score above which there is an alarm; NaN if not known yet, infinite where few scores cannot
    tell."""


class FieldDetector(BaseEstimator):
    """Alarms about the fields of a running simulation, at a chosen rate of false ones.

    Every step goes through three stages. A monitor makes a short vector of every block and checks
    what must hold; what fails is an alarm at once. A detector that learns from step to step says
    how unlike all earlier blocks each block is. A threshold that learns the law of these scores
    decides when the most abnormal block of a step is an alarm. Every step is judged by what was
    learnt of those before it.

    Parameters
    ----------
    monitor : FieldMonitor, optional
        Default: `FieldMonitor()`, with the checks that fit the variables.
    detector : estimator, optional
        With ``partial_fit`` and ``score_samples``, low ones abnormal; a feature without a value
        has its usual one. Default: a `SubspaceDetector`, which after few steps sees more than
        trees do, with a memory of some 4000 blocks.
    threshold : StreamingThreshold, optional
        Of one score a step, high ones abnormal. Default: `StreamingThreshold(side="high")` with
        the rate below.
    false_alarm_rate : float in (0, 1), default=0.001
        Of the default threshold: share of normal steps that raise an alarm by their score.
    least_score : float, optional
        Score without which there is no alarm, however rare it is. Default: 2 for the default
        detector, twice what 99 % of normal samples stay below; none for others.
    n_warmup : int, default=16
        Steps to learn before scores count.

    Attributes
    ----------
    monitor_, detector_, threshold_ : estimators
        As they have learnt so far.

    Examples
    --------
    >>> from dask_exa.anomaly import FieldDetector
    >>> from dask_exa.datasets import Injection, Tokam2D
    >>> fault = Injection(timestep=5, kind="nonphysical")
    >>> simulation = Tokam2D.sol(shape=(32, 32), rk4_steps_per_frame=2, inject=fault)
    >>> detector = FieldDetector()
    >>> for step in simulation.run(6):
    ...     for alarm in detector.observe(step).alarms:
    ...         print(alarm.step, alarm.variable)
    5 density
    """

    def __init__(
        self,
        monitor: Any = None,
        detector: Any = None,
        threshold: Any = None,
        *,
        false_alarm_rate: float = FALSE_ALARM_RATE,
        least_score: float | None = None,
        n_warmup: int = 16,
    ) -> None:
        self.monitor = monitor
        self.detector = detector
        self.threshold = threshold
        self.false_alarm_rate = false_alarm_rate
        self.least_score = least_score
        self.n_warmup = n_warmup

    def observe(self, step: xr.Dataset) -> Finding:
        """Judge a step by what was learnt so far, then learn it.

        Blocks that fail a check are not learnt.

        Parameters
        ----------
        step : xarray.Dataset
            Variables in memory or lazy, scalar coordinates ``time`` and ``timestep``.

        Returns
        -------
        Finding
        """
        if not hasattr(self, "monitor_"):
            self._start()
        seen = self.monitor_.observe(step)
        scores = self._scores(seen.features)
        found = self._judge(int(step.timestep), seen, scores)
        self._learn(seen)
        return found

    def _start(self) -> None:
        check_count("n_warmup", self.n_warmup)
        subspace = SubspaceDetector(forgetting_factor=1 - 1 / _MEMORY)
        tail = StreamingThreshold(side="high", false_alarm_rate=self.false_alarm_rate)
        given = (self.monitor, self.detector, self.threshold)
        defaults = (FieldMonitor(), subspace, tail)
        stages: list[Any] = [
            default if stage is None else clone(stage)
            for stage, default in zip(given, defaults, strict=True)
        ]
        self.monitor_, self.detector_, self.threshold_ = stages
        self.n_steps_ = 0
        self._kept: Any = None

    def _scores(self, features: np.ndarray) -> np.ndarray:
        """Return how abnormal every block is, the larger the more; NaN where that is not known."""
        scores = np.full(len(features), np.nan)
        known = np.isfinite(features).any(axis=1)
        if self.n_steps_ < self.n_warmup or not known.any():
            return scores
        try:
            scores[known] = -np.asarray(self.detector_.score_samples(self._filled(features[known])))
        except NotEnoughSamplesError:  # nothing has varied so far
            return scores
        return scores

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that steps are no matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

    def _filled(self, features: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(features), features, self._usual)

    def _judge(self, step: int, seen: Observation, scores: np.ndarray) -> Finding:
        alarms = list(seen.alarms)
        if not np.isfinite(scores).any():
            return Finding(alarms, np.nan, np.nan)
        worst = int(np.nanargmax(scores))
        score, limit, p = float(scores[worst]), np.nan, 1.0
        is_calibrated = self.threshold_.is_calibrated_
        if is_calibrated:
            limit = max(self.threshold_.threshold_, self._least_score)
        if not seen.alarms:
            p = float(self.threshold_.update([score])[0])
        elif is_calibrated:
            p = float(self.threshold_.p_values([score])[0])
        if p <= self.threshold_.false_alarm_rate and score >= self._least_score:
            alarms.append(self._alarm(step, seen, worst, score, p))
        return Finding(alarms, score, float(limit))

    @property
    def _least_score(self) -> float:
        if self.least_score is not None:
            return self.least_score
        return TWICE_THE_LIMIT if self.detector is None else -np.inf

    def _alarm(self, step: int, seen: Observation, worst: int, score: float, p: float) -> Alarm:
        """Return the alarm about a block, with the features that make it abnormal."""
        row, usual = seen.features[worst], self._usual
        names = [seen.feature_names[i] for i in self._responsible(row, usual)]
        first = seen.feature_names.index(names[0])
        variable = names[0].partition(":")[0]
        return Alarm(
            step=step,
            score=score,
            reason=f"{names[0]} is unusual: {row[first]:.3g} where {usual[first]:.3g} is usual; a "
            f"score of {score:.3g} has probability {p:.1g} among those before.",
            block=seen.blocks[worst] if len(seen.blocks) > 1 else None,
            p_value=p,
            features=tuple(names),
            variable=variable,
        )

    def _responsible(self, row: np.ndarray, usual: np.ndarray) -> list[int]:
        """Return the features whose usual value would make a block most normal, best first."""
        trials = np.where(np.eye(len(row), dtype=bool), usual, self._filled(row))
        gain = np.asarray(self.detector_.score_samples(trials))
        gain[~np.isfinite(row)] = -np.inf
        return np.argsort(-gain, kind="stable")[:_N_RESPONSIBLE].tolist()

    def _learn(self, seen: Observation) -> None:
        failed = {alarm.block for alarm in seen.alarms}
        sound = [None not in failed and block not in failed for block in seen.blocks]
        rows = seen.features[sound & np.isfinite(seen.features).any(axis=1)]
        if not len(rows):
            return
        if self._kept is None:
            self._kept = reservoir.summarize(rows, None, _KEPT)
        else:
            self._kept = reservoir.extend(self._kept, rows, None, _KEPT.at(self._kept.position))
        known = np.ma.masked_invalid(self._kept.rows)
        self._usual = np.ma.median(known, axis=0).filled(0.0)  # 0 for what never had a value
        self.detector_.partial_fit(self._filled(rows))
        self.n_steps_ += 1

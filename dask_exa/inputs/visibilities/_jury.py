"""Which channels and stations the array votes out of a dump, given what it knows of its noise."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dask_exa.inputs.visibilities.dumps import Dump
from dask_exa.inputs.visibilities.field_modes import Certainty, FieldModes, make_fit
from dask_exa.inputs.visibilities.stations import faulty_stations
from dask_exa.inputs.visibilities.votes import (
    CAP,
    Votes,
    middle,
    outlying_channels,
    quantile_of,
    standard_scores,
)
from dask_exa.kernels.visibilities import Baselines, Fit, Residuals, fit_visibilities

LEAST_USED = 0.25
"""Share of the channels without which there is no fit: the whole dump is then lost."""
_MOST_FAULTY = 0.2
"""Share of the stations; of more in the very first dump, interference is to blame."""
_MAX_PASSES = 6
_MAX_FITS = 64
"""Fits that are kept: interference comes back to the same channels."""
_LEAST_NOISE = 0.01
"""Relative to the visibilities: in simulations without noise, modes are not exact enough."""
_TOO_QUIET = 0.6
_PRIOR_DUMPS, _NOISE_DUMPS = 4, 60
"""Weight of the noise of the array in that of a baseline, and the memory of the latter."""


class Verdict(NamedTuple):
    """What the array has agreed on."""

    channels: np.ndarray
    """(n_channels,), bool: interference."""
    stations: np.ndarray
    """(n_stations,), bool: faulty, by the power that no sky explains."""
    scores: np.ndarray
    """(n_channels,): votes, in standard deviations of those without interference."""
    votes: Votes
    residuals: Residuals


class Jury:
    """Fits the field to dumps and lets their residuals vote.

    Parameters
    ----------
    field : FieldModes
    n_stations : int
    false_alarm_rate : float
        Per channel, and per station.

    Attributes
    ----------
    noise : array of shape (n_baselines,)
        Standard deviation of a visibility, both parts together.
    n_deviations : float
        What the rate means for a normal score.
    """

    def __init__(self, field: FieldModes, n_stations: int, false_alarm_rate: float) -> None:
        self.n_deviations = quantile_of(false_alarm_rate)
        self.noise = np.ones(len(field.group))
        self._field = field
        self._fits: dict[bytes, tuple[Fit, Certainty]] = {}
        self._all_used = np.ones(field.modes.shape[2], dtype=bool)
        self._channels, self._stations = ~self._all_used, np.zeros(n_stations, dtype=bool)
        self._center, self._spread = 0.0, 1.0
        self._is_first = True
        self._n_judged, self._least_noise = 0, 0.0
        self._n_learnt = np.zeros(len(self.noise), dtype=int)

    def fit_to(self, is_used: np.ndarray) -> tuple[Fit, Certainty]:
        """Return what `make_fit` does."""
        key = is_used.tobytes()
        if key not in self._fits:
            if len(self._fits) >= _MAX_FITS:
                self._fits.pop(next(iter(self._fits)))
            self._fits[key] = make_fit(self._field, is_used)
        return self._fits[key]

    def judge(self, dump: Dump, prior: np.ndarray, *, with_residual: bool = False) -> Verdict:
        """Fit, vote, and fit again without what is voted out, until nothing changes.

        What interferes spoils the fit of its neighbours, and a faulty station everything. When
        there is new interference, only the channels that are as expected are therefore fitted at
        first; and stations come before channels. Most dumps take one pass.

        Parameters
        ----------
        dump : Dump
        prior : array of shape (n_baselines, max_modes), complex64
            Coefficients that are expected; with `Fit.solver`, hardly anything depends on them.
        with_residual : bool, default=False
        """
        if not self._n_learnt.any():
            self._guess_noise(dump, prior)
        channels, stations = self._channels, self._stations
        is_doubted = bool(np.mean(channels) > 1 - LEAST_USED)
        if is_doubted:
            channels = self._doubt(dump, prior, stations)
        for _ in range(_MAX_PASSES):
            found = self._apply(dump, prior, ~channels, stations, with_residual=with_residual)
            if self._lower_noise(found):
                continue
            votes = Votes.of(found)
            scores = (standard_scores(votes.channels) - self._center) / self._spread
            voted = scores > self.n_deviations
            broken = faulty_stations(votes, self.n_deviations)
            if (voted == channels).all() and (broken == stations).all():
                break
            if not is_doubted and (voted & ~channels).any():
                is_doubted, channels = True, self._doubt(dump, prior, stations)
            elif (broken != stations).any() and not voted.all():
                stations = broken
            else:
                channels = voted
                if np.mean(voted) > 1 - LEAST_USED:
                    break
        if self._is_first and np.mean(stations) > _MOST_FAULTY:
            channels, stations = self._all_used, np.zeros_like(stations)
        self._is_first = False
        self._channels, self._stations = channels, stations
        return Verdict(channels, stations, scores, votes, found)

    def learn(self, verdict: Verdict, is_sound: np.ndarray) -> None:
        """Learn the noise of the baselines that are sound, and the usual scores of channels.

        The noise of a baseline at first is that of the array. Scores are usually a little too large
        or too spread where sources lie beyond the field.
        """
        total, weight = verdict.residuals.power[is_sound].T
        rate = 1 / (_PRIOR_DUMPS + np.minimum(self._n_learnt[is_sound], _NOISE_DUMPS))
        change = np.clip(total / weight, 0.5, 2.0)
        noise = self.noise[is_sound] * np.sqrt(1 + rate * (change - 1))
        self.noise[is_sound] = np.maximum(noise, self._least_noise)
        self._n_learnt[is_sound] += 1
        clean = verdict.scores[~verdict.channels] * self._spread + self._center
        if 2 * len(clean) < len(verdict.scores):
            return
        self._n_judged += 1
        center = middle(clean)
        spread = 1.4826 * middle(np.abs(clean - center))
        slow = 1 / min(self._n_judged, _NOISE_DUMPS)
        self._center += slow * (max(center, 0.0) - self._center)
        self._spread += slow * (max(spread, 1.0) - self._spread)

    def _guess_noise(self, dump: Dump, prior: np.ndarray) -> None:
        """Take the median noise of the array for that of every baseline, before any is known."""
        is_used = ~self._doubt(dump, prior, self._stations)
        found = self._apply(dump, prior, is_used, self._stations, noise=1.0)
        is_free = (self.fit_to(is_used)[0].weight[self._field.group] > 0.5) & is_used
        power = found.largest[is_free if is_free.any() else is_free | is_used]
        power = power[np.isfinite(power)]
        if not len(power):
            return
        seen = np.abs(dump.visibility[np.isfinite(dump.visibility)]) ** 2
        self._least_noise = _LEAST_NOISE * float(np.sqrt(np.median(seen)))
        noise = float(np.sqrt(np.median(power) / np.log(2)))
        self.noise[:] = max(noise, self._least_noise) or 1.0

    def _lower_noise(self, found: Residuals) -> bool:
        """Correct the noise at once where all of the array has less, and return whether it had to.

        The first dumps may be full of interference; later ones cannot be too quiet by chance.
        """
        total, weight = found.power[found.power[:, 1] > 0].T
        if not len(total) or (self.noise <= self._least_noise).all():
            return False
        level = middle(total / weight)
        if level > _TOO_QUIET:
            return False
        self.noise[:] = np.maximum(self.noise * np.sqrt(max(level, 1e-6)), self._least_noise)
        return level > 0

    def _doubt(self, dump: Dump, prior: np.ndarray, stations: np.ndarray) -> np.ndarray:
        """Return the channels that are not as expected, while most are.

        Baselines are normalised by what they have in most channels, whatever that is.
        """
        fit, _ = self.fit_to(self._all_used)
        ones = np.ones_like(fit.weight)
        plain = fit._replace(solver=np.zeros_like(fit.solver), precision=ones, weight=ones)
        found = self._apply(dump, prior, self._all_used, stations, plain, noise=1.0)
        is_here = np.isfinite(found.largest).any(axis=1)
        power = np.ones(len(is_here))
        power[is_here] = np.nanmedian(found.largest[is_here], axis=1) / np.log(2)
        noise = np.sqrt(np.where(power > 0, power, 1.0))
        found = self._apply(dump, prior, self._all_used, stations, plain, noise=noise)
        return outlying_channels(Votes.of(found), self.n_deviations)

    def _apply(
        self,
        dump: Dump,
        prior: np.ndarray,
        is_used: np.ndarray,
        stations: np.ndarray,
        fit: Fit | None = None,
        *,
        noise: Any = None,
        with_residual: bool = False,
    ) -> Residuals:
        noise = self.noise if noise is None else np.broadcast_to(noise, self.noise.shape)
        precision = (1 / noise**2).astype(np.float32)
        baselines = Baselines(dump.antenna1, dump.antenna2, precision, ~stations)
        fit = self.fit_to(is_used)[0] if fit is None else fit
        return fit_visibilities(
            dump.visibility, prior, fit, baselines, is_used, CAP, with_residual=with_residual
        )

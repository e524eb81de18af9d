"""Stations that have gone wrong, by what all baselines of a station have in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dask_exa.inputs.visibilities.votes import Votes, middle, vote_law

LEAST_EXCESS = 0.5
"""Change of the mean vote that makes a station faulty: less is a matter of its noise."""
LEAST_CHANGE = 1.0
"""Change of the mean square innovation that makes a station faulty."""
_LEAST_USUAL = 0.5
_LEAST_STATIONS = 4
"""Of which one may be told from the others."""
_LEAST_SHARE = 0.3
"""Of the innovations of the median station; interference can leave a station hardly any."""


def station_levels(votes: Votes) -> np.ndarray:
    """Return the mean vote of every station relative to the median station.

    1 is normal. More is power that no sky has, less a station without signal. NaN for a station
    without visibilities. Where there is much less noise than expected, only more counts.
    """
    total, weight = votes.stations
    mean = np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)
    known = mean[weight > 0]
    if not len(known):
        return mean
    usual = middle(known)
    return mean / usual if usual > _LEAST_USUAL else np.maximum(mean, 1.0)


def faulty_stations(
    votes: Votes, n_deviations: float, least_excess: float = LEAST_EXCESS
) -> np.ndarray:
    """Return the stations whose residuals are too strong or too weak.

    Parameters
    ----------
    votes : Votes
    n_deviations : float
        Of the mean vote of a station, by the law of noise.
    least_excess : float
        Relative change that is needed besides: large arrays see changes that do not matter.

    Returns
    -------
    array of shape (n_stations,), bool
        Never those without visibilities.
    """
    _, weight = votes.stations
    level = station_levels(votes)
    mean, variance = vote_law()
    # The residuals of one baseline have as many degrees of freedom as their weights add up to.
    deviation = np.sqrt(variance / np.where(weight > 0, weight, 1)) / mean
    least = np.maximum(least_excess, n_deviations * deviation)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(level), np.abs(level - 1) > least, False)


class Innovations(NamedTuple):
    """What is new on every baseline, as far as something was expected there."""

    antenna1: np.ndarray
    """(n_baselines,), int."""
    antenna2: np.ndarray
    power: np.ndarray
    """(n_baselines,): sum of squared innovations, each in units of its variance."""
    n_values: np.ndarray
    """(n_baselines,): how many there are."""

    def levels(self, faulty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean square innovation of every station, and how many it is made of.

        Parameters
        ----------
        faulty : array of shape (n_stations,), bool
            Baselines to these count for them alone.
        """
        total, count = np.zeros(len(faulty)), np.zeros(len(faulty))
        ends = (self.antenna1, self.antenna2)
        for own, other in (ends, ends[::-1]):
            is_sound = ~faulty[other]
            total += np.bincount(own, self.power * is_sound, minlength=len(faulty))
            count += np.bincount(own, self.n_values * is_sound, minlength=len(faulty))
        return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan), count


class Strays(NamedTuple):
    """Stations whose sky suddenly is another one."""

    found: np.ndarray
    """(n_stations,), bool."""
    doubtful: np.ndarray
    """(n_stations,), bool: not sure to be among them, nor to be in order."""
    levels: np.ndarray
    """(n_stations,): mean square innovations; NaN where nothing was expected."""


def stray_stations(
    innovations: Innovations,
    faulty: np.ndarray,
    n_deviations: float,
    before: np.ndarray | None = None,
) -> Strays:
    """Find the stations whose sky suddenly is another one, as by a lost phase or a dead receiver.

    A station with a wrong gain still sees something as smooth as a sky, which only history tells
    from the right one. A source that lights up changes all stations, a fault one of them: stations
    are compared with the median one, and found one after the other, the worst first.

    Parameters
    ----------
    innovations : Innovations
    faulty : array of shape (n_stations,), bool
        Those that are known to be.
    n_deviations : float
        Of the mean square innovation of a station, by the law of noise and by the spread over
        stations, whichever is larger.
    before : array of shape (n_stations,), bool, optional
        Those found in the dump before: a relative change of 0.5 keeps them, others need one of 1.

    Returns
    -------
    Strays
    """
    found, nobody = faulty.copy(), np.zeros_like(faulty)
    least_change = np.full(len(faulty), LEAST_CHANGE)
    if before is not None:
        least_change[before] = LEAST_EXCESS
    while True:
        levels, count = innovations.levels(found)
        known = np.isfinite(levels) & ~found & (count > _LEAST_SHARE * middle(count))
        if known.sum() < _LEAST_STATIONS:
            return Strays(found & ~faulty, nobody, levels)
        center = middle(levels[known])
        usual = max(1.0, center)
        spread = 1.4826 * middle(np.abs(levels[known] - center))
        deviation = np.maximum(usual / np.sqrt(np.maximum(count, 1)), spread)
        excess = np.where(known, levels - usual, 0.0)
        excess[excess <= n_deviations * deviation] = 0
        beyond = np.where(excess > least_change * usual, excess, 0)
        if not beyond.any():
            return Strays(found & ~faulty, excess > LEAST_EXCESS * usual, levels)
        found[np.argmax(beyond)] = True

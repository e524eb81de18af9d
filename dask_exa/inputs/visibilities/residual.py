"""Visibilities without the steady sky, which is estimated from the visibilities themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator

from dask_exa._parameters import check_count, check_positive
from dask_exa._visibilities import DIMS
from dask_exa.inputs.visibilities._jury import LEAST_USED, Jury
from dask_exa.inputs.visibilities._memory import Memory
from dask_exa.inputs.visibilities.dumps import Dump, dumps_of
from dask_exa.inputs.visibilities.field_modes import FieldModes, field_modes
from dask_exa.inputs.visibilities.stations import Innovations, station_levels, stray_stations

_SHARES = (1.0, 0.5, 0.25, 0.1)
"""Of the fringe rates of the field, which are tried to bridge gaps."""


class Screened(NamedTuple):
    """What one dump is made of: the steady sky, what else is in the field, and what cannot be."""

    interference: np.ndarray
    """(n_channels,), bool: channels with interference."""
    strong: np.ndarray
    """(n_baselines, n_channels), bool: single visibilities that no noise explains."""
    faulty: np.ndarray
    """(n_stations,), bool."""
    channel_scores: np.ndarray
    """(n_channels,): residual power, in standard deviations of the noise of the vote."""
    station_levels: np.ndarray
    """(n_stations,): mean vote over its baselines, relative to the median station."""
    innovation: np.ndarray
    """(n_baselines, max_modes), complex64: coefficients minus the expected ones; zero where
    nothing was expected yet."""
    innovation_levels: np.ndarray
    """(n_stations,): mean square innovation, 1 where it is as expected; NaN if not known yet."""
    residual: np.ndarray | None
    """(n_baselines, n_channels), complex64: what no sky in the field explains."""

    @property
    def flags(self) -> np.ndarray:
        """(n_baselines, n_channels), bool: visibilities with interference."""
        return self.strong | self.interference


class SkyResidual(BaseEstimator):
    """Takes the steady sky out of visibilities, and tells interference and faults by what is left.

    In every dump, the modes that a field of view allows are fitted to each baseline; what they
    leave is put to the vote of the array (see `votes`), and what the array finds to be interfered
    with is left out when the modes are fitted again. The coefficients are compared with what the
    last dumps let expect, which gives the innovations: what is new in the field. Every dump is
    read once, and memory does not grow.

    Parameters
    ----------
    field_radius : float, default=5.0
        Angle between the phase centre and the outermost source, in degrees; a little more than the
        first zero of the primary beam. A larger field leaves long baselines less to tell
        interference by; in a smaller one, sources outside are taken for interference.
    n_dumps : int, default=16
        Dumps that an expectation is made of.
    false_alarm_rate : float, default=1e-6
        Per channel and dump, and per station and dump.
    dump_seconds : float, optional
        Time between dumps, by default that between the first two.

    Attributes
    ----------
    noise_ : array of shape (n_baselines,)
        Standard deviation of the visibilities, both parts together.
    field_ : FieldModes
    n_dumps_seen_ : int

    Notes
    -----
    Baselines and channels can be spread over ranks, see `vote_in_blocks`. Interference that looks
    like a source in the field, such as a transmitter within the primary beam, is not told apart
    from the sky. The fit costs the cube of the number of channels once: pass up to some 1000 at a
    time.

    Examples
    --------
    >>> from dask_exa.datasets import Interferometer
    >>> from dask_exa.inputs.visibilities import SkyResidual
    >>> event = {"timestep": 2, "kind": "carrier", "channels": (7, 8)}
    >>> screen = SkyResidual()
    >>> for step in Interferometer(inject=event).run(3):
    ...     print(screen.observe(step)[0].interference.nonzero()[0])
    []
    [7]
    []
    """

    def __init__(
        self,
        field_radius: float = 5.0,
        n_dumps: int = 16,
        *,
        false_alarm_rate: float = 1e-6,
        dump_seconds: float | None = None,
    ) -> None:
        self.field_radius = field_radius
        self.n_dumps = n_dumps
        self.false_alarm_rate = false_alarm_rate
        self.dump_seconds = dump_seconds

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that visibilities are no matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

    def _start(self, dump: Dump) -> None:
        check_positive("field_radius", self.field_radius)
        check_count("n_dumps", self.n_dumps)
        if not 0 < self.false_alarm_rate < 0.5:
            raise ValueError(f"false_alarm_rate={self.false_alarm_rate!r} must be in (0, 0.5).")
        self.field_: FieldModes = field_modes(
            dump.uvw, dump.frequency, np.radians(self.field_radius)
        )
        self._memory = Memory(self.field_, self.n_dumps, self.dump_seconds)
        self._jury = Jury(self.field_, dump.n_stations, self.false_alarm_rate)
        self._was_faulty: np.ndarray = np.zeros(dump.n_stations, dtype=bool)
        self._n_astray: np.ndarray = np.zeros(dump.n_stations, dtype=int)
        self._is_scaled: bool = False
        self.n_dumps_seen_: int = 0

    def observe(self, step: xr.Dataset, *, with_residual: bool = False) -> list[Screened]:
        """Screen the dumps of a step, then learn the sky from them.

        Parameters
        ----------
        step : xarray.Dataset
            With ``visibility`` (…, baseline, frequency), ``uvw``, optional ``flag``, ``weight``.
        with_residual : bool, default=False
            Whether to return what is left of the visibilities, too.

        Returns
        -------
        list of Screened
            One per dump.
        """
        found = []
        for dump in dumps_of(step):
            found.append(self.screen(dump, with_residual=with_residual))
            self.learn(dump, found[-1])
        return found

    def subtract(self, step: xr.Dataset) -> xr.Dataset:
        """Return a step without the steady sky that was expected of it, then learn it.

        Parameters
        ----------
        step : xarray.Dataset
            As for `observe`.

        Returns
        -------
        xarray.Dataset
            The step with its ``visibility`` ([time,] baseline, frequency) replaced, and with
            ``flag`` for interference and faulty stations, and while nothing is expected yet.
            Autocorrelations are left out, and polarisations averaged.
        """
        visibilities, flags = [], []
        for dump in dumps_of(step):
            screened = self.screen(dump)
            visibility, weight = self.innovation(dump, screened)
            self.learn(dump, screened)
            visibilities.append(visibility)
            flags.append(weight == 0)
        kept = step.drop_vars(["visibility", "flag", "weight"], errors="ignore")
        kept = kept.isel(baseline=(step["antenna1"] != step["antenna2"]).values)
        dims = [dim for dim in DIMS if dim in step["visibility"].dims]
        left = np.array(visibilities) if "time" in dims else visibilities[0]
        flag = np.array(flags) if "time" in dims else flags[0]
        return kept.assign(visibility=(dims, left, step["visibility"].attrs), flag=(dims, flag))

    def screen(self, dump: Dump, *, with_residual: bool = False) -> Screened:
        """Judge a dump by what was learnt so far; `learn` is to follow.

        Parameters
        ----------
        dump : Dump
        with_residual : bool, default=False

        Returns
        -------
        Screened
        """
        if not hasattr(self, "field_"):
            self._start(dump)
        if dump.visibility.shape != (len(self.field_.group), self.field_.modes.shape[2]):
            raise ValueError(
                f"visibility has the shape {dump.visibility.shape} in step {dump.timestep}, where "
                f"{(len(self.field_.group), self.field_.modes.shape[2])} came first; screen other "
                "baselines and channels with another SkyResidual."
            )
        self._expected = self._memory.expect(dump.time)
        prior = self._expected.coefficients
        self._verdict = verdict = self._jury.judge(dump, prior, with_residual=with_residual)
        kernel = verdict.residuals
        innovation = np.where(self._expected.is_known[:, None], kernel.coefficients - prior, 0)
        strays, levels = self._find_strays(dump, innovation)
        faulty = verdict.stations | strays
        strong = kernel.largest > -np.log(self.false_alarm_rate / kernel.largest.size)
        strong[_of_stations(faulty, dump)] = False
        return Screened(
            verdict.channels,
            strong,
            faulty,
            verdict.scores,
            station_levels(verdict.votes),
            innovation,
            levels,
            kernel.residual,
        )

    def without(self, dump: Dump, screened: Screened, other: np.ndarray) -> Screened:
        """Judge the stations of the last dump again, without what is not the steady sky.

        Parameters
        ----------
        dump : Dump
        screened : Screened
        other : array of shape (n_baselines, max_modes)
            Coefficients of sources that have been found.
        """
        left = np.where(self._expected.is_known[:, None], screened.innovation - other, 0)
        strays, levels = self._find_strays(dump, left)
        faulty = self._verdict.stations | strays
        return screened._replace(faulty=faulty, innovation_levels=levels)

    def learn(self, dump: Dump, screened: Screened, other: np.ndarray | None = None) -> None:
        """Learn the steady sky and the noise from what a dump has that is neither.

        Parameters
        ----------
        dump : Dump
            The last one that was screened.
        screened : Screened
        other : array of shape (n_baselines, max_modes), optional
            Coefficients of what is not the steady sky, such as of a transient source.
        """
        kernel = self._verdict.residuals
        # A station that was faulty must be in order twice: a random gain is right now and then.
        doubtful = screened.faulty | self._was_faulty | self._doubtful
        is_sound = ~_of_stations(doubtful, dump)
        is_sound &= kernel.power[:, 1] > 0
        if np.mean(screened.interference) > 1 - LEAST_USED:
            is_sound[:] = False
        coefficients = kernel.coefficients if other is None else kernel.coefficients - other
        is_known = is_sound & self._is_determined(screened)
        if is_sound.any():
            self._jury.learn(self._verdict, is_sound)
        if not self._is_scaled and is_known.any():
            self._memory.scale_to(self._sky_variance(coefficients, is_known))
            self._is_scaled = True
        self._memory.learn(coefficients, is_known)
        self._give_up_on(dump, screened)
        self._was_faulty = screened.faulty
        self.n_dumps_seen_ += 1

    def innovation(self, dump: Dump, screened: Screened) -> tuple[np.ndarray, np.ndarray]:
        """Return what the last dump has beyond the steady sky, and how much each part is worth.

        Returns
        -------
        visibility : array of shape (n_baselines, n_channels), complex64
            Without the steady sky that was expected; what else is in the field stays.
        weight : array of shape (n_baselines, n_channels), float32
            One over the variance of noise and expectation; 0 for interference, for faulty stations,
            for what is missing, and where nothing was expected yet.
        """
        expected, field = self._expected, self.field_
        visibility = dump.visibility - self.expand(expected.coefficients)
        spread = np.einsum("pgk,gkc->pgc", expected.variance, field.modes**2)
        variance = (1 + spread)[expected.pattern, field.group] * self.noise_[:, None] ** 2
        weight = (1 / variance).astype(np.float32)
        weight[:, screened.interference] = 0
        weight[screened.strong | ~np.isfinite(visibility)] = 0
        weight[_of_stations(screened.faulty, dump) | ~expected.is_known] = 0
        visibility[weight == 0] = 0
        return visibility, weight

    def expand(self, coefficients: np.ndarray) -> np.ndarray:
        """Return visibilities of coefficients, shape (n_baselines, n_channels), complex64."""
        shape = (len(coefficients), self.field_.modes.shape[2])
        visibility = np.empty(shape, dtype=np.complex64)
        for number, modes in enumerate(self.field_.modes.astype(np.float32)):
            members = self.field_.group == number
            visibility[members] = coefficients[members] @ modes
        return visibility

    def coefficients_of(self, visibility: np.ndarray) -> np.ndarray:
        """Return the coefficients of visibilities of a sky in the field; inverse of `expand`."""
        shape = (len(visibility), self.field_.modes.shape[1])
        coefficients = np.empty(shape, dtype=np.complex64)
        for number, modes in enumerate(self.field_.modes.astype(np.float32)):
            members = self.field_.group == number
            coefficients[members] = visibility[members] @ modes.T
        return coefficients

    @property
    def noise_(self) -> np.ndarray:
        """Standard deviation of the visibilities of every baseline, both parts together."""
        return self._jury.noise

    @property
    def expected_amplitude(self) -> float:
        """Root mean square of the visibilities of the steady sky, as expected of the last dump."""
        power = np.abs(self._expected.coefficients[self._expected.is_known]) ** 2
        n_channels = self.field_.modes.shape[2]
        return float(np.sqrt(power.sum() / max(len(power), 1) / n_channels))

    def _is_determined(self, screened: Screened) -> np.ndarray:
        return self._jury.fit_to(~screened.interference)[1].is_determined[self.field_.group]

    def _find_strays(self, dump: Dump, innovation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which stations are astray, and the levels of their innovations."""
        expected, verdict = self._expected, self._verdict
        group = self.field_.group
        _, certainty = self._jury.fit_to(~verdict.channels)
        is_known = expected.is_known & certainty.is_determined[group]
        variance = certainty.noise + np.einsum("gkl,pgl->pgk", certainty.gain**2, expected.variance)
        is_seen = np.einsum("gkk->gk", certainty.gain) > 0.5
        inverse = np.where(is_seen, 1 / np.where(is_seen, variance, 1), 0.0)

        def power_of(innovation: np.ndarray, pattern: np.ndarray | int) -> np.ndarray:
            squares = np.abs(innovation) ** 2 * inverse[pattern, group]
            return np.sum(squares, axis=1) / self.noise_**2 * is_known

        power = power_of(innovation, expected.pattern)
        is_usual = expected.pattern == expected.usual
        reference = is_usual & is_known & ~_of_stations(verdict.stations, dump)
        for pattern in np.unique(expected.pattern[~is_usual & is_known]):
            members = np.flatnonzero(expected.pattern == pattern)
            measure = functools.partial(power_of, pattern=expected.usual)
            power[members] = self._power_after_gap(members, reference, power, measure, innovation)
        count = np.sum(inverse > 0, axis=2)[expected.pattern, group] * is_known
        innovations = Innovations(dump.antenna1, dump.antenna2, power, count)
        strays = stray_stations(
            innovations, verdict.stations, self._jury.n_deviations, self._was_faulty
        )
        self._doubtful = strays.doubtful
        return strays.found, strays.levels

    def _power_after_gap(
        self,
        members: np.ndarray,
        reference: np.ndarray,
        power: np.ndarray,
        power_of: Callable[[np.ndarray], np.ndarray],
        innovation: np.ndarray,
    ) -> np.ndarray:
        """Return the power of innovations on baselines that miss some of the last dumps.

        What such gaps do to expectations is seen on the baselines that have none, were they to be
        expected from the same dumps: how much power they add, and which fringe rates add least.
        Where a gap is in all baselines of a group, the power is relative to the variance expected.
        """
        group, n_groups = self.field_.group, len(self.field_.n_modes)
        usual = np.bincount(group[reference], power[reference], n_groups)
        least, found = np.inf, power[members]
        for share in _SHARES:
            prior = self._memory.expect_as(int(members[0]), share)
            as_if = power_of(innovation + self._expected.coefficients - prior)
            sums = np.bincount(group[reference], as_if[reference], n_groups)
            if sums.sum() < least:
                least = sums.sum()
                ratio = (usual / np.where(sums > 0, sums, 1))[group[members]]
                found = np.where(sums[group[members]] > 0, as_if[members] * ratio, power[members])
        return found

    def _sky_variance(self, coefficients: np.ndarray, is_known: np.ndarray) -> float:
        """Return the variance of the sky on the median baseline, relative to the noise."""
        power = np.sum(np.abs(coefficients[is_known]) ** 2, axis=1) / self.noise_[is_known] ** 2
        excess = power - self.field_.n_modes[self.field_.group[is_known]]
        return float(np.median(excess)) / self.field_.modes.shape[2]

    def _give_up_on(self, dump: Dump, screened: Screened) -> None:
        """Forget the sky of stations that have been astray for so long that it may be the sky."""
        astray = screened.faulty & ~self._verdict.stations
        self._n_astray = np.where(astray, self._n_astray + 1, 0)
        lost = self._n_astray >= self.n_dumps
        if lost.any():
            self._memory.forget(_of_stations(lost, dump))


def _of_stations(stations: np.ndarray, dump: Dump) -> np.ndarray:
    """Return which baselines have one of some stations."""
    return stations[dump.antenna1] | stations[dump.antenna2]

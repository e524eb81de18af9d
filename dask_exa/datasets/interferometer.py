"""Visibilities of a radio interferometer, one dump of the correlator at a time."""

import numpy as np
from scipy.constants import speed_of_light

from dask_exa._parameters import check_choice, check_count, check_positive
from dask_exa._visibilities import baseline_coordinates, dump
from dask_exa.datasets._earth_rotation import sky_axes, to_equatorial
from dask_exa.datasets._interferometer_injection import (
    FAULTS,
    INTERFERENCE,
    InterferometerInjection,
)
from dask_exa.datasets._simulation import ON_NAN, Simulation
from dask_exa.datasets._sky import Sky
from dask_exa.datasets._stations import beams, check_stations, draw_stations

_SECONDS_PER_DAY = 86400.0


class Interferometer(Simulation):
    """Simulation of the visibilities of point sources, with what disturbs them.

    The sky turns over the stations, whose signals are delayed so that one point of it, the phase
    centre, stands still. For every pair of stations p < q and every channel

        V_pq = Σ_s S_s(f) g_ps g_qs* exp(2πi (u l + v m + w (n - 1)) f / c) + noise,

    with the baseline (u, v, w) = r_p - r_q and the direction cosines (l, m, n) of source s.

    Parameters
    ----------
    n_stations : int, default=16
        Stations of a random layout that is dense in the middle, within 1.5 km.
    n_channels : int, default=32
    frequency : float, default=140e6
        Of the first channel, in Hz.
    channel_width : float, default=100e3
        From one channel to the next, in Hz.
    interval : float, default=8
        From one dump to the next, in s. Smearing within a dump or a channel is left out.
    sky : Sky or int, default=8
        Sources, or how many to draw within 0.02 radians of the phase centre.
    noise : float, default=1
        Standard deviation of each part of a visibility, in Jy.
    phase_centre : tuple of float, default=(20.0, -30.0)
        Right ascension and declination in degrees.
    start : float, default=60939.75
        Modified Julian Date at which the first dump begins.
    longitude, latitude : float
        Of the array in degrees. Default: Inyarrimanha Ilgari Bundara, Western Australia.
    stations : array_like of shape (n_stations, 3), optional
        East, north and up in m, in place of the random layout.
    elements : array_like of shape (n_elements, 3) or (n_stations, n_elements, 3), optional
        Antennas of a station, from its centre. They see the sky through the beam of such phased
        half-wave dipoles. Default: stations see the whole sky alike.
    inject : InterferometerInjection, dict, or sequence of them, optional
        Interference, faulty stations and transients.
    seed : int, default=0
        Of layout, sky, noise and gains. The same seed gives the same visibilities.
    on_nan : {"raise", "yield"}, default="raise"
        What to do with visibilities that are not finite, as fluxes beyond float32 are.

    Attributes
    ----------
    frequency : ndarray of shape (n_channels,)
    sky : Sky
    stations : ndarray of shape (n_stations, 3)
    timestep : int
        Number of dumps so far.

    Notes
    -----
    The truth about a dump is in its coordinates: ``interference``, bool (baseline, frequency);
    ``faulty``, bool (baseline), for baselines of a dead or bad station; ``transient``, bool (); and
    in its attribute ``injected``, the kinds that are on, joined by commas.

    References
    ----------
    Thompson, Moran, Swenson, "Interferometry and synthesis in radio astronomy", 3rd ed., 2017.

    Examples
    --------
    >>> from dask_exa.datasets import Interferometer
    >>> event = {"timestep": 2, "kind": "carrier", "channels": (3, 4)}
    >>> array = Interferometer(n_stations=6, n_channels=8, inject=event)
    >>> for step in array.run(2):
    ...     print(step.visibility.shape, step.attrs["injected"], int(step.interference.sum()))
    (15, 8)  0
    (15, 8) carrier 15
    """

    def __init__(
        self,
        n_stations=16,
        n_channels=32,
        *,
        frequency=140e6,
        channel_width=100e3,
        interval=8.0,
        sky=8,
        noise=1.0,
        phase_centre=(20.0, -30.0),
        start=60939.75,
        longitude=116.7644,
        latitude=-26.8247,
        stations=None,
        elements=None,
        inject=None,
        seed=0,
        on_nan="raise",
    ):
        check_count("n_stations", n_stations, least=2)
        check_count("n_channels", n_channels)
        check_choice("on_nan", on_nan, ON_NAN)
        positive = {"frequency": frequency, "channel_width": channel_width, "interval": interval}
        for name, value in positive.items():
            check_positive(name, value)
        check_positive("noise", noise, zero=True)
        if stations is None:
            stations = draw_stations(n_stations, seed)
        self.stations, self._elements = check_stations(stations, elements)
        self.frequency = frequency + channel_width * np.arange(n_channels)
        self.phase_centre = tuple(np.radians(phase_centre).tolist())
        self._place = tuple(np.radians([longitude, latitude]).tolist())
        self.interval, self.noise, self.start = float(interval), float(noise), float(start)
        self.sky = sky if isinstance(sky, Sky) else Sky.draw(sky, self.phase_centre, seed=seed)
        self.seed, self.on_nan, self.timestep = seed, on_nan, 0
        self._positions = to_equatorial(self.stations, *self._place)
        self._antennas = np.triu_indices(len(self.stations), 1)
        self._events = [event.drawn(len(self.stations), n_channels) for event in _as_events(inject)]

    @property
    def time(self):
        """float: middle of the last dump, in seconds of the Modified Julian Date."""
        return self.start * _SECONDS_PER_DAY + (self.timestep - 0.5) * self.interval

    @property
    def fields(self):
        """xarray.Dataset: the last dump; before the first one, a dump without any event."""
        return self._dump()

    def advance(self):
        """Go on by one dump.

        Returns
        -------
        xarray.Dataset
            ``visibility`` in Jy, complex64 (baseline, frequency), with the coordinates ``uvw``
            (baseline, 3) in m, ``antenna1`` and ``antenna2`` (baseline), ``frequency`` in Hz,
            ``time``, ``timestep`` and the truth.

        Raises
        ------
        FloatingPointError
            When visibilities are not finite and ``on_nan="raise"``.
        """
        self.timestep += 1
        found = self._dump()
        if self.on_nan == "raise" and not np.isfinite(found.visibility.values).all():
            self.timestep -= 1
            raise FloatingPointError(
                f"visibilities of dump {self.timestep + 1} are not finite; lower the fluxes or the "
                "noise, or pass on_nan='yield'."
            )
        return found

    @np.errstate(over="ignore", invalid="ignore")  # told by on_nan instead
    def _dump(self):
        events = [event for event in self._events if event.is_on(self.timestep)]
        axes = sky_axes(self.phase_centre, self.time / _SECONDS_PER_DAY)
        uvw = self._positions @ axes.T
        antenna1, antenna2 = self._antennas
        values = self._receive(uvw, axes, events)
        _break_stations(values, events, self.timestep)
        visibility = values[:, antenna1, antenna2].T
        random = np.random.default_rng([self.seed, 2, self.timestep])  # the same with any event
        visibility = visibility + self.noise * (
            random.standard_normal(visibility.shape) + 1j * random.standard_normal(visibility.shape)
        )
        return dump(
            {
                "visibility": visibility.astype(np.complex64),
                "uvw": uvw[antenna1] - uvw[antenna2],
            },
            self.frequency,
            {
                **baseline_coordinates(antenna1, antenna2, self.phase_centre),
                **self._truth(events),
            },
            time=self.time,
            timestep=self.timestep,
            attrs={"injected": ",".join(event.kind for event in events)},
        )

    def _receive(self, uvw, axes, events):
        """Return what all pairs of stations receive, shape (n_channels, n_stations, n_stations)."""
        directions, fluxes = self.sky.directions(self.phase_centre), self.sky.fluxes(self.frequency)
        for event in events:
            if event.kind == "transient":
                l, m = event.direction  # noqa: E741 (its name everywhere)
                directions = np.vstack([directions, [l, m, np.sqrt(1 - l * l - m * m)]])
                fluxes = np.vstack([fluxes, self._spectrum(event)])
        gains = self._gains(directions, axes)
        values = _correlate(uvw, directions, fluxes, gains, self.frequency)
        for event in events:
            if event.kind in INTERFERENCE:
                towards = event.local_direction(self.timestep)
                direction = axes @ to_equatorial(towards, *self._place)
                random = np.random.default_rng([event.seed, event.timestep, self.seed])
                gain = np.exp(0.3 * random.standard_normal(len(uvw)))[:, None]
                spectrum = self._spectrum(event)[None]
                values += _correlate(uvw, direction[None], spectrum, gain, self.frequency)
        return values

    def _gains(self, directions, axes):
        """Return how the stations see sources, (n_channels or 1, n_stations or 1, n_sources)."""
        local = to_equatorial(np.eye(3), *self._place) @ axes.T @ directions.T  # east, north, up
        is_up = local[2] > 0
        if self._elements is None:
            return is_up[None, None].astype(float)
        pointing = to_equatorial(np.eye(3), *self._place) @ axes[2]
        found = beams(self._elements, local.T, pointing, self.frequency, speed_of_light)
        return found * is_up

    def _spectrum(self, event):
        spectrum = np.zeros(len(self.frequency))
        spectrum[slice(*event.channels)] = event.amplitude
        return spectrum

    def _truth(self, events):
        antenna1, antenna2 = self._antennas
        dead = [event.station for event in events if event.kind == "dead"]
        faulty = [event.station for event in events if event.kind in FAULTS]
        disturbed = [self._spectrum(event) > 0 for event in events if event.kind in INTERFERENCE]
        receives = ~(np.isin(antenna1, dead) | np.isin(antenna2, dead))
        channels = np.any(disturbed, axis=0) if disturbed else np.zeros(len(self.frequency), bool)
        return {
            "interference": (("baseline", "frequency"), receives[:, None] & channels),
            "faulty": ("baseline", np.isin(antenna1, faulty) | np.isin(antenna2, faulty)),
            "transient": ((), any(event.kind == "transient" for event in events)),
        }


def _correlate(uvw, directions, fluxes, gains, frequency):
    """Return Σ_s S_s a_ps a_qs*, shape (n_channels, n_stations, n_stations).

    Phases are those of stations, not of baselines: a product of matrices makes all pairs.
    """
    delays = uvw @ (directions - [0.0, 0.0, 1.0]).T / speed_of_light
    signals = np.exp(2j * np.pi * frequency[:, None, None] * delays) * gains
    return (signals * fluxes.T[:, None, :]) @ np.swapaxes(signals.conj(), 1, 2)


def _break_stations(values, events, timestep):
    """Multiply what faulty stations receive by gains that they should not have."""
    for event in events:
        if event.kind in FAULTS:
            gain = 0.0
            if event.kind == "bad":
                random = np.random.default_rng([event.seed, event.station, timestep])
                gain = np.exp(0.5 * random.standard_normal())
                gain = gain * np.exp(1j * event.amplitude * random.standard_normal())
            values[:, event.station, :] *= gain
            values[:, :, event.station] *= np.conj(gain)


def _as_events(inject):
    if inject is None:
        return []
    rows = [inject] if isinstance(inject, (dict, InterferometerInjection)) else inject
    return [row if not isinstance(row, dict) else InterferometerInjection(**row) for row in rows]

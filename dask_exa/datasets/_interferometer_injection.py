"""What may go wrong, or light up, in the visibilities of an `Interferometer`."""

from dataclasses import dataclass

import numpy as np

from dask_exa._parameters import check_choice, check_count, check_positive

INTERFERENCE = ("carrier", "burst", "satellite")
FAULTS = ("dead", "bad")
KINDS = (*INTERFERENCE, *FAULTS, "transient")


@dataclass(frozen=True)
class InterferometerInjection:
    """One event in the visibilities, with a beginning and an end.

    Parameters
    ----------
    timestep : int
        Number of its first dump, 1 or more.
    kind : {"carrier", "burst", "satellite", "dead", "bad", "transient"}
        "carrier": a transmitter on the horizon that fills few channels; "burst": one that fills
        all of them; "satellite": one that crosses the sky and fills some. All stations receive
        them, each with a gain of its own, and their fringes turn as the sky is tracked. "dead": a
        station that receives nothing but noise; "bad": one whose gain is another in every dump.
        "transient": a source on the sky.
    n_timesteps : int, default=1
        Dumps that it lasts.
    amplitude : float, default=10
        Flux in Jy; of a bad station: standard deviation of its phase in radians.
    channels : tuple of int, optional
        First channel and the one after the last. Default: one drawn for a carrier, a quarter for a
        satellite, all for the others.
    station : int, optional
        That is dead or bad. Default: drawn.
    direction : tuple of float, optional
        Of a transient: l and m, the direction cosines from the phase centre; default: drawn within
        0.015. Of a transmitter: azimuth from north through east, and elevation, in radians;
        default: drawn, on the horizon or, for a satellite, above 0.3.
    velocity : tuple of float, default=(0.01, 0.002)
        Of a satellite: change of azimuth and elevation in a dump, in radians.
    seed : int, default=0
        Of what is drawn.

    Examples
    --------
    >>> from dask_exa.datasets import InterferometerInjection
    >>> event = InterferometerInjection(timestep=5, kind="burst", n_timesteps=2)
    >>> [event.is_on(timestep) for timestep in (4, 5, 6, 7)]
    [False, True, True, False]
    """

    timestep: int
    kind: str
    n_timesteps: int = 1
    amplitude: float = 10.0
    channels: tuple | None = None
    station: int | None = None
    direction: tuple | None = None
    velocity: tuple = (0.01, 0.002)
    seed: int = 0

    def __post_init__(self):
        check_choice("kind", self.kind, KINDS)
        check_count("timestep", self.timestep)
        check_count("n_timesteps", self.n_timesteps)
        check_positive("amplitude", self.amplitude)

    def is_on(self, timestep):
        """Whether the event lasts during a dump."""
        return self.timestep <= timestep < self.timestep + self.n_timesteps

    def drawn(self, n_stations, n_channels):
        """Return the event with everything that it leaves open drawn from its seed.

        Raises
        ------
        ValueError
            When it names a station or channels that the array does not have.
        """
        random = np.random.default_rng([self.seed, self.timestep, KINDS.index(self.kind)])
        widths = {"carrier": 1, "satellite": max(1, n_channels // 4)}
        width = widths.get(self.kind, n_channels)
        start = int(random.integers(n_channels - width + 1))
        channels = (start, start + width) if self.channels is None else tuple(self.channels)
        if len(channels) != 2 or not 0 <= channels[0] < channels[1] <= n_channels:
            raise ValueError(
                f"channels={self.channels} must be (start, stop) among the {n_channels} channels."
            )
        station = int(random.integers(n_stations)) if self.station is None else self.station
        if not 0 <= station < n_stations:
            raise ValueError(f"station={self.station} is not one of 0 to {n_stations - 1}.")
        direction = self.direction
        if direction is None and self.kind == "transient":
            direction = tuple(random.uniform(-0.015, 0.015, 2).tolist())
        elif direction is None:
            elevation = random.uniform(0.3, 1.2) if self.kind == "satellite" else 0.0
            direction = (float(random.uniform(0, 2 * np.pi)), float(elevation))
        values = {"channels": channels, "station": station, "direction": direction}
        return InterferometerInjection(**{**self.__dict__, **values})

    def local_direction(self, timestep):
        """Return where a transmitter stands: east, north and up of a unit vector."""
        if self.direction is None:
            raise ValueError("direction=None is still open; call drawn() first.")
        elapsed = timestep - self.timestep if self.kind == "satellite" else 0
        azimuth, elevation = np.add(self.direction, np.multiply(elapsed, self.velocity))
        return np.array(
            [
                np.cos(elevation) * np.sin(azimuth),
                np.cos(elevation) * np.cos(azimuth),
                np.sin(elevation),
            ]
        )

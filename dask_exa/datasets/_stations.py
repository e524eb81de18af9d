"""The stations of an interferometer: where they stand and how they see the sky."""

import numpy as np


def draw_stations(n_stations, seed=0, *, inner=30.0, outer=1500.0):
    """Return a layout that is dense in the middle: east, north and up, shape (n, 3), in m."""
    random = np.random.default_rng([seed, 0])
    radius = inner * (outer / inner) ** random.random(n_stations)
    angle = 2 * np.pi * random.random(n_stations)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle), np.zeros(n_stations)], axis=1)


def beams(elements, directions, pointing, frequency, speed_of_light):
    """Return the beams of stations of half-wave dipoles, which are 1 where they point.

    Parameters
    ----------
    elements : ndarray of shape (n_stations, n_elements, 3)
        East, north and up of the antennas of each station, in m.
    directions : ndarray of shape (n_sources, 3)
        Unit vectors, east, north and up.
    pointing : ndarray of shape (3,)
    frequency : ndarray of shape (n_channels,)
    speed_of_light : float

    Returns
    -------
    ndarray of complex128, shape (n_channels, n_stations, n_sources)
        Sum of the antennas, steered to the pointing, times the root of the mean power of dipoles
        that lie east-west and north-south.
    """
    delays = elements @ (directions - pointing).T / speed_of_light
    phases = 2j * np.pi * frequency[:, None, None, None] * delays
    dipoles = np.sqrt(_dipole_power(directions) / _dipole_power(pointing[None]))
    return np.exp(phases).mean(axis=2) * dipoles


def _dipole_power(directions):
    """Return the mean power pattern of both half-wave dipoles, up to a factor."""
    along = directions[:, :2]
    return (np.cos(np.pi / 2 * along) ** 2 / np.maximum(1 - along**2, 1e-12)).mean(axis=1)


def check_stations(stations, elements):
    """Return positions and elements as arrays, see `Interferometer`.

    Raises
    ------
    ValueError
        When they have other shapes, or values that are not finite.
    """
    stations = np.array(stations, dtype=np.float64)
    if stations.ndim != 2 or stations.shape[1] != 3 or len(stations) < 2:
        raise ValueError(
            f"stations has the shape {stations.shape}; pass (n_stations, 3) with east, north and "
            "up of two stations or more."
        )
    if not np.isfinite(stations).all():
        raise ValueError("stations has values that are not finite.")
    if elements is not None:
        elements = np.array(elements, dtype=np.float64)
        elements = np.broadcast_to(elements, (len(stations), *elements.shape[-2:]))
        if elements.shape[-1] != 3 or not np.isfinite(elements).all():
            raise ValueError(
                f"elements has the shape {elements.shape}; pass finite (n_elements, 3) or "
                "(n_stations, n_elements, 3)."
            )
    return stations, elements

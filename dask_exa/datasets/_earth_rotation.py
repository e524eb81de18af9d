"""Directions on the sky and baselines of an array, as the Earth turns.

Angles are in radians, times in days of the Modified Julian Date (UTC, taken for UT1).
"""

import numpy as np


def sidereal_time(days):
    """Return Greenwich apparent sidereal time, by the short formula of the Naval Observatory.

    Parameters
    ----------
    days : float or ndarray
        Modified Julian Date.

    Returns
    -------
    float or ndarray
        Right to about 0.1 s of time for a century around 2000.

    References
    ----------
    "Approximate sidereal time", U.S. Naval Observatory, Astronomical Applications Department.

    Examples
    --------
    At noon on 1 January 2000 Greenwich saw 18.697 h on its meridian:

    >>> round(float(sidereal_time(51544.5)) * 12 / np.pi, 3)
    18.697
    """
    since = np.asarray(days, dtype=np.float64) - 51544.5
    node = np.radians(125.04 - 0.052954 * since)
    sun = np.radians(280.47 + 0.98565 * since)
    obliquity = np.radians(23.4393 - 4e-7 * since)
    nutation = -0.000319 * np.sin(node) - 0.000024 * np.sin(2 * sun)
    hours = 18.697374558 + 24.06570982441908 * since + nutation * np.cos(obliquity)
    return np.mod(hours, 24) * np.pi / 12


def to_equatorial(positions, longitude, latitude):
    """Turn east, north, up into Earth-centred axes: to (0, 0), to 90° east, to the pole.

    Parameters
    ----------
    positions : ndarray of shape (..., 3)
        In m, from the reference point of the array.
    longitude, latitude : float

    Returns
    -------
    ndarray of shape (..., 3)
    """
    return positions @ _local_axes(longitude, latitude)


def to_local(positions, longitude, latitude):
    """Turn Earth-centred axes into east, north, up: the inverse of `to_equatorial`."""
    return positions @ _local_axes(longitude, latitude).T


def _local_axes(longitude, latitude):
    """Return the unit vectors east, north and up as rows, in Earth-centred axes."""
    east = [-np.sin(longitude), np.cos(longitude), 0.0]
    cos_lat, sin_lat = np.cos(latitude), np.sin(latitude)
    north = [-sin_lat * np.cos(longitude), -sin_lat * np.sin(longitude), cos_lat]
    up = [cos_lat * np.cos(longitude), cos_lat * np.sin(longitude), sin_lat]
    return np.array([east, north, up])


def sky_axes(phase_centre, days):
    """Return the directions of u, v and w in Earth-centred axes.

    Parameters
    ----------
    phase_centre : tuple of float
        Right ascension and declination, where w points.
    days : float

    Returns
    -------
    ndarray of shape (3, 3)
        Unit vectors as rows: east and north on the sky, and to the phase centre.

    References
    ----------
    Thompson, Moran, Swenson, "Interferometry and synthesis in radio astronomy", 3rd ed., eq. 4.1.
    """
    right_ascension, declination = phase_centre
    hour = sidereal_time(days) - right_ascension
    cos_dec, sin_dec = np.cos(declination), np.sin(declination)
    return np.array(
        [
            [np.sin(hour), np.cos(hour), 0.0],
            [-sin_dec * np.cos(hour), sin_dec * np.sin(hour), cos_dec],
            [cos_dec * np.cos(hour), -cos_dec * np.sin(hour), sin_dec],
        ]
    )


def direction_cosines(right_ascension, declination, phase_centre):
    """Return l, m, n of directions on the sky about a phase centre.

    Parameters
    ----------
    right_ascension, declination : ndarray of shape (n,)
    phase_centre : tuple of float

    Returns
    -------
    ndarray of shape (n, 3)
        Towards east, north and the phase centre.

    Examples
    --------
    >>> centre = (0.35, -0.5)
    >>> direction_cosines(*centre, centre).round(12).tolist()
    [0.0, 0.0, 1.0]
    """
    middle, centre = phase_centre
    across = np.asarray(right_ascension) - middle
    sin_dec, cos_dec = np.sin(declination), np.cos(declination)
    return np.stack(
        [
            cos_dec * np.sin(across),
            sin_dec * np.cos(centre) - cos_dec * np.sin(centre) * np.cos(across),
            sin_dec * np.sin(centre) + cos_dec * np.cos(centre) * np.cos(across),
        ],
        axis=-1,
    )

"""A sky of point sources."""

from typing import NamedTuple

import numpy as np

from dask_exa.datasets._earth_rotation import direction_cosines

_REFERENCE_FREQUENCY = 140e6


class Sky(NamedTuple):
    """Point sources, unpolarised, with a power law in frequency.

    Parameters
    ----------
    right_ascension, declination : ndarray of shape (n_sources,)
        In radians.
    flux : ndarray of shape (n_sources,)
        In Jy, at the reference frequency.
    reference_frequency : ndarray of shape (n_sources,)
        In Hz.
    spectral_index : ndarray of shape (n_sources,)
        Flux goes as frequency to this power.

    Examples
    --------
    >>> from dask_exa.datasets import Sky
    >>> sky = Sky.draw(3, (0.35, -0.52), seed=1)
    >>> sky.fluxes([140e6, 141e6]).shape
    (3, 2)
    """

    right_ascension: np.ndarray
    declination: np.ndarray
    flux: np.ndarray
    reference_frequency: np.ndarray
    spectral_index: np.ndarray

    @classmethod
    def of(cls, right_ascension, declination, flux, reference_frequency=None, spectral_index=0.0):
        """Return a sky of sources given by numbers or sequences; all of one length."""
        if reference_frequency is None:
            reference_frequency = _REFERENCE_FREQUENCY
        columns = (right_ascension, declination, flux, reference_frequency, spectral_index)
        arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(c, float)) for c in columns))
        for name, values in zip(cls._fields, arrays, strict=True):
            if values.ndim != 1 or not np.isfinite(values).all():
                raise ValueError(f"{name}={values!r} must be finite numbers, one for each source.")
        return cls(*map(np.array, arrays))

    @classmethod
    def draw(cls, n_sources, phase_centre, *, radius=0.02, flux=(0.5, 5.0), seed=0):
        """Return sources at random within a radius (rad) of a point, with fluxes like 1/S² (Jy)."""
        random = np.random.default_rng([seed, 1])
        distance = radius * np.sqrt(random.random(n_sources))
        angle = 2 * np.pi * random.random(n_sources)
        low, high = flux
        share = random.random(n_sources)
        middle, centre = phase_centre
        return cls.of(
            middle + distance * np.sin(angle) / np.cos(centre),
            centre + distance * np.cos(angle),
            low * high / (high - share * (high - low)),
            spectral_index=random.normal(-0.7, 0.1, n_sources),
        )

    @classmethod
    def read(cls, path):
        """Read a sky model of OSKAR: a source a line, with as many columns as it needs.

        Parameters
        ----------
        path : str or path-like
            Columns are right ascension and declination in degrees, Stokes I, Q, U and V in Jy,
            reference frequency in Hz, spectral index. Only I is used; sources that have a rotation
            measure or an extent are refused.

        Raises
        ------
        ValueError
            When a line is not of this kind.
        """
        rows = []
        with open(path) as file:
            for number, line in enumerate(file, 1):
                words = line.partition("#")[0].replace(",", " ").split()
                if words:
                    rows.append(_source(words, f"{path}, line {number}"))
        if not rows:
            raise ValueError(f"path={str(path)!r} has no sources.")
        right_ascension, declination, flux, frequency, index = np.array(rows).T
        return cls.of(np.radians(right_ascension), np.radians(declination), flux, frequency, index)

    def fluxes(self, frequency):
        """Return the flux of every source at frequencies, shape (n_sources, n_channels), in Jy."""
        ratio = np.asarray(frequency) / self.reference_frequency[:, None]
        return self.flux[:, None] * ratio ** self.spectral_index[:, None]

    def directions(self, phase_centre):
        """Return l, m, n of every source, shape (n_sources, 3)."""
        return direction_cosines(self.right_ascension, self.declination, phase_centre)


def _source(words, place):
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{place}: {error}; pass columns of numbers.") from error
    if len(values) < 3:
        raise ValueError(f"{place}: {len(values)} columns; right ascension, declination, I needed.")
    if any(values[8:]):
        raise ValueError(f"{place}: a rotation measure or an extent; only points can be simulated.")
    values += [0.0] * (8 - len(values))
    return values[0], values[1], values[2], values[6] or _REFERENCE_FREQUENCY, values[7]

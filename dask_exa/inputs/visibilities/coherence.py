"""Sources that light up below the noise of every visibility: what baselines say together.

A source of flux S in direction (l, m) adds S exp(2πi (u l + v m + w (n - 1)) f / c) to every
visibility. Turned back by that phase and averaged, 30 000 visibilities know a flux 250 times as
well as one of them; a dirty image does so for all directions at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.constants import speed_of_light

from dask_exa._visibilities import DIMS, UVW_DIMS
from dask_exa.inputs.visibilities.imaging import dirty_images
from dask_exa.inputs.visibilities.votes import quantile_of

_PIXELS_PER_BEAM = 3
_MOST_SOURCES = 8
_LEAST_SHARE = 0.01
_STEADY = 5.0
_LEFT = 0.25
"""Of the flux of a source, with which it is still on."""
_REMAINS = 16
"""Dumps after which what a source has left in the steady sky is forgotten."""
_ZOOMS = 6


class Source(NamedTuple):
    """A point of the sky that has changed, in one dump."""

    l: float  # noqa: E741  (its name everywhere)
    """Direction cosine from the phase centre towards the east."""
    m: float
    """Towards the north."""
    flux: float
    """Change of flux density, in the units of the visibilities, such as Jy."""
    score: float
    """Flux, in standard deviations of noise."""
    n_dumps: int = 1
    """For how many dumps it has been on."""
    mean_flux: float = 0.0
    """Over these dumps."""

    def _older(self, before: Source) -> Source:
        n_dumps = before.n_dumps + 1
        mean = before.mean_flux + (self.flux - before.mean_flux) / n_dumps
        return self._replace(n_dumps=n_dumps, mean_flux=mean)

    @property
    def steady_flux(self) -> float:
        """The mean flux, where that explains the present one; it does not follow the noise."""
        deviation = abs(self.flux / self.score)
        is_steady = abs(self.flux - self.mean_flux) < _STEADY * deviation
        return self.mean_flux if is_steady else self.flux

    @property
    def angles(self) -> tuple[float, float]:
        """Offsets from the phase centre, in degrees."""
        return float(np.degrees(np.arcsin(self.l))), float(np.degrees(np.arcsin(self.m)))


def source_visibilities(
    uvw: np.ndarray, frequency: np.ndarray, direction: tuple[float, float]
) -> np.ndarray:
    """Return the visibilities of a source of flux 1.

    Parameters
    ----------
    uvw : array of shape (n_baselines, 3)
        In metres.
    frequency : array of shape (n_channels,)
        In Hz.
    direction : (float, float)
        Direction cosines l and m.

    Returns
    -------
    array of shape (n_baselines, n_channels), complex64

    Examples
    --------
    >>> import numpy as np
    >>> source_visibilities(np.ones((1, 3)), np.array([1e8]), (0.0, 0.0))
    array([[1.+0.j]], dtype=complex64)
    """
    l, m = direction  # noqa: E741
    path = uvw @ np.array([l, m, np.sqrt(1 - l * l - m * m) - 1]) / speed_of_light
    return np.exp(2j * np.pi * np.multiply.outer(path, frequency)).astype(np.complex64)


class TransientSearch:
    """Finds sources that were not there before in what the steady sky leaves.

    Parameters
    ----------
    radius : float
        Of the field, in radians.
    false_alarm_rate : float
        Per dump, for all directions together.
    n_pixels : int, default=512
        Of a side of the images in which sources are found. Baselines that would see details
        smaller than these pixels are used only when the place of a source is refined.

    Attributes
    ----------
    active : list of Source
        Those of the last dump.
    score, limit : float
        Of the brightest direction in the last dump, and what makes it a source; NaN where there
        was nothing to compare with.
    """

    def __init__(self, radius: float, false_alarm_rate: float, n_pixels: int = 512) -> None:
        self.radius, self.false_alarm_rate, self.n_pixels = radius, false_alarm_rate, n_pixels
        self.active: list[Source] = []
        self.score = self.limit = np.nan
        self._ended: list[tuple[Source, int]] = []

    def search(
        self,
        innovation: np.ndarray,
        weight: np.ndarray,
        uvw: np.ndarray,
        frequency: np.ndarray,
        sky: float = 0.0,
    ) -> list[Source]:
        """Return the sources that are on in a dump: those that were on, and new ones.

        Parameters
        ----------
        innovation : array of shape (n_baselines, n_channels), complex64
            Visibilities without the steady sky.
        weight : array of shape (n_baselines, n_channels), float32
            One over the variance, both parts together; 0 for what is not to be used.
        uvw : array of shape (n_baselines, 3)
        frequency : array of shape (n_channels,)
        sky : float
            Amplitude of the visibilities of the steady sky, of which nothing below 1 % counts: no
            expectation is better than that.

        Returns
        -------
        list of Source
            A source is on for as long as its flux exceeds both the limit of new ones and a quarter
            of what it was in the last dump. What remains of it then is no new source.
        """
        self.score = self.limit = np.nan
        if not (weight > 0).any():
            return []
        still_on = [self._measure(s, innovation, weight, uvw, frequency) for s in self.active]
        n_beams = np.pi / 4 * (self.n_pixels / _PIXELS_PER_BEAM) ** 2
        self.limit = quantile_of(self.false_alarm_rate / n_beams / 2)
        kept = [
            new._older(old)
            for old, new in zip(self.active, still_on, strict=True)
            if self._counts(new, sky) and new.flux / old.flux > _LEFT
        ]
        left = innovation
        for source in kept:
            left = left - self.model(source, uvw, frequency)
        scores = [abs(source.score) for source in kept]
        remains = 0
        while len(kept) + remains < _MOST_SOURCES:
            found = self._brightest(left, weight, uvw, frequency)
            if self._counts(found, sky):  # to some baselines; but is it to all of them?
                found = self._refine(found, left, weight, uvw, frequency)
            scores.append(abs(found.score))
            if not self._counts(found, sky):
                break
            left = left - self.model(found, uvw, frequency)
            if self._remains_of_one(found):
                remains += 1
            else:
                kept.append(found._replace(mean_flux=found.flux))
        self.score = max(scores)
        on = {source[:2] for source in kept}
        ended = [(source, 0) for source in self.active if source[:2] not in on]
        self._ended = [(old, age + 1) for old, age in self._ended if age < _REMAINS] + ended
        self.active = kept
        return kept

    def image(
        self, innovation: np.ndarray, weight: np.ndarray, uvw: np.ndarray, frequency: np.ndarray
    ) -> xr.DataArray:
        """Return the dirty image of a dump; its attribute ``noise`` is that of a pixel."""
        finest = speed_of_light / frequency.max() / _PIXELS_PER_BEAM / self.pixel
        near = np.linalg.norm(uvw, axis=1) <= finest
        chosen = near if weight[near].any() else np.ones_like(near)
        data = xr.Dataset(
            {
                "visibility": (DIMS[1:], innovation[chosen]),
                "weight": (DIMS[1:], weight[chosen]),
                "uvw": (UVW_DIMS[1:], uvw[chosen]),
            },
            coords={"frequency": frequency},
        )
        image = dirty_images(data, self.n_pixels, self.pixel)[0]
        total = float(weight[chosen].sum(dtype=float))
        return image.assign_attrs(noise=float(1 / np.sqrt(2 * total)))

    @property
    def pixel(self) -> float:
        """Side of a pixel, in radians."""
        return 2 * self.radius / self.n_pixels

    def _brightest(
        self, innovation: np.ndarray, weight: np.ndarray, uvw: np.ndarray, frequency: np.ndarray
    ) -> Source:
        image = self.image(innovation, weight, uvw, frequency)
        l, m = image["l"].values, image["m"].values  # noqa: E741
        values = image.values * (np.hypot(l, m[:, None]) < self.radius)
        spread = 1.4826 * float(np.median(np.abs(values[values != 0])))
        row, column = np.unravel_index(np.argmax(np.abs(values)), values.shape)
        flux = float(values[row, column])
        noise = max(image.attrs["noise"], spread)
        return Source(float(l[column]), float(m[row]), flux, flux / noise)

    def _counts(self, source: Source, sky: float) -> bool:
        return abs(source.score) > self.limit and abs(source.flux) > _LEAST_SHARE * sky

    def _remains_of_one(self, source: Source) -> bool:
        """Whether a source is what one that has gone has left in the steady sky."""
        return any(
            np.hypot(source.l - old.l, source.m - old.m) < 2 * self.pixel
            and abs(source.flux) < _LEFT * abs(old.mean_flux)
            for old, _ in self._ended
        )

    def _refine(
        self,
        source: Source,
        innovation: np.ndarray,
        weight: np.ndarray,
        uvw: np.ndarray,
        frequency: np.ndarray,
    ) -> Source:
        """Climb to the peak that all baselines see."""
        step = self.pixel / 2
        sign = np.sign(source.flux)
        for _ in range(_ZOOMS):
            around = [
                source._replace(l=source.l + i * step, m=source.m + j * step)
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
            ]
            tried = [self._measure(s, innovation, weight, uvw, frequency) for s in around]
            source = max(tried, key=lambda s: sign * s.flux)
            step /= 2
        return source

    @staticmethod
    def model(source: Source, uvw: np.ndarray, frequency: np.ndarray) -> np.ndarray:
        """Return the visibilities of a source."""
        return np.float32(source.flux) * source_visibilities(uvw, frequency, source[:2])

    @staticmethod
    def _measure(
        source: Source,
        innovation: np.ndarray,
        weight: np.ndarray,
        uvw: np.ndarray,
        frequency: np.ndarray,
    ) -> Source:
        """Return the flux in a direction: the mean of the visibilities, turned towards it."""
        turned = np.conj(source_visibilities(uvw, frequency, source[:2])) * innovation
        total = float(weight.sum(dtype=float))
        flux = float(np.sum(turned.real * weight, dtype=float)) / total
        return source._replace(flux=flux, score=flux * float(np.sqrt(2 * total)))

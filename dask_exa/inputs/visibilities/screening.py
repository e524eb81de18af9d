"""Visibilities as a few numbers per channel and per station, with what was found in them."""

from __future__ import annotations

import collections
import copy
from typing import Any

import numpy as np
import xarray as xr

from dask_exa.inputs.visibilities.coherence import Source, TransientSearch
from dask_exa.inputs.visibilities.dumps import Dump, dumps_of
from dask_exa.inputs.visibilities.residual import Screened, SkyResidual
from dask_exa.inputs.visibilities.votes import quantile_of

_MAX_ROWS, _MAX_COLUMNS = 256, 256
"""Dumps, and channels or neighbouring channels together, that a waterfall shows."""


class Screening:
    """Turns the dumps of a stream of visibilities into fields of a fixed, small size.

    Every dump goes through a `SkyResidual` and a `TransientSearch`; sources that have lit up do not
    become part of the steady sky. Screening goes on from step to step, so steps are to come in
    their order.

    Parameters
    ----------
    field_radius : float, default=5.0
        See `SkyResidual`; in degrees.
    false_alarm_rate : float, default=1e-6
        See `SkyResidual`; that of transients is a hundred times as large, per dump.
    transients : bool, default=True
        Whether to look for sources, which takes the extra ``radio`` and images of every dump.
    n_pixels : int, default=512
        Of these images.
    longest : int, default=100
        Dumps after which a source that has lit up is taken for a part of the steady sky.

    Attributes
    ----------
    sky : SkyResidual
    search : TransientSearch or None

    Examples
    --------
    >>> from dask_exa.datasets import Interferometer
    >>> from dask_exa.inputs.visibilities import Screening
    >>> fault = {"timestep": 4, "kind": "dead", "station": 3}
    >>> screening = Screening(transients=False)
    >>> for step in Interferometer(inject=fault).run(5):
    ...     print(screening(step).faulty.values.nonzero()[0])
    []
    []
    []
    [3]
    []
    """

    def __init__(
        self,
        field_radius: float = 5.0,
        *,
        false_alarm_rate: float = 1e-6,
        transients: bool = True,
        n_pixels: int = 512,
        longest: int = 100,
    ) -> None:
        self.longest = longest
        self._rows: collections.deque = collections.deque(maxlen=_MAX_ROWS)
        self.sky = SkyResidual(field_radius, false_alarm_rate=false_alarm_rate)
        self.search: TransientSearch | None = None
        if transients:
            rate = 100 * false_alarm_rate
            self.search = TransientSearch(np.radians(field_radius), rate, n_pixels)

    def __call__(self, step: xr.Dataset) -> xr.Dataset:
        """Screen the dumps of a step, and return the last one as fields.

        Parameters
        ----------
        step : xarray.Dataset
            See `dumps_of`.

        Returns
        -------
        xarray.Dataset
            ``channel_power`` (frequency), the vote of the array in standard deviations of noise,
            ``station_power`` and ``station_change`` (station), the power of what no sky explains
            and of what is new in the field, 1 where normal; as coordinates ``interference``
            (frequency) and ``faulty`` (station), bool, ``flagged`` (), the share of visibilities;
            as attributes ``sources`` (rows of `Source`), ``score`` and
            ``limit`` of the search for them, ``channel_limit`` and ``false_alarm_rate``, and
            ``waterfall``, of each of the last dumps its time, mean amplitudes and shares of flags,
            in neighbouring channels together where there are many. All can be written as JSON.
        """
        for dump in dumps_of(step):
            screened, sources = self._screen(dump)
            self._rows.append(_waterfall_row(dump, screened))
        return self._represent(step, dump, screened, sources)

    def _screen(self, dump: Dump) -> tuple[Screened, list[Source]]:
        """Screen a dump and learn from it."""
        screened = self.sky.screen(dump)
        before = copy.copy(self.search)
        sources = self._find_sources(dump, screened)
        other = self._of_sources(dump, sources)
        if other is not None:
            again = self.sky.without(dump, screened, other)
            if (again.faulty != screened.faulty).any():  # which had a part in the fluxes
                self.search = before
                sources = self._find_sources(dump, again)
                other = self._of_sources(dump, sources)
            screened = again
        self.sky.learn(dump, screened, other)
        return screened, sources

    def _find_sources(self, dump: Dump, screened: Screened) -> list[Source]:
        if self.search is None:
            return []
        innovation, weight = self.sky.innovation(dump, screened)
        sky = self.sky.expected_amplitude
        return self.search.search(innovation, weight, dump.uvw, dump.frequency, sky)

    def _of_sources(self, dump: Dump, sources: list[Source]) -> np.ndarray | None:
        """Return the coefficients of sources that the steady sky does not have.

        One that fades has been part of the steady sky; so will be one that does not go again.
        """
        search = self.search
        new = [
            source._replace(flux=source.steady_flux)
            for source in sources
            if source.flux > 0 and source.n_dumps <= self.longest
        ]
        if search is None or not new:
            return None
        seen = [search.model(source, dump.uvw, dump.frequency) for source in new]
        return self.sky.coefficients_of(np.sum(seen, axis=0))

    def _represent(
        self, step: xr.Dataset, dump: Dump, screened: Screened, sources: list[Source]
    ) -> xr.Dataset:
        clock = {
            name: step[name] if step[name].ndim == 0 else step[name][-1]
            for name in ("time", "timestep")
        }
        levels = np.nan_to_num(screened.innovation_levels, nan=1.0)
        found: dict[str, Any] = {
            "interference": ("frequency", screened.interference),
            "faulty": ("station", screened.faulty),
            "flagged": ((), float(screened.flags.mean())),
        }
        return xr.Dataset(
            {
                "channel_power": ("frequency", screened.channel_scores),
                "station_power": ("station", np.nan_to_num(screened.station_levels, nan=1.0)),
                "station_change": ("station", levels),
            },
            coords={"frequency": step["frequency"], **clock, **found},
            attrs={
                **self._sky_attrs(sources),
                "waterfall": list(self._rows),
                "channel_limit": quantile_of(self.sky.false_alarm_rate),
                "false_alarm_rate": self.sky.false_alarm_rate,
            },
        )

    def _sky_attrs(self, sources: list[Source]) -> dict[str, Any]:
        search = self.search
        return {
            "sources": [list(source) for source in sources],
            "score": np.nan if search is None else search.score,
            "limit": np.nan if search is None else search.limit,
        }


def _waterfall_row(dump: Dump, screened: Screened) -> list[Any]:
    """Return time, mean amplitudes and shares of flags of a dump."""
    amplitude = np.abs(dump.visibility)
    seen = np.isfinite(amplitude)
    n_seen = seen.sum(axis=0)
    mean = np.where(seen, amplitude, 0).sum(axis=0) / np.maximum(n_seen, 1)
    flags = screened.flags.mean(axis=0)
    every = -(-len(mean) // _MAX_COLUMNS)
    starts = np.arange(0, len(mean), every)
    width = np.diff([*starts, len(mean)])
    rows = [np.add.reduceat(row, starts) / width for row in (mean, flags)]
    return [dump.time, *(np.round(row.astype(float), 4).tolist() for row in rows)]

"""Pictures of the stations of an interferometer: which of them are in order."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from dask_exa.report.figures import COLORS, GREY, new_figure

_SHOWN = {"station_power": "power that no sky has", "station_change": "change of the sky"}


def draw_stations(represented: xr.Dataset) -> Figure:
    """Draw the power of residuals and the change of the sky at every station.

    Parameters
    ----------
    represented : xarray.Dataset
        As of `dask_exa.inputs.visibilities.Screening`: ``station_power``, ``station_change`` and
        ``faulty`` (station).

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from dask_exa.report.stations import draw_stations
    >>> power, faulty = ("station", [1.0, 7.0, 1.1]), ("station", [False, True, False])
    >>> levels = {"station_power": power, "station_change": ("station", np.ones(3))}
    >>> draw_stations(xr.Dataset(levels, {"faulty": faulty})).axes[0].get_xlabel()
    'station'
    """
    faulty = represented["faulty"].values
    number = np.arange(len(faulty))
    with new_figure(3.0) as figure:
        for axes, (name, title) in zip(figure.subplots(1, 2), _SHOWN.items(), strict=True):
            level = represented[name].values
            colors = np.where(faulty, COLORS[1], COLORS[0])
            axes.bar(number, level - 1, bottom=1, color=colors, width=0.8)
            axes.axhline(1, color=GREY, lw=0.8)
            for station in np.flatnonzero(faulty):
                axes.annotate(
                    str(station), (station, level[station]), ha="center", va="bottom", fontsize=8
                )
            axes.set_title(title, loc="left")
            axes.set(xlabel="station", ylabel="relative to normal")
            axes.margins(y=0.15)
    return figure

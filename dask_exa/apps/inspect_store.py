"""Look at a compressed store: a page with ratios, errors, pictures and spectra."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from dask_exa.compression.inspection import VariableSummary, inspect_store
from dask_exa.inputs import open_stream
from dask_exa.preprocessing import SpectralFeatures
from dask_exa.report import FieldResult, Picture, panels
from dask_exa.report.compression import compression_page, draw_spectra
from dask_exa.report.figures import draw_pictures
from dask_exa.report.html import save_page

_MEDIAN_OF_NORMAL = 0.6744897501960817
"""Median of the absolute value of a normal variable of unit variance."""


class Inspection(NamedTuple):
    """A store, and the page about it.

    Parameters
    ----------
    page : str
    summaries : list of VariableSummary
    """

    page: str
    summaries: list[VariableSummary]


def inspect(
    store: str | os.PathLike[str],
    *,
    source: str | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Inspection:
    """Write a page about a compressed store.

    Parameters
    ----------
    store : path-like
    source : str, optional
        What it was made from, see `dask_exa.inputs.open_stream`: for pictures, spectra and
        gradients before and after.
    out : path-like, optional
        The page; by default beside the store, with the ending ``.html``.

    Returns
    -------
    Inspection

    Raises
    ------
    FileNotFoundError
        When `store` is no compressed store.
    ValueError
        When `source` has not the steps of the store.
    """
    summaries = inspect_store(store)
    path = Path(store)
    page = path.resolve().with_suffix(".html") if out is None else Path(out).resolve()
    with xr.open_zarr(path) as decoded:
        timestep = np.atleast_1d(decoded.timestep.values)
        pictures = [
            picture
            for summary in summaries
            for picture in _pictures(summary, decoded[summary.name], source)
        ]
        facts = [("store", str(path)), ("source", source or "not given (--source)")]
        facts += [fact for one in summaries for fact in _noise(one, decoded[one.name])]
        body = compression_page(path.name, summaries, timestep, pictures, facts)
    save_page(page, f"{path.name}: dask-exa inspect", body)
    return Inspection(str(page), summaries)


def _pictures(
    summary: VariableSummary, decoded: xr.DataArray, source: str | None
) -> Iterator[tuple[str, str, Figure]]:
    """Yield pictures of the step of the largest error and of the last one."""
    chosen = sorted({int(np.argmax(summary.max_error)), len(summary.max_error) - 1})
    after = [_real(decoded[position].load()) for position in chosen]
    if source is None:
        spectra = _spectra({"decoded": after[-1]}) if _is_on_a_grid(decoded) else None
        if spectra is not None:
            yield (
                f"Power spectrum of {summary.name}.",
                f"Power spectrum of {summary.name}, last step, as decoded.",
                draw_spectra(spectra, summary.name),
            )
        return
    before = [_real(field) for field in _originals(summary.name, decoded, source, chosen)]
    after = [
        y.isel({dim: slice(size) for dim, size in x.sizes.items()})
        for x, y in zip(before, after, strict=True)
    ]  # as large as that step was
    pictures = [
        Picture(panels.plane(x)[0], panels.plane(y)[0], float(summary.l2_error[position]))
        for x, y, position in zip(before, after, chosen, strict=True)
    ]
    field = FieldResult(
        summary.name, summary.units, "", {}, None, np.empty((0, 0)), np.empty(0), {}, {}, pictures
    )
    units = str(decoded.time.attrs.get("units", "")) if "time" in decoded.coords else ""
    yield (
        f"Original, decoded field and difference of {summary.name}.",
        f"{summary.name}: the step with the largest error and the last one, beside what "
        f"the store gives back. {panels.plane(before[0])[1]}",
        draw_pictures(field, units),
    )
    spectra = None
    if _is_on_a_grid(decoded):
        difference = after[-1] - before[-1]
        spectra = _spectra({"original": before[-1], "decoded": after[-1], "difference": difference})
    if spectra is not None:
        k2 = spectra.wavenumber**2
        first, second = (float((k2 * spectra[kind]).sum()) for kind in ("original", "decoded"))
        yield (
            f"Power spectra of {summary.name}.",
            f"Power spectra of {summary.name}, last step. Its enstrophy Σ k² P(k), the mean square "
            f"of the gradient, is {first:.6g} before and {second:.6g} after.",
            draw_spectra(spectra, summary.name),
        )


def _noise(summary: VariableSummary, decoded: xr.DataArray) -> Iterator[tuple[str, str]]:
    """Yield what the error of visibilities is as noise: that of neighbouring channels.

    The noise is taken from the differences of neighbours along the last axis, by their median:
    neither a smooth sky nor a few channels with interference count.
    """
    if decoded.dtype.kind != "c" or decoded.shape[-1] < 3:
        return
    last = decoded[-1].values
    steps = np.diff(last.view(last.real.dtype).reshape(*last.shape, 2), axis=-2).ravel()
    steps = np.abs(steps[np.isfinite(steps)])
    noise = float(np.median(steps)) / (_MEDIAN_OF_NORMAL * np.sqrt(2)) if steps.size else 0.0
    if noise > 0:
        squares = summary.l2_error[-1] ** 2 * summary.energy[-1, 0]
        error = np.sqrt(squares / max(2 * int(np.isfinite(last).sum()), 1))
        share = float(error / noise)
        yield (
            f"noise of {summary.name}, last step",
            f"{noise:.3g} in each part; the error is {share:.3g} of it, and makes the noise "
            f"{100 * (np.hypot(1, share) - 1):.3g} % larger",
        )


def _originals(
    name: str, decoded: xr.DataArray, source: str, positions: list[int]
) -> list[xr.DataArray]:
    """Return steps of the source at positions that increase."""
    timestep = decoded.timestep.values
    found = []
    with open_stream(source, variables=name) as stream:
        for position in positions:
            step = next(iter(stream.read(position)), None)
            if step is None or int(step.timestep) != int(timestep[position]):
                has = "no such step" if step is None else f"step {int(step.timestep)}"
                raise ValueError(
                    f"source={source!r} has {has} at position {position}, where the store has step "
                    f"{int(timestep[position])}; pass the source that it was made from."
                )
            found.append(step[name].load())
    return found


def _real(field: xr.DataArray) -> xr.DataArray:
    return field.real if np.iscomplexobj(field) else field


def _is_on_a_grid(decoded: xr.DataArray) -> bool:
    """Whether wavenumbers mean something: not of visibilities, nor of the octs of a mesh."""
    grows = any(f"n_{dim}" in decoded.coords for dim in decoded.dims)
    return decoded.dtype.kind != "c" and not grows


def _spectra(fields: dict[str, xr.DataArray]) -> xr.Dataset | None:
    """Return power spectra of the plane that people look at; None where there are none.

    A field with values that are not finite or on an uneven grid has no Fourier series.
    """
    planes = {kind: panels.plane(field.astype(float))[0] for kind, field in fields.items()}
    if not all(np.isfinite(field).all() for field in planes.values()):
        return None
    samples = {kind: field.expand_dims("sample") for kind, field in planes.items()}
    try:
        model = SpectralFeatures(sample_dims="sample").fit(next(iter(samples.values())))
    except ValueError:
        return None
    found = {kind: model.transform(field).isel(sample=0) for kind, field in samples.items()}
    return xr.Dataset(found)

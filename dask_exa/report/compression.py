"""Pictures and page of a compressed store: ratios, errors, sums and spectra before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from dask_exa.compression.inspection import VariableSummary
from dask_exa.report import panels
from dask_exa.report.figures import COLORS, GREY, legend_above, new_figure
from dask_exa.report.html import card_elements, image_element, main_element, table_element
from dask_exa.report.summary import format_bytes, installed_versions

Pictures = Sequence[tuple[str, str, Figure]]
"""Title, caption and figure of each."""


def draw_ratios(summaries: Sequence[VariableSummary], timestep: np.ndarray) -> Figure:
    """Draw the compression ratio and the error of every step.

    Parameters
    ----------
    summaries : list of VariableSummary
    timestep : ndarray of shape (n_steps,)

    Returns
    -------
    matplotlib.figure.Figure
    """
    with new_figure(3.0) as figure:
        left, right = figure.subplots(1, 2)
        for i, variable in enumerate(summaries):
            style = {"color": COLORS[i % len(COLORS)], "lw": 1.4, "label": variable.name}
            left.step(timestep, variable.ratio, where="mid", **style)
            error = np.where(variable.l2_error > 0, variable.l2_error, np.nan)
            right.plot(timestep, error, **style)
        left.set(xlabel="timestep", ylabel="ratio: bytes before / after", ylim=(0, None))
        right.set(xlabel="timestep", ylabel="relative L2 error")
        if any((variable.l2_error > 0).any() for variable in summaries):
            right.set_yscale("log")
        for axes in (left, right):
            axes.grid(axis="y")
            legend_above(axes, 3)
    return figure


def draw_sums(variable: VariableSummary, timestep: np.ndarray) -> Figure:
    """Draw how far coding has moved the sum of a field and the sum of its squares."""
    with new_figure(2.6) as figure:
        left, right = figure.subplots(1, 2)
        for axes, values, name in (
            (left, variable.mass, "mass, Σ x"),
            (right, variable.energy, "energy, Σ x²"),
        ):
            axes.axhline(0, color=GREY, lw=0.8)
            axes.plot(timestep, values[:, 1] - values[:, 0], color=COLORS[0], lw=1.3)
            axes.set_title(f"{name}: after - before", loc="left")
            axes.set_xlabel("timestep")
            scale = np.abs(values[:, 0]).max(initial=0.0)
            axes.set_ylabel(f"of at most {scale:.3g}")
            axes.grid(axis="y")
    return figure


def draw_spectra(spectra: xr.Dataset, name: str) -> Figure:
    """Draw power spectra of a step before and after, and that of the difference.

    Parameters
    ----------
    spectra : xarray.Dataset
        ``original`` (absent where there is none), ``decoded`` and ``difference`` on
        ``wavenumber``.
    name : str
        Of the field.
    """
    styles = {"original": (COLORS[0], "-"), "decoded": (COLORS[1], "--"), "difference": (GREY, "-")}
    with new_figure(3.2, 6.4) as figure:
        axes = figure.subplots()
        for kind, (color, dashes) in styles.items():
            if kind in spectra:
                power = spectra[kind].where((spectra[kind] > 0) & (spectra.wavenumber > 0))
                axes.loglog(spectra.wavenumber, power, dashes, color=color, lw=1.4, label=kind)
        axes.set(xlabel="wavenumber k", ylabel=f"power of {name}")
        axes.grid(which="major")
        legend_above(axes, 3)
    return figure


def compression_page(
    source: str,
    summaries: Sequence[VariableSummary],
    timestep: np.ndarray,
    pictures: Pictures = (),
    facts: Iterable[tuple[str, str]] = (),
) -> str:
    """Return the page of a store, for `dask_exa.report.html.save_page`.

    Parameters
    ----------
    source : str
        Name of the store.
    summaries : list of VariableSummary
    timestep : ndarray of shape (n_steps,)
    pictures : list of (str, str, Figure)
        More of them: title, caption, figure.
    facts : list of (str, str)
        More rows of the table at the end.
    """
    return main_element(_parts(source, summaries, timestep, pictures, facts))


def _parts(
    source: str,
    summaries: Sequence[VariableSummary],
    timestep: np.ndarray,
    pictures: Pictures,
    facts: Iterable[tuple[str, str]],
) -> Iterator[str]:
    yield f'<p class="about">dask-exa inspect</p>\n<h1>{escape(source)}</h1>'
    yield card_elements(_key_figures(summaries, len(timestep)))
    yield image_element(
        draw_ratios(summaries, timestep),
        "Ratio and error of every step.",
        "Left: bytes before by bytes after; the steps of one chunk share its bytes. Right: "
        "‖x − x′‖ / ‖x‖ of each step; none where a step is exact.",
    )
    for title, caption, figure in pictures:
        yield image_element(figure, title, escape(caption))
    for variable in summaries:
        yield f"<h2>{escape(variable.name)}</h2>"
        yield table_element(describe(variable))
        yield image_element(
            draw_sums(variable, timestep),
            f"Change of mass and energy of {variable.name}.",
            "What coding has added to the sum of the field over its points and to the sum of its "
            "squares.",
        )
    yield "<h2>The store</h2>"
    yield table_element([*facts, ("versions", _versions())])


def _key_figures(summaries: Sequence[VariableSummary], n_steps: int) -> Iterator[tuple[str, str]]:
    raw = sum(variable.raw for variable in summaries)
    coded = sum(variable.coded + sum(variable.bases.values()) for variable in summaries)
    yield "steps", str(n_steps)
    yield "ratio, all variables", f"{raw / max(coded, 1):.3g}"
    yield "before", format_bytes(raw)
    yield "after", format_bytes(coded)
    for variable in summaries:
        yield f"ratio of {variable.name}", f"{variable.total_ratio:.3g}"


def describe(variable: VariableSummary) -> list[tuple[str, str]]:
    """Return rows of a name and a text about one variable."""
    kind, value = variable.bound
    asked = {
        "abs": f"largest error {value:g} {panels.mathtext(variable.units, '{}_{}')}".strip(),
        "rel": f"largest error {value:g} of the range of a block",
        "l2": f"L2 error {value:g} of the norm of a block",
        "psnr": f"peak signal-to-noise ratio of {value:g} dB in each block",
    }[kind]
    rows = [
        ("bound", asked),
        ("worst block", f"{variable.worst:.4g}" + (" dB" if kind == "psnr" else "")),
        ("largest absolute error", f"{variable.max_error.max(initial=0):.4g}"),
        ("bytes", f"{format_bytes(variable.raw)} to {format_bytes(variable.coded)}"),
        ("blocks", str(variable.n_blocks)),
    ]
    if variable.methods:
        counts = (f"{method}: {count}" for method, count in variable.methods.items())
        rows.append(("coded by", ", ".join(counts)))
    if variable.bases:
        sizes = (f"{name} ({format_bytes(size)})" for name, size in variable.bases.items())
        rows.append(("bases", ", ".join(sizes)))
        kept = variable.n_modes[variable.n_modes > 0]
        if kept.size:
            rows.append(("modes kept", f"{kept.min()} to {kept.max()}"))
    return rows


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in installed_versions().items())

"""The report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

import numpy as np

from dask_exa.anomaly.alarm import episodes
from dask_exa.report import alarms, figures, panels
from dask_exa.report.result import FieldResult, RunResult
from dask_exa.report.summary import format_bytes, installed_versions

_CSS = """
.exa{font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#24292f;
 background:#fff;max-width:1080px;margin:0 auto;padding:1.2rem 1.2rem 3rem;box-sizing:border-box}
.exa h1{font-size:1.55rem;line-height:1.25;margin:.2rem 0;overflow-wrap:anywhere}
.exa h2{font-size:1.2rem;margin:2.4rem 0 .6rem;padding-top:1.1rem;border-top:1px solid #d7dce1}
.exa p{margin:.3rem 0}
.exa .about{color:#57606a}
.exa .mark{display:inline-block;border-radius:1rem;padding:.05rem .65rem;font-size:.82rem;
 font-weight:600;background:#e3f2e6;color:#1c6b30}
.exa .mark.stopped{background:#fdeedd;color:#8f4a0b}
.exa .cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:.7rem;
 margin:1.2rem 0}
.exa .card{border:1px solid #d7dce1;border-radius:.5rem;padding:.6rem .8rem}
.exa .card b{display:block;font-size:1.3rem;line-height:1.3;font-variant-numeric:tabular-nums}
.exa .card span{color:#57606a;font-size:.85rem}
.exa figure{margin:1rem 0 1.6rem}
.exa img{display:block;max-width:100%;height:auto}
.exa figcaption{color:#57606a;font-size:.88rem;margin-top:.35rem;max-width:68ch}
.exa table{border-collapse:collapse;width:100%;font-size:.9rem}
.exa th,.exa td{text-align:left;vertical-align:top;padding:.3rem .9rem .3rem 0;
 border-bottom:1px solid #e6e9ec}
.exa td{overflow-wrap:anywhere}
.exa th{font-weight:600;width:15rem}
.exa .alarms{border-left:4px solid #cf5b1b;background:#fdf4ec;padding:.7rem 1rem;
 border-radius:.3rem}
.exa .alarms+.alarms{margin-top:.6rem}
.exa .scroll{overflow-x:auto}
@media (max-width:560px){.exa{padding:.8rem}.exa th{width:auto}}
"""


class Report:
    """A run as a page: in a notebook by itself, or saved as a file.

    Parameters
    ----------
    result : RunResult

    Examples
    --------
    >>> from dask_exa.report import Report
    >>> Report(result).save("out/report.html")  # doctest: +SKIP
    """

    def __init__(self, result: RunResult) -> None:
        self.result = result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page; an interruption leaves an earlier one whole."""
        title = f"{self.result.source}: dask-exa {self.result.command}"
        save_page(path, title, self._repr_html_())

    def _repr_html_(self) -> str:
        return main_element(self._parts())

    def _parts(self) -> Iterator[str]:
        result = self.result
        yield _head(result)
        yield from _alarms(result)
        for title, figure in result.figures:
            yield image_element(figure, title, escape(title))
        for field in result.fields.values():
            yield from _field(field, result)
        if any(np.isfinite(field.error_at_the_time).any() for field in result.fields.values()):
            yield "<h2>Reconstruction error</h2>"
            yield image_element(
                figures.draw_errors(result),
                "Reconstruction error over time.",
                "‖x − x′‖ / ‖x‖ of each step x. Lines: when it came, in the basis of the steps "
                "before it, which had not seen it. Dots: in the basis at the end, for the steps "
                f"kept; a triangle stands for an error above {figures.MAX_ERROR:g}.",
            )
        if result.n_steps:
            yield "<h2>Cost</h2>"
            yield image_element(
                figures.draw_costs(result),
                "Seconds and bytes per step.",
                "Left: where the time of each step went. Right: bytes that a step brings, and "
                "bytes that are held of all steps so far.",
            )
        yield "<h2>The run</h2>"
        yield table_element(_facts(result))


def save_page(path: str | os.PathLike[str], title: str, body: str) -> None:
    """Write a page that needs no other file; an interruption leaves an earlier one whole."""
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>body{{margin:0;background:#fff}}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)


def main_element(parts: Iterable[str]) -> str:
    """Return parts of a page in its style."""
    return "\n".join([f"<style>{_CSS}</style>", '<main class="exa">', *parts, "</main>"])


def _head(result: RunResult) -> str:
    state, kind = ("interrupted", " stopped") if result.interrupted else ("complete", "")
    if result.stopped:
        state, kind = "stopped at an alarm", " stopped"
    if result.faults and not result.interrupted:
        state, kind = "with faults", " stopped"
    return (
        f'<p class="about">dask-exa {escape(result.command)} '
        f'<span class="mark{kind}">{state}</span></p>\n<h1>{escape(result.source)}</h1>\n'
        f'<p class="about">{escape(result.started)} to {escape(result.finished)}</p>\n'
        f"{card_elements(_key_figures(result))}"
    )


def card_elements(key_figures: Iterable[tuple[str, str]]) -> str:
    """Return key figures as cards: pairs of a name and a text."""
    cards = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in key_figures
    )
    return f'<div class="cards">{cards}</div>'


def _key_figures(result: RunResult) -> Iterator[tuple[str, str]]:
    yield "steps", f"{result.n_steps}"
    for field in result.fields.values():
        if field.fitted.get("explained_variance_ratio") is not None:
            share = 100 * np.sum(field.fitted["explained_variance_ratio"])
            n_components = field.fitted["n_components"]
            yield f"of the variance of {field.name} in {n_components} components", f"{share:.4g} %"
        errors = field.error_at_the_time[np.isfinite(field.error_at_the_time)]
        if errors.size:
            yield f"error of {field.name}, median step", f"{100 * np.median(errors):.3g} %"
    if result.n_steps:
        seconds = np.sum(list(result.seconds.values()), axis=0)
        yield "seconds per step (median)", f"{np.median(seconds):.3g}"
        data, state = np.sum(result.bytes["data"]), result.bytes["state"][-1]
        yield "of data seen", format_bytes(data)
        yield "held of them", format_bytes(state)


def _alarms(result: RunResult) -> Iterator[str]:
    if result.stopped:
        yield f'<div class="alarms"><b>{escape(_sentence(result.stopped))}</b></div>'
    if result.faults:
        yield _boxed("What was lost", result.faults)
    if result.alarms:
        yield _alarm_list(result)
    if result.detection is None:
        return
    yield "<h2>Anomalies</h2>"
    if not result.alarms:
        yield f"<p>No alarm in {result.n_steps} steps.</p>"
    if result.n_steps:
        yield image_element(
            alarms.draw_scores(result, result.detection),
            "Score of each step, the limit, and the alarms.",
            "Score of the most abnormal part of each step, and the limit above which there is an "
            "alarm; both begin when enough has been learnt. Each row above is about one thing "
            "that raised alarms.",
        )
    for picture in result.detection.pictures:
        yield image_element(
            alarms.draw_picture(picture, result.time_units),
            f"The field at the alarm of step {picture.alarm.step}.",
            f"{escape(_sentence(picture.alarm.reason))} {picture.note}",
        )


def _sentence(text: str) -> str:
    """Return a text with a capital letter, unless it begins with a name."""
    return text[:1].upper() + text[1:] if text.startswith(("the ", "a ", "stopped ")) else text


def _alarm_list(result: RunResult) -> str:
    count = "1 alarm" if len(result.alarms) == 1 else f"{len(result.alarms)} alarms"
    return _boxed(count, [alarms.describe(one) for one in episodes(result.alarms)])


def _boxed(title: str, texts: list[str]) -> str:
    rows = "".join(f"<p>{escape(text)}</p>" for text in texts[:20])
    more = len(texts) - 20
    rows += f"<p>and {more} more, see summary.json</p>" if more > 0 else ""
    return f'<div class="alarms"><b>{title}</b>{rows}</div>'


def _field(field: FieldResult, result: RunResult) -> Iterator[str]:
    name = escape(field.name)
    yield f"<h2>{name}</h2>"
    if not field.fitted:
        yield "<p>Too few steps for a basis.</p>"
        return
    truncation = field.fitted["truncation_error"]
    if field.fitted["explained_variance_ratio"] is not None:
        text = (
            f"Share of the variance of {name} in each component, and in the leading ones together."
        )
        if truncation:
            text += f" Truncation has left out at most {float(truncation):.2g} of the norm of"
            text += " the centred steps."
        yield image_element(figures.draw_variance(field), f"Explained variance of {name}.", text)
    if field.modes is not None:
        yield image_element(
            figures.draw_modes(field, field.modes),
            f"Leading modes of {name}.",
            f"Leading modes of {name}, on one colour scale. {field.note}",
        )
    if field.coefficients.size:
        yield image_element(
            figures.draw_coefficients(field, result),
            f"Coefficients of {name} over time.",
            "Coefficients of the steps in the basis at the end. They were made when the step came "
            f"and turned with the basis since. {_stored(field)}",
        )
    if field.pictures:
        yield image_element(
            figures.draw_pictures(field, result.time_units),
            f"Original, reconstruction and difference of {name}.",
            "The first, a middle and the last step kept, beside what the basis at the end makes of "
            f"them. Original and reconstruction share a colour scale. {field.note}",
        )


def _stored(field: FieldResult) -> str:
    stored, late = (
        100 * np.median([e for e in errors.values() if np.isfinite(e)] or [np.nan])
        for errors in (field.error_as_stored, field.error_at_the_end)
    )
    return (
        f"The steps kept come back from them with a median error of {stored:.3g} %; projected "
        f"anew, it would be {late:.3g} %."
    )


def image_element(figure: figures.Figure, alternative: str, caption: str) -> str:
    """Return a figure with its caption, which is HTML."""
    data = base64.b64encode(figures.figure_png(figure)).decode("ascii")
    width = round(figure.get_figwidth() * 108)
    return (
        f'<figure><img width="{width}" alt="{escape(alternative)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{caption.strip()}</figcaption></figure>'
    )


def _facts(result: RunResult) -> Iterator[tuple[str, str]]:
    yield "source", result.source
    yield "variables", ", ".join(result.fields)
    yield "steps seen", str(result.n_steps)
    if result.n_steps:
        units = panels.mathtext(result.time_units, "{}_{}")
        yield "time", f"{result.time[0]:g} to {result.time[-1]:g} {units}".rstrip()
        for name, seconds in result.seconds.items():
            yield f"seconds, {name}", f"{np.sum(seconds):.3g}"
    for estimator in dict.fromkeys(field.estimator for field in result.fields.values()):
        yield "estimator", estimator
    if result.detection is not None:
        yield "detector", result.detection.detector
    yield from result.facts.items()
    yield from result.outputs.items()
    yield "versions", ", ".join(f"{n} {v}" for n, v in installed_versions().items())


def table_element(rows: Iterable[tuple[str, str]]) -> str:
    """Return rows of a name and a text."""
    body = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f'<div class="scroll"><table>{body}</table></div>'

"""A run as a page and as a summary."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly.alarm import Alarm, episodes
from dask_exa.report import (
    AlarmPicture,
    Detection,
    FieldResult,
    Picture,
    Report,
    RunResult,
    figures,
    write_summary,
)
from dask_exa.report.alarms import describe, draw_picture, draw_scores
from dask_exa.report.panels import draw, extent_of, plane, symmetric_limits, value_limits
from dask_exa.report.result import SECONDS
from dask_exa.report.summary import FITTED, format_bytes, run_summary
from tests.report.schema import check_against_schema

N_STEPS, N_COMPONENTS = 6, 3
ALARM = Alarm(
    step=4,
    score=0.9,
    reason="density is <odd>.",
    block=((0, 3), (4, 7)),
    p_value=1e-4,
    features=("density: jump",),
    variable="density",
)


def detection(**changes):
    field = field_result().pictures[0].original
    values = {
        "detector": "FieldDetector()",
        "score": np.array([np.nan, 0.4, 0.4, 0.5, 0.9, 0.5]),
        "limit": np.array([np.nan, np.nan, 0.8, 0.8, 0.8, 0.8]),
        "pictures": [AlarmPicture(ALARM, field, [{"y": (-0.25, 1.75), "x": (1.75, 3.75)}])],
    }
    return Detection(**(values | changes))


def field_result(name="density", shape=(8, 10), **changes):
    random = np.random.default_rng(0)
    dims = ("z", "y", "x")[-len(shape) :]
    units = {"units": "rho_s"}
    coords = {d: (d, np.arange(n) * 0.5, units) for d, n in zip(dims, shape, strict=True)}
    original = xr.DataArray(random.normal(size=shape), coords, dims)
    pictures = [
        Picture(
            plane(original.assign_coords(timestep=step, time=float(step)))[0],
            plane(original + 0.1)[0],
            0.1,
        )
        for step in (0, 5)
    ]
    modes = xr.concat([original] * N_COMPONENTS, "component")
    shares = np.array([0.6, 0.3, 0.05])
    fitted = dict.fromkeys(FITTED, 0.5) | {
        "n_components": N_COMPONENTS,
        "n_samples_seen": N_STEPS,
        "explained_variance_ratio": shares,
        "explained_variance": shares * 2,
        "singular_values": shares * 3,
    }
    values = {
        "name": name,
        "units": "n_0",
        "estimator": "IncrementalPCA(3)",
        "fitted": fitted,
        "modes": plane(modes, keep=("component",))[0],
        "coefficients": random.normal(size=(N_STEPS, N_COMPONENTS)),
        "error_at_the_time": np.array([np.nan, np.nan, np.nan, 0.3, 0.2, 0.1]),
        "error_at_the_end": {0: 20.0, 5: 0.05},
        "error_as_stored": {0: np.inf, 5: 0.06},
        "pictures": pictures,
        "note": plane(original)[1],
    }
    return FieldResult(**(values | changes))


def run_result(*fields, **changes):
    steps = np.arange(N_STEPS)
    values = {
        "command": "watch",
        "source": "run <1>.h5",
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00",
        "timestep": steps,
        "time": steps * 0.5,
        "time_units": "1/Omega_ci",
        "seconds": {name: np.full(N_STEPS, 0.1) for name in SECONDS},
        "bytes": {"data": np.full(N_STEPS, 640), "state": steps * 1000},
        "fields": {field.name: field for field in fields or (field_result(),)},
        "outputs": {
            name: f"out/{name}"
            for name in ("report", "summary", "coefficients", "basis", "checkpoint")
        },
    }
    return RunResult(**(values | changes))


class PageReader(HTMLParser):
    """Collect the tags of a page, and check that they are nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_needs_no_other_file(tmp_path):
    Report(run_result()).save(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = PageReader(text)
    assert not page.open
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 6
    for image in images:
        assert image["alt"]
        assert image["src"].startswith("data:image/png;base64,iVBOR")
    linked = {"link", "script", "iframe", "object"}
    assert not linked & {tag for tag, _ in page.tags}
    without_images = re.sub(r'src="data:[^"]*"', "", text)
    assert not re.search(r"https?:|url\(|@import", without_images)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_names_are_escaped():
    text = Report(run_result(field_result("<b>flux</b>")))._repr_html_()
    assert "<h2>&lt;b&gt;flux&lt;/b&gt;</h2>" in text
    assert "run &lt;1&gt;.h5" in text
    assert "<b>flux" not in text


def test_page_says_how_the_run_ended():
    assert ">complete<" in Report(run_result())._repr_html_()
    alarms = [Alarm(step, 0.5, "density is odd") for step in range(0, 60, 2)]
    text = Report(run_result(interrupted=True, alarms=alarms))._repr_html_()
    assert ">interrupted<" in text
    assert "30 alarms" in text
    assert "Step 4: density is odd" in text
    assert "and 10 more" in text


def test_page_without_a_basis_and_without_steps():
    field = field_result(fitted={}, modes=None, pictures=[], error_at_the_end={})
    assert "Too few steps for a basis" in Report(run_result(field))._repr_html_()
    nothing = {
        "timestep": np.array([], dtype=int),
        "time": np.array([]),
        "seconds": {name: np.array([]) for name in SECONDS},
        "bytes": {name: np.array([]) for name in ("data", "state")},
    }
    empty = dataclasses.replace(field, error_at_the_time=np.array([]))
    text = Report(run_result(empty, **nothing))._repr_html_()
    assert not PageReader(text).open


@pytest.mark.parametrize("shape", [(8, 10), (12,), (4, 8, 10), (1, 1)])
def test_every_shape_of_field_is_drawn(shape):
    field = field_result(shape=shape)
    result = run_result(field)
    drawn = [
        figures.draw_variance(field),
        figures.draw_modes(field, field.modes),
        figures.draw_pictures(field, "s"),
        figures.draw_coefficients(field, result),
        figures.draw_errors(result),
        figures.draw_costs(result),
    ]
    for figure in drawn:
        assert figures.figure_png(figure, dpi=40).startswith(b"\x89PNG")
    assert field.note == ("Shown: the plane z = 1." if len(shape) == 3 else "")


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    figures.figure_png(figures.draw_variance(field_result()))
    assert dict(mpl.rcParams) == before


def test_modes_share_a_scale_that_is_symmetric():
    field = field_result()
    figure = figures.draw_modes(field, field.modes)
    scales = {image.get_clim() for axes in figure.axes for image in axes.get_images()}
    ((low, high),) = scales
    assert low == -high == -np.abs(field.modes).max()


def test_pictures_share_a_scale_per_step():
    figure = figures.draw_pictures(field_result())
    images = [axes.get_images() for axes in figure.axes]
    limits = [found[0].get_clim() for found in images if found]
    for row in np.reshape(limits, (2, 3, 2)):
        np.testing.assert_array_equal(row[0], row[1])
        assert row[2][0] == -row[2][1]


def test_axes_are_in_physical_coordinates():
    figure = mpl.figure.Figure()
    axes = figure.subplots()
    field = field_result().pictures[0].original
    image = draw(axes, field, cmap="viridis", limits=(0, 1))
    assert image.get_extent() == [-0.25, 4.75, -0.25, 3.75]
    assert axes.get_xlabel() == "x [ρ$_{s}$]"
    uneven = field.assign_coords(x=np.arange(10.0) ** 2)
    assert draw(figure.subplots(), uneven, cmap="viridis", limits=(0, 1)) is not None


def test_large_fields_are_thinned():
    part, note = plane(xr.DataArray(np.zeros((1000, 30)), dims=("y", "x")))
    assert part.shape == (334, 30)
    assert note == ""


def test_limits_of_odd_values():
    assert symmetric_limits([np.nan, 2.0, -3.0]) == (-3.0, 3.0)
    assert value_limits([np.nan]) == (-1.0, 1.0)
    assert value_limits([0.0, 0.0]) == (-1.0, 1.0)
    assert value_limits([4.0, 4.0]) == (2.0, 6.0)


def test_summary_is_as_documented(tmp_path):
    result = run_result(
        alarms=[ALARM],
        detection=detection(),
        stopped="stopped at step 4",
        faults=["rank 1 <died> after step 4"],
    )
    assert "<p>rank 1 &lt;died&gt; after step 4</p>" in Report(result)._repr_html_()
    write_summary(result, tmp_path / "summary.json")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert not check_against_schema(summary), "documented, but not there"
    assert summary["steps"]["timestep"] == list(range(N_STEPS))
    assert summary["stopped"] == "stopped at step 4"
    assert summary["faults"] == ["rank 1 <died> after step 4"]
    assert summary["alarms"][0]["block"] == [[0, 3], [4, 7]]
    assert summary["alarms"][0]["p_value"] == 1e-4
    assert summary["detection"]["score"] == [None, 0.4, 0.4, 0.5, 0.9, 0.5]
    assert summary["errors"]["density"]["at_the_time"][:4] == [None, None, None, 0.3]
    assert summary["errors"]["density"]["at_the_end"]["as_stored"] == [None, 0.06]
    assert set(summary["versions"]) > {"python", "dask-exa", "dask", "zarr"}


def test_summary_without_a_basis_is_as_documented():
    field = field_result(fitted={}, error_at_the_end={}, error_as_stored={})
    check_against_schema(json.loads(json.dumps(run_summary(run_result(field)), allow_nan=False)))


def test_failure_leaves_the_earlier_summary(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(run_result(), path)
    before = path.read_text()
    with pytest.raises(TypeError):
        write_summary(run_result(source=object()), path)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1.5e9, "1.5 GB"), (4.2e15, "4.2e+03 TB")]
)
def test_bytes_are_readable(n_bytes, text):
    assert format_bytes(n_bytes) == text


def test_page_shows_scores_and_the_field_of_an_alarm():
    text = Report(run_result(alarms=[ALARM], detection=detection()))._repr_html_()
    assert "<b>1 alarm</b><p>Step 4, block [0:3, 4:7]: density is &lt;odd&gt;.</p>" in text
    assert text.count("<img") == 8
    assert "density is <odd>" not in text
    quiet = Report(run_result(detection=detection(pictures=[])))._repr_html_()
    assert "No alarm in 6 steps." in quiet
    stopped = Report(run_result(stopped="stopped at step 4: odd", detection=detection()))
    text = stopped._repr_html_()
    assert "<b>Stopped at step 4: odd</b>" in text
    assert ">stopped at an alarm<" in text


def test_scores_limit_and_alarms_are_drawn_where_they_belong():
    result = run_result(alarms=[ALARM, ALARM._replace(step=5, features=("potential: jump",))])
    marks, lines = draw_scores(result, detection()).axes
    assert [label.get_text() for label in marks.get_yticklabels()] == [
        "density: jump",
        "potential: jump",
    ]
    assert [line.get_xdata().tolist() for line in marks.lines] == [[2.0], [2.5]]
    score, limit, above = lines.lines
    np.testing.assert_array_equal(score.get_ydata(), detection().score)
    np.testing.assert_array_equal(limit.get_ydata(), detection().limit)
    assert above.get_xdata().tolist() == [2.0]


def test_scores_without_any_are_still_a_picture():
    nothing = np.full(N_STEPS, np.nan)
    figure = draw_scores(run_result(alarms=[ALARM]), detection(score=nothing, limit=nothing))
    (marks,) = figure.axes
    assert len(marks.lines) == 1
    assert draw_scores(run_result(), detection(score=nothing, limit=nothing)).axes


def test_block_of_an_alarm_is_marked_in_the_picture():
    figure = draw_picture(detection().pictures[0])
    patches = figure.axes[0].patches
    assert {(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in patches} == {
        (1.75, -0.25, 2.0, 2.0)
    }
    everywhere = AlarmPicture(ALARM, detection().pictures[0].field, [])
    assert not draw_picture(everywhere).axes[0].patches


def test_extent_of_a_block_in_coordinates_and_in_indices():
    named = xr.DataArray(np.zeros((4, 900)), {"y": [0.0, 0.5, 1.0, 1.5]}, ("y", "x"))
    assert extent_of(named, "y", 0, 1) == (-0.25, 0.75)
    assert extent_of(named, "y", 3, 3) == (1.25, 1.75)
    low, high = extent_of(named, "x", 300, 599)  # every third point is drawn
    assert low == pytest.approx(100, abs=0.5)
    assert high == pytest.approx(200, abs=0.5)


def test_alarms_that_go_on_are_one_episode():
    steps = [(3, "a"), (4, "a"), (4, "b"), (5, "a"), (9, "a")]
    alarms = [Alarm(step, float(step == 4), "odd", features=(name,)) for step, name in steps]
    found = episodes(alarms)
    assert [(e.first.step, e.last_step, e.n_alarms, e.worst.step) for e in found] == [
        (3, 5, 3, 4),
        (4, 4, 1, 4),
        (9, 9, 1, 9),
    ]
    assert describe(found[0]) == "Steps 3 to 5: odd"

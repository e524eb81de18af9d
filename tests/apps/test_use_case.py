"""A use case in `watch`: what it learns, what it looks at, and what it draws."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dask_exa.anomaly import FieldDetector
from dask_exa.apps import use_cases
from dask_exa.apps.use_case import UseCase
from dask_exa.apps.watch import _open, watch

FAULT = 6
drawn = []


def represent(step):
    return step.mean("y", skipna=False).assign(total=step.density.sum().expand_dims("part"))


def draw(original, represented, alarms):
    drawn.append((original, represented, alarms))
    return [("Density of the plasma", Figure(figsize=(2, 2)))]


@pytest.fixture
def case(monkeypatch):
    """Make sums of Tokam2D's fields a use case."""
    case = UseCase(
        "sums of Tokam2D",
        lambda stream: "density" in stream.variables,
        represent,
        lambda stream: FieldDetector(n_warmup=8),
        draw,
    )
    monkeypatch.setattr(use_cases, "USE_CASES", (case,))
    drawn.clear()


@pytest.fixture
def source(tmp_path):
    """An HDF5 file with one step that is not finite."""
    h5py = pytest.importorskip("h5py")
    random = np.random.default_rng(0)
    density = random.normal(size=(9, 6, 5))
    density[FAULT, 2, 3] = np.nan
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        file["density"], file["potential"] = density, random.normal(size=(9, 6, 5))
    return path, density


@pytest.mark.parametrize("detect", [False, True])
def test_watch_learns_and_draws_what_a_use_case_makes(case, source, tmp_path, detect):
    path, density = source
    result = watch(str(path), tmp_path / "out", n_components=2, detect=detect)
    assert list(result.fields) == ["density", "potential"]  # not the one number
    assert result.n_steps == 9
    # the step of the first alarm, and the last one
    assert [title for title, _ in result.figures] == [
        f"Density of the plasma, step {step}" for step in (FAULT, 8)
    ]
    for (original, represented, alarms), step in zip(drawn, (FAULT, 8), strict=True):
        np.testing.assert_array_equal(original.density, density[step])
        np.testing.assert_allclose(represented.density, density[step].mean(0), equal_nan=True)
        assert bool(alarms) == (step == FAULT)
    report = (tmp_path / "out" / "report.html").read_text()
    assert report.count('alt="Density of the plasma, step') == 2
    assert (result.detection is not None) == detect


def test_variables_choose_among_what_is_made(case, source, tmp_path):
    path, density = source
    variables = ("total", "potential")
    result = watch(str(path), tmp_path / "out", variables=variables, n_components=2)
    assert list(result.fields) == ["potential"]
    # pictures may need what is not learnt
    assert list(drawn[-1][1].data_vars) == ["density", "potential", "total"]
    assert drawn[-1][1].total.values == pytest.approx(density[8].sum())


def test_detectors_see_what_is_not_learnt(case, source, tmp_path, monkeypatch):
    path, _ = source
    seen, observe = [], FieldDetector.observe
    monkeypatch.setattr(
        FieldDetector, "observe", lambda self, step: (seen.append(step), observe(self, step))[1]
    )
    result = watch(str(path), tmp_path / "out", variables=("density",), n_components=2, detect=True)
    assert list(result.fields) == ["density"]
    assert list(seen[-1].data_vars) == ["density", "potential", "total"]


def test_variables_that_cannot_be_learnt_are_named(case, source, tmp_path):
    path, _ = source
    with pytest.raises(ValueError, match=r"variables=\['flux'\] are not made of .* it has den"):
        watch(str(path), tmp_path / "out", variables=("flux", "density"))
    with pytest.raises(ValueError, match=r"\['total'\] .* no more values than components=2"):
        watch(str(path), tmp_path / "out", variables=("total",), n_components=2)


@pytest.mark.parametrize("n_threads", [0, 1, 4])
def test_plain_fields_are_split_for_the_threads_of_a_cluster_even_of_one(source, n_threads):
    path, _ = source
    stream, album = _open(str(path), None, n_threads)
    with stream:
        step = next(iter(stream))
    assert album is None
    assert (step.density.chunks is None) == (n_threads == 0)
    if n_threads:
        assert step.density.data.npartitions == n_threads

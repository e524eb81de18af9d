"""FieldMonitor on any split of a field, on any kind of array, interrupted and resumed."""

import pickle

import dask
import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from dask_exa.anomaly import FieldMonitor
from dask_exa.anomaly.checks import FAMILIES, Finite, Spread, conserved
from dask_exa.datasets import Injection, Tokam2D
from dask_exa.reduction._graph import Graph

SPLIT = {"y": 16, "x": 8}
FAULT = Injection(timestep=4, kind="nonphysical", patch=(3, 9, 17, 23))


@pytest.fixture(scope="module")
def steps():
    run = Tokam2D.sol(
        shape=(32, 32), length=32.0, rk4_steps_per_frame=20, inject=FAULT, potential_noise=0.1
    )
    return list(run.run(5))


def watch(monitor, steps):
    return [monitor.observe(step) for step in steps]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.features, other.features)
        assert one.alarms == other.alarms
        assert one.blocks == other.blocks
        assert one.feature_names == other.feature_names


def test_fault_is_found_in_its_block(steps):
    seen = watch(FieldMonitor(blocks=SPLIT), steps)
    assert [[alarm.variable for alarm in one.alarms] for one in seen] == [
        [],
        [],
        [],
        ["density"],
        [],
    ]
    (alarm,) = seen[3].alarms
    assert alarm.step == 4
    assert alarm.block == ((0, 15), (16, 23))
    assert alarm.features == ("density: negative share",)
    assert alarm.reason.startswith("density must be positive: ")


def test_features_are_finite_and_of_order_one(steps):
    seen = watch(FieldMonitor(blocks=SPLIT), steps)
    shape = (8, len(seen[0].feature_names))
    assert all(one.features.shape == shape for one in seen)
    late = np.stack([one.features for one in seen[1:]])
    assert np.isfinite(late).all()
    assert np.abs(late).max() < 40


def test_features_have_no_units(steps):
    seen = watch(FieldMonitor(["spread", "jump", "gridscale", "kurtosis"]), steps)
    scaled = [
        step.assign(density=1e-7 * step.density, potential=1e9 * step.potential) for step in steps
    ]
    other = watch(FieldMonitor(["spread", "jump", "gridscale", "kurtosis"]), scaled)
    for one, two in zip(seen, other, strict=True):
        np.testing.assert_allclose(one.features, two.features, rtol=1e-6, atol=1e-6)


def test_lazy_steps_give_the_same_bits(steps):
    lazy = [step.chunk(SPLIT) for step in steps]
    assert_same(watch(FieldMonitor(), lazy), watch(FieldMonitor(blocks=SPLIT), steps))


def test_variables_of_other_chunks_and_in_memory_beside_lazy_ones(steps):
    expected = watch(FieldMonitor(blocks=SPLIT), steps)
    other = [
        step.assign(density=step.density.chunk(SPLIT), potential=step.potential.chunk({"y": 5}))
        for step in steps
    ]
    assert_same(watch(FieldMonitor(), other), expected)
    mixed = [step.assign(density=step.density.chunk(SPLIT)) for step in steps]
    assert_same(watch(FieldMonitor(), mixed), expected)


def test_one_task_a_chunk(steps, monkeypatch):
    counts, run = [], Graph.run

    def count(graph, keys, *, wait):
        found = run(graph, keys, wait=wait)
        counts.append((len(graph.tasks), len(keys)))
        return found

    monkeypatch.setattr(Graph, "run", count)
    watch(FieldMonitor(), [steps[0].chunk(SPLIT)])
    assert counts == [(8, 8)]


def test_memory_never_touches_dask(steps, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("Dask has been asked")

    monkeypatch.setattr(Graph, "run", refuse)
    monkeypatch.setattr(dask, "compute", refuse)
    watch(FieldMonitor(blocks=SPLIT), steps)


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("how", ["pickle", "save"])
def test_resumed_monitor_goes_on_with_the_same_bits(steps, at, how, tmp_path):
    expected = watch(FieldMonitor(blocks=SPLIT), steps)
    monitor = FieldMonitor(blocks=SPLIT)
    watch(monitor, steps[:at])
    if how == "pickle":
        monitor = pickle.loads(pickle.dumps(monitor))
    else:
        monitor.save(tmp_path / "monitor")
        monitor = FieldMonitor.load(tmp_path / "monitor")
    assert_same(watch(monitor, steps[at:]), expected[at:])


def test_ranks_side_by_side_judge_as_one(steps):
    """Each rank measures its rows; the measures of both give what the whole field gives."""
    whole, one, other, judge = (FieldMonitor(checks) for checks in (["spread", "finite"],) * 4)
    for step in steps:
        expected = whole.observe(step)
        halves = [
            monitor.measure(step.isel(y=rows))
            for monitor, rows in ((one, slice(0, 16)), (other, slice(16, 32)))
        ]
        one.judge(halves[0]), other.judge(halves[1])
        found = judge.judge(halves[0] | halves[1])
        assert [alarm.features for alarm in found.alarms] == [a.features for a in expected.alarms]
        np.testing.assert_allclose(judge.state.highest, whole.state.highest, rtol=1e-12)


def test_merged_monitor_goes_on_with_the_blocks_of_both(steps):
    checks = ["finite", "spread", "gridscale"]
    whole, one, other = FieldMonitor(checks, {"y": 16}), FieldMonitor(checks), FieldMonitor(checks)
    for step in steps[:3]:
        (
            whole.observe(step),
            one.observe(step.isel(y=slice(0, 16))),
            other.observe(step.isel(y=slice(16, 32))),
        )
    merged = one.merge(other)
    assert merged is one
    np.testing.assert_array_equal(merged.state.rows, whole.state.rows)
    other.observe(steps[3].isel(y=slice(0, 16)))
    with pytest.raises(ValueError, match="cannot merge a monitor at step 4 into one at step 3"):
        one.merge(other)
    assert FieldMonitor().merge(FieldMonitor()).state is None


def test_parameters_and_clone(steps):
    monitor = FieldMonitor(["auto", conserved("density")], blocks=2, dt=0.5)
    monitor.observe(steps[0])
    copy = clone(monitor)
    assert copy.state is None
    assert copy.get_params()["dt"] == 0.5
    assert copy.set_params(blocks=None).blocks is None


def test_names_for_pipelines(steps):
    monitor = FieldMonitor(blocks=SPLIT)
    expected = watch(FieldMonitor(blocks=SPLIT), steps[:3])
    first = make_pipeline(monitor).fit_transform(steps[0])
    np.testing.assert_array_equal(first, expected[0].features)
    third = monitor.partial_fit(steps[1]).transform(steps[2])
    np.testing.assert_array_equal(third, expected[2].features)
    np.testing.assert_array_equal(monitor.fit(steps[0]).state.n_steps, 1)
    assert monitor.n_features_in_ == len(monitor.feature_names) == third.shape[1]


def test_failed_fit_leaves_the_state(steps):
    monitor = FieldMonitor().fit(steps[0])
    with pytest.raises(TypeError, match="step is a int"):
        monitor.fit(3)
    assert monitor.state.n_steps == 1


def test_chunk_of_nan_poisons_no_other(steps):
    broken = steps[1].copy(deep=True)
    broken["density"][0:16, 8:16] = np.nan
    monitor, sound = FieldMonitor(blocks=SPLIT), FieldMonitor(blocks=SPLIT)
    found = watch(monitor, [steps[0], broken, steps[2]])
    expected = watch(sound, steps[:3])
    at = [
        name.startswith("density") or "kurtosis unlike other" in name
        for name in found[0].feature_names
    ]
    own = ~np.array(at)
    np.testing.assert_array_equal(found[1].features[:, own], expected[1].features[:, own])
    rest = np.arange(8) != 1
    kept = [i for i, name in enumerate(found[0].feature_names) if "unlike other" not in name]
    np.testing.assert_array_equal(
        found[1].features[rest][:, kept], expected[1].features[rest][:, kept]
    )
    np.testing.assert_array_equal(
        found[2].features[rest][:, kept], expected[2].features[rest][:, kept]
    )
    (alarm,) = found[1].alarms
    assert alarm.block == ((0, 15), (8, 15))
    assert np.isnan(found[1].features[1, found[1].feature_names.index("density: log kurtosis")])


def test_all_of_a_variable_nan(steps):
    broken = steps[1].assign(density=np.nan * steps[1].density)
    seen = watch(FieldMonitor(), [steps[0], broken, steps[2]])
    assert [alarm.features for alarm in seen[1].alarms] == [
        ("density: share of values that are not finite",)
    ]
    assert not seen[2].alarms


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1), (2, 3)])
def test_short_dimensions(shape):
    rng = np.random.default_rng(0)
    monitor = FieldMonitor(dt=0.1)
    for i in range(3):
        fields = {name: (("y", "x"), rng.random(shape) + 1) for name in ("density", "potential")}
        coords = {dim: np.arange(n) * 0.5 for dim, n in zip(("y", "x"), shape, strict=True)}
        seen = monitor.observe(
            xr.Dataset(fields, coords={**coords, "timestep": i, "time": float(i)})
        )
    assert seen.features.shape == (1, len(seen.feature_names))
    assert not seen.alarms


def test_variable_that_lacks_a_dimension_is_measured_once():
    f, phi = np.random.default_rng(0).random((4, 6, 8)), np.random.default_rng(1).random((4, 6))
    step = xr.Dataset({"g": (("r", "z", "v"), f), "phi": (("r", "z"), phi)})
    whole, split = FieldMonitor(Spread("phi")), FieldMonitor(["spread"], blocks={"r": 2, "v": 4})
    whole.observe(step)
    seen = split.observe(step)
    assert len(seen.blocks) == 4
    spread = split.state.names.index("phi: spread")
    assert split.state.first[spread] == pytest.approx(phi.std())
    lazy = FieldMonitor(["spread"]).observe(step.chunk({"r": 2, "v": 4}))
    np.testing.assert_array_equal(lazy.features, seen.features)


def test_octree_may_change_its_cells():
    monitor = FieldMonitor()
    for i, n in enumerate((8, 20)):
        cells = {
            "rho": ("cell", np.ones(n)),
            "e_tot": ("cell", 1.0 + np.arange(n)),
            "level": ("cell", np.full(n, 3)),
        }
        monitor.observe(xr.Dataset(cells, coords={"timestep": i, "time": float(i)}))
    assert monitor.state.n_steps == 2


def step_of(**variables):
    return xr.Dataset({name: (("y", "x")[: np.ndim(v)], v) for name, v in variables.items()})


@pytest.mark.parametrize(
    ("monitor", "step", "error", "message"),
    [
        (FieldMonitor(), np.ones(3), TypeError, "step is a ndarray"),
        (FieldMonitor(), step_of(u=np.ones((2, 2), complex)), TypeError, "u is complex"),
        (FieldMonitor("entropy"), step_of(u=np.ones((2, 2))), ValueError, "checks has 'entropy'"),
        (FieldMonitor([3]), step_of(u=np.ones((2, 2))), TypeError, "checks has a int"),
        (FieldMonitor([]), step_of(u=np.ones((2, 2))), ValueError, r"no check of \[\] fits"),
        (FieldMonitor(Finite("v")), step_of(u=np.ones((2, 2))), ValueError, "no variable 'v'"),
        (
            FieldMonitor(),
            step_of(u=np.ones((0, 2))),
            ValueError,
            r"\['y'\] of the step have length 0",
        ),
        (FieldMonitor(blocks=3), step_of(u=np.ones((2, 2))), ValueError, "blocks=3 is more than"),
        (
            FieldMonitor(blocks={"z": 1}),
            step_of(u=np.ones((2, 2))),
            ValueError,
            r"blocks has \['z'\]",
        ),
        (FieldMonitor(blocks=0), step_of(u=np.ones((2, 2))), ValueError, "blocks=0"),
        (FieldMonitor(blocks=1.5), step_of(u=np.ones((2, 2))), ValueError, "blocks=1.5"),
    ],
)
def test_what_is_refused(monitor, step, error, message):
    with pytest.raises(error, match=message):
        monitor.observe(step)
    assert monitor.state is None


def test_steps_that_do_not_fit_those_before(steps):
    monitor = FieldMonitor()
    monitor.observe(steps[0])
    before = monitor.state
    with pytest.raises(ValueError, match="no variable 'potential', which earlier steps had"):
        monitor.observe(steps[1].drop_vars("potential"))
    with pytest.raises(ValueError, match=r"have the shape \(16, 32\), those of earlier"):
        monitor.observe(steps[1].isel(y=slice(0, 16)))
    with pytest.raises(ValueError, match="take a new monitor for other checks"):
        monitor.set_params(checks="finite").observe(steps[1])
    assert monitor.state is before
    monitor.set_params(checks="auto").observe(steps[1].assign(more=steps[1].density))


def test_save_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match="has not seen a step"):
        FieldMonitor().save(tmp_path / "monitor")


def test_auto_is_all_families(steps):
    names = FieldMonitor().fit(steps[0]).feature_names
    assert FieldMonitor(list(FAMILIES)).fit(steps[0]).feature_names == names

"""Plasma in phase space: what is made of a step, and which runs are stopped."""

import itertools

import numpy as np
import pytest

from dask_exa.anomaly import FieldDetector
from dask_exa.apps.gysela import LIMITS, USE_CASE, PlasmaFields
from dask_exa.datasets import Vlasov
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import open_stream, pygyro
from dask_exa.inputs.represented import RepresentedStream
from dask_exa.inputs.velocity_space import Invariants, PhaseSpace, summarize

FIVE = {"shape": (8, 4, 24, 16, 3)}


def watch(stream, n_steps=None):
    """Return alarms of every step, and the last step."""
    assert USE_CASE.recognise(stream)
    represented = RepresentedStream(stream, USE_CASE.represent)
    detector = USE_CASE.detector(represented)
    assert isinstance(detector, FieldDetector)
    alarms, step = [], None
    for step in itertools.islice(represented, n_steps):
        alarms.append(detector.observe(step).alarms)
    return alarms, step


def subjects(alarms):
    return {alarm.features[0].removeprefix("log ") for alarm in alarms}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vlasov", {}),
        ("vlasov-landau", {"amplitude": 0.2}),
        ("vlasov", {"shape": (16, 64, 3), "noise": 1e-3}),
    ],
)
def test_sound_runs_raise_no_alarm(name, options):
    alarms, last = watch(open_stream(name, **options), 120)
    assert not any(alarms)
    assert all(float(last[what]) < limit for what, limit in LIMITS.items())


def test_sound_run_of_pygyro_raises_no_alarm(shared_data):
    with pygyro.open_run(str(shared_data / "pygyro" / "ref_f.h5")) as stream:
        alarms, last = watch(stream)
    assert alarms == [[]] * 4
    assert float(last.particle_drift) == pytest.approx(1.2e-4, rel=0.1)
    assert float(last.negative_share) < 3e-5
    assert last.density.dims == ("r", "z", "theta")
    assert last.f_velocity.dims == ("vpar",)


FAULTS = {
    "unstable": "growth of the L2 norm",
    "leak": "drift of the number of particles",
    "spike": "growth of the L2 norm",
    "nonphysical": "negative share of f",
    "nan": "density: share of values that are not finite",
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("options", [{}, FIVE], ids=["2D", "5D"])
def test_faults_are_found_in_their_step(kind, options):
    fault = {"timestep": 9, "kind": kind, "rate": 8.0}
    alarms, _ = watch(open_stream("vlasov", inject=fault, **options), 9)
    assert not any(alarms[:8])
    assert FAULTS[kind] in subjects(alarms[8])


def test_a_run_in_five_dimensions_stops_at_the_fault():
    fault = {"timestep": 7, "kind": "leak"}
    with open_stream("vlasov", inject=fault, **FIVE) as source:
        stream = RepresentedStream(source, USE_CASE.represent)
        pca = IncrementalPCA(2)
        run = stream.run(
            pca,
            variables="density",
            detector=USE_CASE.detector(stream),
            stop_on_alarm=True,
            n_steps=30,
            progress=False,
        )
    assert run.n_steps == 7
    assert "drift of the number of particles" in run.stop_reason
    assert pca.components_.dims == ("component", "x", "y")


def test_ranks_that_own_slabs_agree_to_stop():
    simulation = Vlasov.two_stream(inject={"timestep": 5, "kind": "leak"}, **FIVE)
    first = None
    for frame in simulation.run(9):
        mesh = PhaseSpace.of(frame.f)
        slabs = [frame.f[2 * rank : 2 * rank + 2] for rank in range(4)]
        # what every rank sends is six numbers, whatever its slab
        sums = [
            summarize(slab, mesh, start={"x": 2 * rank}).sums for rank, slab in enumerate(slabs)
        ]
        merged = Invariants.merge(sums)
        first = first or merged
        assert merged.particles == pytest.approx(summarize(frame.f).sums.particles, rel=1e-13)
        if abs(merged.particles / first.particles - 1) > LIMITS["particle_drift"]:
            break
    assert int(frame.timestep) == 5


def test_lazy_steps_give_the_same():
    frames = list(Vlasov.two_stream(**FIVE).run(2))
    eager, lazy = PlasmaFields(), PlasmaFields()
    for frame in frames:
        expected = eager(frame)
        found = lazy(frame.chunk({"x": 3, "vx": 8}))
        assert found.density.chunks is not None
        for name in expected.data_vars:
            # moments of odd order vanish but for rounding
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-10, atol=1e-13)
        assert float(found.l2f) == pytest.approx(float(expected.l2f), rel=1e-13)


def test_what_invariants_are_compared_with():
    frame = Vlasov.landau(shape=(8, 16)).fields
    represent = PlasmaFields()
    steps = [represent(frame.assign(f=scale * frame.f)) for scale in (1.0, 0.8, 0.9)]
    assert [float(step.particle_drift) for step in steps] == pytest.approx([0, 0.2, 0.1])
    assert [float(step.max_growth) for step in steps] == pytest.approx([0, -0.2, -0.1])
    # the norm may never grow again: relative to the smallest so far
    assert [float(step.l2_growth) for step in steps] == pytest.approx([0, -0.2, 0.125])


def test_iterations_begin_anew():
    stream = RepresentedStream(open_stream("vlasov-landau"), USE_CASE.represent)
    first, second = (next(iter(stream)) for _ in range(2))
    assert first.identical(second)
    assert len(second.attrs["invariants"]) == 1
    later = next(stream.read(2))
    assert [row["time"] for row in later.attrs["invariants"]] == [0.5, 1.0, 1.5]


def test_other_streams_are_left_alone():
    assert not USE_CASE.recognise(open_stream("tokam2d-hw", shape=(16, 16)))
    assert not USE_CASE.recognise(open_stream("vlasov", variables=["potential"]))


def test_pictures_show_phase_space_and_invariants():
    stream = RepresentedStream(open_stream("vlasov", **FIVE), USE_CASE.represent)
    represented = next(stream.read(1))
    pictures = USE_CASE.pictures(stream.original, represented, [])
    assert [title for title, _ in pictures] == [
        "Distribution function",
        "What the plasma must keep",
    ]
    slice_axes = pictures[0][1].axes[0]
    assert slice_axes.get_ylabel().startswith("vx")
    lines = pictures[1][1].axes[0].lines
    assert [len(line.get_xdata()) for line in lines[: len(LIMITS)]] == [2] * 4

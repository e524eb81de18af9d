"""The blast wave: Sedov's radius, conservation over levels, the uniform grid, and faults."""

import itertools

import numpy as np
import pytest

from dask_exa.apps import dyablo
from dask_exa.datasets import AmrBlast, BlastInjection, _euler
from dask_exa.inputs import open_stream
from dask_exa.inputs.amr import Octree
from dask_exa.inputs.represented import RepresentedStream
from tests.naive._sedov import sedov

SEDOV = {ndim: sedov(ndim, 1.4) for ndim in (2, 3)}
QUICK = {"max_level": 4, "radius": 0.03}
SOLID = {"ndim": 3, "block": 4, "min_level": 1, "max_level": 3, "radius": 0.05}


def shock_radius(step):
    """Radius of the self-similar blast that has displaced as much mass as far."""
    ndim, n = step.sizes["axis"], step.sizes["x"]
    middles = np.moveaxis(np.indices((n,) * ndim)[::-1] + 0.5, 0, -1) / n
    corner, size = (
        step[name].values.reshape(-1, *(1,) * ndim, ndim) for name in ("position", "size")
    )
    away2 = np.sum((corner + middles * size - 0.5) ** 2, axis=-1)
    moment = np.sum((step.rho.values - 1) * away2 * np.prod(size / n, axis=-1))
    return (moment / SEDOV[ndim].second_moment) ** (1 / (ndim + 2))


def totals(step):
    size = step["size"].values / step.sizes["x"]
    volume = np.prod(size, axis=1).reshape(-1, *(1,) * (step.rho.ndim - 1))
    return {name: float((step[name].values * volume).sum()) for name in step.data_vars}


def test_energy_of_the_oracle_is_the_published_one():
    """Kamm, Timmes, *On efficient generation of numerically robust Sedov solutions* (2007)."""
    assert SEDOV[2].energy == pytest.approx(0.9840, abs=5e-4)
    assert SEDOV[3].energy == pytest.approx(0.8511, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "n_frames", "tolerance"),
    [
        (QUICK, 22, 0.01),
        pytest.param({"max_level": 5}, 40, 0.01, marks=pytest.mark.slow),
        (SOLID, 4, 0.01),
    ],
)
def test_shock_runs_as_sedov_says(options, n_frames, tolerance):
    blast = AmrBlast(**options)
    *_, step = blast.run(n_frames)
    ndim = blast.parameters.ndim
    expected = (float(step.time) ** 2 / SEDOV[ndim].energy) ** (1 / (ndim + 2))
    assert 0.15 < expected < 0.4
    assert shock_radius(step) == pytest.approx(expected, rel=tolerance)
    # the peak of a captured shock lies behind it, by up to two cells
    away, density = along_x(step)
    assert expected - 0.04 < away[np.argmax(density)] < expected + 0.01
    assert len(np.unique(step.level)) > 1


def along_x(step):
    """Distance from the middle, and density, on the axis in +x."""
    grid = Octree.from_patches(step).to_uniform(int(step.level.max()) + 3)["rho"].values
    n = len(grid)
    line = grid[(n // 2,) * (grid.ndim - 1)]
    return (np.arange(n // 2) + 0.5) / n, line[n // 2 :]


@pytest.mark.parametrize(
    ("options", "n_frames"), [(QUICK, 40), ({**SOLID, "steps_per_frame": 2}, 20)]
)
def test_mass_momentum_and_energy_are_conserved_over_levels(options, n_frames):
    blast = AmrBlast(**options)
    before, n_blocks = totals(blast.fields), set()
    for step in blast.run(n_frames):
        n_blocks.add(step.sizes["oct"])
    after = totals(step)
    assert len(n_blocks) > 1
    assert after["rho"] == pytest.approx(before["rho"], rel=1e-13)
    assert after["e_tot"] == pytest.approx(before["e_tot"], rel=1e-13)
    assert abs(after["rho_vx"]) < 1e-13
    assert float(abs(step.rho_vx).max()) > 0.1


def test_lumps_are_drawn_from_the_seed():
    one, again, other = (AmrBlast(seed=seed, lumps=0.3, **QUICK).fields for seed in (1, 1, 2))
    assert one.identical(again)
    assert not one.identical(other)
    assert np.log(one.rho).std() == pytest.approx(0.3, rel=0.5)


def test_mesh_does_not_flicker():
    """A front that only moves outwards splits blocks, and joins them again after it has passed."""
    blast = AmrBlast(steps_per_frame=2, **QUICK)
    counts = np.array([step.sizes["oct"] for step in blast.run(60)])
    assert np.count_nonzero(np.diff(counts)) < 15
    assert counts[-1] > counts[0]


def test_refined_mesh_gives_what_the_uniform_one_does():
    fine = AmrBlast(min_level=4, **QUICK)
    *_, before, after = fine.run(13)
    coarse = AmrBlast(min_level=1, **QUICK)
    while coarse.time < before.time:
        step = coarse.advance()
    share = float((step.time - before.time) / (after.time - before.time))
    assert 0 <= share <= 1
    grids = [Octree.from_patches(one).to_uniform(7)["rho"].values for one in (before, after, step)]
    expected = (1 - share) * grids[0] + share * grids[1]
    assert np.mean(np.abs(grids[2] - expected)) < 0.02 * np.mean(np.abs(expected - 1))
    assert step.rho.size < 0.6 * before.rho.size


def test_octree_of_a_step_has_its_mass():
    blast = AmrBlast(**QUICK)
    step = blast.advance()
    tree = Octree.from_patches(step)
    assert np.array_equal(tree.level, step.level)  # in Morton order
    assert np.array_equal(tree.fields["rho"], step.rho)
    mass = float(tree.to_uniform(4)["rho"].mean())
    assert mass == pytest.approx(totals(step)["rho"], rel=1e-12)


def test_uniform_flow_stays_uniform_over_levels():
    blast = AmrBlast(**QUICK)
    gas = np.array([1.3, 0.4, -0.7, 2.0]).reshape(4, 1, 1, 1)
    expected = _euler.to_conserved(gas * np.ones(blast.conserved.shape), 1.4)
    blast.conserved = expected.copy()
    assert len(np.unique(blast.tree.level)) > 1
    blast._step()
    np.testing.assert_allclose(blast.conserved, expected, rtol=1e-13)


def test_finer_cells_are_made_of_coarser_ones_by_their_slopes():
    """Ghost cells and children of a smooth field, against the field itself."""
    blast = AmrBlast(**QUICK)
    corners = blast.tree.coords * 8

    def smooth(tree_corners, first, last, size):
        cells = np.arange(first, last) + 0.5
        y, x = ((tree_corners[:, axis, None] + cells) * size[:, None] for axis in (0, 1))
        return 2 + np.sin(2 * np.pi * x)[:, None, :] * np.cos(2 * np.pi * y)[:, :, None]

    size = blast.tree.cell_size
    blast.conserved = smooth(corners, 0, 8, size)[None].repeat(4, axis=0)
    padded = blast._padded(blast.conserved)
    error = np.abs(padded[0] - smooth(corners, -2, 10, size))
    at = np.concatenate([part[0] for part in blast._ghosts.interpolated])
    assert np.mean(error.ravel()[at]) < 0.004
    for half in blast.tree.halves:
        child = blast._child(padded, half)[0]
        error = np.abs(child - smooth(2 * corners + 8 * half, 0, 8, size / 2))
        assert np.mean(error) < 0.004


def test_smooth_flow_converges_at_second_order():
    """A wave of density that is carried along: the solution is known."""
    errors = []
    for level in (2, 3):
        blast = AmrBlast(min_level=level, max_level=level, radius=0.2, courant=0.4)
        n = 8 << level
        x = ((np.arange(8) + 0.5) / 8 + blast.tree.coords[:, 1, None]) * (8 / n)

        def gas(shift, x=x):
            rho = 1 + 0.2 * np.sin(2 * np.pi * (x - shift))[:, None, :] * np.ones((1, 8, 1))
            return np.stack([rho, np.ones_like(rho), np.zeros_like(rho), np.ones_like(rho)])

        blast.conserved = _euler.to_conserved(gas(0.0), 1.4)
        while blast.time < 0.2:
            blast._step()
        errors.append(np.mean(np.abs(blast.conserved[0] - gas(blast.time)[0])))
    assert errors[0] / errors[1] > 3.0
    assert errors[1] < 2e-3


def test_shock_tube_of_sod():
    """Plateaus of the exact solution, on a tube that is doubled to be periodic."""
    blast = AmrBlast(min_level=5, max_level=5)
    x = (blast.tree.coords[:, 1, None] + (np.arange(8) + 0.5) / 8) / 32
    inside = np.abs(x - 0.5)[:, None, :] * np.ones((1, 8, 1)) < 0.25
    rho, pressure = np.where(inside, 1.0, 0.125), np.where(inside, 1.0, 0.1)
    rest = np.zeros_like(rho)
    blast.conserved = _euler.to_conserved(np.stack([rho, rest, rest, pressure]), 1.4)
    while blast.time < 0.08:
        blast._step()
    found = _euler.to_primitive(blast.conserved, 1.4)
    speeds = (np.broadcast_to(x[:, None, :], rho.shape) - 0.75) / blast.time
    for low, high, density in ((0.2, 0.7, 0.42632), (1.2, 1.5, 0.26557)):
        between = (speeds > low) & (speeds < high)
        np.testing.assert_allclose(found[0][between].mean(), density, rtol=0.01)
        np.testing.assert_allclose(found[1][between].mean(), 0.92745, rtol=0.01)
        np.testing.assert_allclose(found[3][between].mean(), 0.30313, rtol=0.01)
    np.testing.assert_allclose(found[0][speeds > 2.1], 0.125, rtol=1e-6)


def test_steps_too_long_make_energy_and_collapse():
    fault = {"timestep": 6, "kind": "courant"}
    right = list(AmrBlast(**QUICK).run(14))
    wrong = list(AmrBlast(inject=fault, on_nan="yield", **QUICK).run(14))
    assert [step.injected for step in wrong] == [""] * 5 + ["courant"] * 9
    assert right[4].identical(wrong[4])
    energy = [totals(step)["e_tot"] for step in wrong]
    assert energy[4] == pytest.approx(energy[0], rel=1e-12)
    assert energy[-1] > 1.02 * energy[0]
    assert wrong[-1].dt < 0.1 * right[-1].dt
    assert wrong[-1].rho.min() < 0.3 * right[-1].rho.min()
    assert totals(right[-1])["e_tot"] == pytest.approx(energy[0], rel=1e-12)


@pytest.mark.parametrize(("kind", "what"), [("courant", "energy"), ("nonphysical", "rho")])
def test_use_case_of_dyablo_finds_the_fault_and_nothing_else(kind, what):
    fault = {"timestep": 22, "kind": kind}
    with open_stream("amr-blast", inject=fault, **QUICK) as stream:
        assert dyablo.USE_CASE.recognise(stream)
        represented = RepresentedStream(stream, dyablo.USE_CASE.represent)
        detector = dyablo.USE_CASE.detector(represented)
        steps = itertools.islice(represented, 30)
        alarms = [detector.observe(step).alarms for step in steps]
    assert not any(alarms[:21])
    assert what in {alarm.variable for found in alarms[21:] for alarm in found}


@pytest.mark.parametrize("kind", ["nan", "nonphysical", "spike"])
def test_patch_of_the_output(kind):
    right = list(AmrBlast(**QUICK).run(4))
    wrong = list(AmrBlast(inject=BlastInjection(3, kind), **QUICK).run(4))
    assert right[3].identical(wrong[3])
    first, last = wrong[2].injected_patch[:2]
    differs = (wrong[2].rho != right[2].rho).any(("y", "x")).values
    assert np.array_equal(np.flatnonzero(differs), np.arange(first, last))
    assert wrong[2].rho_vx.identical(right[2].rho_vx.assign_attrs(wrong[2].rho_vx.attrs))


def test_fault_in_the_state_goes_on():
    fault = {"timestep": 2, "kind": "spike", "into": "state"}
    *_, right = AmrBlast(**QUICK).run(3)
    *_, wrong = AmrBlast(inject=fault, **QUICK).run(3)
    assert totals(wrong)["rho"] > 1.001 * totals(right)["rho"]


def test_values_that_are_not_finite():
    fault = {"timestep": 2, "kind": "nan", "into": "state"}
    blast = AmrBlast(inject=fault, **QUICK)
    blast.run(1)
    for _ in range(2):
        blast.advance()
    time = blast.time
    with pytest.raises(FloatingPointError, match="frame 3"):
        blast.advance()
    assert (blast.timestep, blast.time) == (2, time)
    *_, step = AmrBlast(inject=fault, on_nan="yield", **QUICK).run(4)
    assert np.isnan(step.rho).any()
    assert np.isfinite(step.time)


def test_stream_gives_the_same_steps_each_time():
    with open_stream("amr-blast", **QUICK) as stream:
        assert stream.variables == ("rho", "rho_vx", "rho_vy", "e_tot")
        first, _, third = (step for step, _ in zip(stream, range(3), strict=False))
        again = next(stream.read(2))
    assert third.identical(again)
    assert first.rho.dims == ("oct", "y", "x")
    assert int(first.iteration) == 10


def test_three_dimensions():
    step = AmrBlast(**SOLID).advance()
    assert step.rho.dims == ("oct", "z", "y", "x")
    assert list(step.data_vars) == ["rho", "rho_vx", "rho_vy", "rho_vz", "e_tot"]
    assert list(step.axis.values) == ["x", "y", "z"]
    swapped = Octree.from_patches(step).to_uniform(5)
    turned = swapped["rho_vx"].values.transpose(0, 2, 1)  # the blast is the same along all axes
    np.testing.assert_allclose(turned, swapped["rho_vy"].values, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ndim": 1}, "ndim"),
        ({"block": 7}, "even"),
        ({"block": 2}, "block"),
        ({"max_level": 1}, "max_level"),
        ({"gamma": 1.0}, "gamma"),
        ({"energy": -1.0}, "energy"),
        ({"radius": 1e-4}, "radius"),
        ({"coarsen_below": 0.2}, "coarsen_below"),
        ({"pressure": 1e-9}, "floor"),
        ({"on_nan": "ignore"}, "on_nan"),
        ({"inject": {"timestep": 1, "kind": "slow"}}, "courant"),
        ({"inject": {"timestep": 1, "kind": "nan", "field": "v"}}, "field"),
        ({"inject": {"timestep": 1, "kind": "nan", "patch": (0, 1)}}, "blocks come and go"),
    ],
)
def test_arguments_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        AmrBlast(**options)

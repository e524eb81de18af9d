"""The simulation on several ranks: the numbers of one process, whatever happens."""

import dataclasses

import numpy as np
import pytest

from dask_exa.datasets import Gaussian, Tokam2D, Tokam2DParameters, Tokam2DState, Wave
from dask_exa.insitu._layout import arrange, read_chunk
from dask_exa.insitu.communicator import run_ranks

MODELS = {"sol": Tokam2D.sol, "hw": Tokam2D.hw, "mhw": Tokam2D.mhw}
FIELDS = ("density", "potential")
SMALL = {"shape": (32, 26), "length": (20.0, 15.0)}  # 32 rows and 14 columns of modes

# Strong turbulence, so that the exchanges of the products count, and every term of the models.
TURBULENT = {
    **SMALL,
    "seed": 2,
    "time_step": 0.02,
    "rk4_steps_per_frame": 10,
    "density_noise": 2.0,
    "potential_noise": 4.0,
    "curvature": 0.3,
    "density_diffusion": 0.02,
    "potential_diffusion": 0.03,
    "sources": (Gaussian(0.1, 0.2, center=(3.3, 7.7), width=(0.4, 0.5)), Gaussian(0.3)),
    "uniform_source": 0.4,
    "initial_waves": (Wave((2, 3), 0.5, 0.7),),
    "initial_gaussians": (Gaussian(0.4, 0.2, center=(9.0, 2.0), width=(1.0, 2.0)),),
}
DIVERGING = {"shape": (32, 32), "length": 8.0, "time_step": 60.0, "check_stability": False}


def assert_is_part_of(slab, frame, tolerance=1e-12):
    """Assert that a rank's frame has the values of these rows of the frame of the whole box."""
    rows = frame.sel(y=slab.y)
    for name in FIELDS:
        error = np.abs(slab[name].values - rows[name].values).max()
        assert error <= tolerance * np.abs(frame[name].values).max()
    assert slab.attrs == frame.attrs
    for coord in ("x", "time", "timestep", "dt"):
        assert slab[coord].identical(frame[coord])


def assert_equals_one_process(comm, start, n_frames, tolerance=1e-12, **options):
    whole, slab = start(**options), start(**options, comm=comm)
    assert_is_part_of(slab.fields, whole.fields)
    for frame, part in zip(whole.run(n_frames), slab.run(n_frames), strict=True):
        assert_is_part_of(part, frame, tolerance)
    return slab


def all_models(comm):
    """Compare all models; also run under mpiexec."""
    for start in MODELS.values():
        assert_equals_one_process(comm, start, 4, **TURBULENT)


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("model", MODELS)
def test_frames_are_those_of_one_process(model, n_ranks):
    def run(comm):
        slab = assert_equals_one_process(comm, MODELS[model], 4, **TURBULENT)
        return slab.fields.y.values, slab.arrays

    positions, declared = zip(*run_ranks(n_ranks, run), strict=True)
    whole = MODELS[model](**TURBULENT)
    np.testing.assert_array_equal(np.concatenate(positions), whole.fields.y)
    np.testing.assert_array_equal(whole.coords["y"], whole.fields.y)
    chunks = [{name: read_chunk(name, row[name]) for name in row} for row in declared]
    layout = arrange(chunks)["potential"]
    assert layout.shape == SMALL["shape"]
    assert layout.dims == ("y", "x")
    assert layout.chunks[0] == tuple(len(y) for y in positions)
    assert layout.attrs == {"units": "T_e/e"}


@pytest.mark.mpi
@pytest.mark.slow
def test_frames_are_the_same_on_mpi_ranks(mpiexec):
    program = """
from mpi4py import MPI
from tests.datasets.test_tokam2d_ranks import all_models
all_models(MPI.COMM_WORLD)
"""
    mpiexec(4, "-c", program)


def test_the_upper_limit_of_ranks_is_one_line_each():
    def run(comm):
        options = {**TURBULENT, "shape": (8, 30), "rk4_steps_per_frame": 2}
        assert assert_equals_one_process(comm, Tokam2D.sol, 2, **options).chunk_shape == (1, 30)
        with pytest.raises(
            ValueError, match=r"comm has 8 ranks but .* 5 columns of modes.* 5 rank"
        ):
            Tokam2D.sol(**TURBULENT | {"shape": (8, 8)}, comm=comm)

    run_ranks(8, run)


def test_a_rank_holds_its_share_only():
    def held(simulation):
        owners = [simulation, simulation._equations, simulation._grid]
        arrays = [value for owner in owners for value in vars(owner).values()]
        return sum(value.nbytes for value in arrays if isinstance(value, np.ndarray))

    whole = held(Tokam2D.sol(shape=(64, 62)))
    shares = run_ranks(4, lambda comm: held(Tokam2D.sol(shape=(64, 62), comm=comm)))
    np.testing.assert_allclose(shares, whole / 4, rtol=0.02)


@pytest.mark.parametrize("kind", ["nan", "nonphysical", "spike"])
@pytest.mark.parametrize("patch", [(6, 20, 3, 9), (0, 1, 0, 26), None])
def test_injection_into_a_patch_that_spans_slabs(kind, patch):
    inject = {"timestep": 2, "kind": kind, "patch": patch}

    def run(comm):
        whole = list(Tokam2D.sol(**TURBULENT, inject=inject).run(3))
        parts = list(Tokam2D.sol(**TURBULENT, inject=inject, comm=comm).run(3))
        assert parts[1].attrs["injected"] == kind
        for part, frame in zip(parts, whole, strict=True):
            wrong = np.isnan(frame.sel(y=part.y).density)
            np.testing.assert_array_equal(np.isnan(part.density), wrong)
            assert_is_part_of(part.fillna(0.0), frame.fillna(0.0))
        return int(np.isnan(parts[1].density).sum())

    n_wrong = sum(run_ranks(4, run))
    n_points = 14 * 6 if patch == (6, 20, 3, 9) else (26 if patch else 4 * 3)
    assert n_wrong == (n_points if kind == "nan" else 0)


def test_injection_into_the_state_is_carried_on():
    inject = {"timestep": 1, "kind": "spike", "field": "potential", "into": "state"}
    run_ranks(3, lambda comm: assert_equals_one_process(
        comm, Tokam2D.hw, 3, **TURBULENT, inject={**inject, "patch": (8, 14, 0, 4)}
    ))  # fmt: skip


def test_a_patch_outside_of_the_box_is_refused_on_all_ranks():
    inject = {"timestep": 1, "kind": "nan", "patch": (30, 33, 0, 4)}

    def run(comm):
        with pytest.raises(ValueError, match=r"patch=\(30, 33, 0, 4\) lies outside .*\(32, 26\)"):
            Tokam2D.sol(**SMALL, inject=inject, comm=comm)

    run_ranks(4, run)


def test_all_ranks_find_that_the_run_diverges_at_the_same_step():
    def last(**options):
        simulation = Tokam2D.sol(**DIVERGING, rk4_steps_per_frame=2, **options)
        with pytest.raises(FloatingPointError, match="not finite") as error:
            list(simulation.run(1000))
        return str(error.value), simulation.fields

    message, frame = last()
    for found, slab in run_ranks(3, lambda comm: last(comm=comm)):
        assert found == message
        assert_is_part_of(slab, frame, 1e-9)


def test_a_nan_of_one_rank_reaches_all():
    inject = {"timestep": 1, "kind": "nan", "patch": (31, 32, 0, 1), "into": "state"}

    def run(comm):
        simulation = Tokam2D.hw(**SMALL, inject=inject, on_nan="yield", comm=comm)
        first, second, third = simulation.run(3)
        assert np.isnan(second.density).all()
        assert np.isnan(third.potential).all()
        return int(np.isnan(first.density).sum())

    assert run_ranks(4, run) == [0, 0, 0, 1]


def test_an_unstable_time_step_is_refused_on_all_ranks():
    stiff = {"shape": (16, 16), "length": 64.0, "time_step": 0.03}

    def run(comm):
        with pytest.raises(ValueError, match=r"kx=0, ky=0\.0982 has the rate 105"):
            Tokam2D.hw(**stiff, comm=comm)

    run_ranks(4, run)


def test_resumes_on_as_many_ranks_with_the_same_bits(tmp_path):
    def run(comm):
        path = tmp_path / f"rank-{comm.Get_rank()}"
        simulation = Tokam2D.mhw(**TURBULENT, comm=comm)
        simulation.advance()
        simulation.state.save(path)
        resumed = Tokam2D(Tokam2DState.load(path), comm=comm)
        assert all(map(lambda a, b: a.identical(b), simulation.run(2), resumed.run(2)))
        other = tmp_path / f"rank-{(comm.Get_rank() + 1) % 3}"
        comm.barrier()
        with pytest.raises(ValueError, match="pass the state that was saved by the same rank"):
            Tokam2D(Tokam2DState.load(other), comm=comm)

    run_ranks(3, run)


def test_the_state_of_one_process_goes_on_on_ranks():
    start = Tokam2D.sol(**TURBULENT)
    start.advance()
    state, frame = start.state, start.fields
    expected = start.advance()

    def run(comm):
        assert_is_part_of(Tokam2D(state, comm=comm).advance(), expected)
        whole = Tokam2D.from_fields(frame, state.parameters, comm=comm)
        assert_is_part_of(whole.advance(), expected, 1e-10)
        rows = Tokam2D.from_fields(whole.fields, state.parameters, comm=comm)
        assert_is_part_of(rows.fields, expected, 1e-10)
        broken = frame.copy(deep=True)
        broken.density[-1] = np.nan
        theirs = r"rank 2: density has values that are not finite"
        message = theirs.removeprefix("rank 2: ") if comm.Get_rank() == 2 else theirs
        with pytest.raises(ValueError, match=f"^{message}"):  # its rows are those of rank 2
            Tokam2D.from_fields(broken, state.parameters, comm=comm)

    run_ranks(3, run)


def test_a_wrong_state_of_one_rank_is_known_to_all():
    states = run_ranks(3, lambda comm: Tokam2D.hw(**SMALL, comm=comm).state)

    def run(comm):
        rank = comm.Get_rank()
        message = "state has the columns 0 to 5 of the spectrum and this rank needs 5 to 10"
        with pytest.raises(ValueError, match=message if rank == 1 else f"rank 1: {message}"):
            Tokam2D(states[0 if rank == 1 else rank], comm=comm)

    run_ranks(3, run)


def test_bridges_get_whole_coordinates_units_and_the_time_step():
    whole = Tokam2D.sol(**SMALL)
    (coords, *_) = run_ranks(3, lambda comm: Tokam2D.sol(**SMALL, comm=comm).coords)
    assert list(coords) == ["y", "x", "time", "dt"]
    for name, coordinate in coords.items():
        assert coordinate.variable.identical(whole.fields[name].variable)


def test_old_checkpoints_have_the_whole_box(tmp_path):
    parameters = Tokam2DParameters(**SMALL)
    state = Tokam2D.from_parameters(parameters).state
    archive = {"parameters": "{}", "spectrum": state.spectrum, "timestep": 3, "start_time": 1.0}
    np.savez(tmp_path / "old.npz", **archive)
    loaded = Tokam2DState.load(tmp_path / "old.npz")
    assert loaded.first_column == 0
    assert loaded.timestep == 3
    renamed = dataclasses.replace(loaded, parameters=parameters)
    assert Tokam2D(renamed).timestep == 3

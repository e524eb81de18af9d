"""Moments, marginals and invariants: against the oracle, in slabs, and lazily."""

import itertools
import subprocess
import sys

import dask
import numpy as np
import pytest
import xarray as xr

from dask_exa.datasets import Vlasov
from dask_exa.inputs.velocity_space import (
    PhaseSpace,
    PhaseSpaceSummary,
    TensorProjection,
    marginal,
    reducing,
    summarize,
)
from dask_exa.kernels.phase_space import reduce_phase_space
from tests.naive._phase_space import fluid_moments

SIZES = {"tor1": 5, "tor2": 4, "tor3": 3, "vpar": 6, "mu": 4}


def distribution(dims=tuple(SIZES), dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    mesh = {
        "tor1": np.linspace(0.5, 1.5, 5),
        "tor2": np.arange(4) * 0.3,
        "tor3": np.array([0.0, 0.1, 0.4]),
        "vpar": np.array([-3.0, -1.5, -0.5, 0.5, 2.0, 3.0]),
        "mu": np.array([0.0, 0.5, 1.5, 3.0]),
    }
    f = random.normal(1.0, 0.8, size=tuple(SIZES.values())).astype(dtype)
    return xr.DataArray(f, mesh, tuple(SIZES)).transpose(*dims)


def weights(mesh):
    velocity = np.multiply.outer(mesh.weights["vpar"], mesh.weights["mu"])
    space = np.multiply.outer(
        np.multiply.outer(mesh.weights["tor1"], mesh.weights["tor2"]), mesh.weights["tor3"]
    )
    return space, velocity


def assert_same(found, expected, rtol=1e-11):
    ours = found.moments.transpose(*expected.raw.dims[:-1])
    for name in expected.moments:
        np.testing.assert_allclose(ours[name], expected.moments[name], rtol=rtol)
    np.testing.assert_allclose(found.marginal, expected.marginal, rtol=rtol)
    np.testing.assert_allclose(
        np.array(dask.compute(*found.sums)), np.array(expected.sums), rtol=rtol
    )
    if expected.projection is not None:
        np.testing.assert_allclose(found.projection, expected.projection, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments_equal_the_oracle(dtype):
    f = distribution(dtype=dtype)
    moments = summarize(f).moments
    mesh = PhaseSpace.of(f)
    velocities = mesh.velocities().T
    volumes = mesh.volumes(mesh.velocity)
    assert moments.density.dims == ("tor1", "tor2", "tor3")
    for place in itertools.product(range(5), range(4), range(3)):
        values = f.values[place].ravel().astype(float)
        density, mean, temperature, heat_flux = fluid_moments(values, velocities, volumes)
        found = [float(moments[name].values[place]) for name in moments]
        expected = [density, mean[0], temperature, heat_flux[0]]
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-10)


def test_two_components_of_velocity_equal_the_oracle():
    f = Vlasov.two_stream(shape=(4, 4, 16, 12), amplitude=0.3).advance().f
    f = f * (1 + 0.1 * f.vx + 0.05 * f.vy + 0.02 * f.vx * f.vy)
    moments = summarize(f).moments
    mesh = PhaseSpace.of(f)
    velocities, volumes = mesh.velocities().T, mesh.volumes(mesh.velocity)
    density, mean, temperature, heat_flux = fluid_moments(
        f.values[1, 2].ravel(), velocities, volumes
    )
    here = moments.isel(x=1, y=2)
    assert float(here.density) == pytest.approx(density, rel=1e-12)
    assert [float(here.mean_vx), float(here.mean_vy)] == pytest.approx(mean, rel=1e-10)
    assert float(here.temperature) == pytest.approx(temperature, rel=1e-10)
    assert [float(here.heat_flux_vx), float(here.heat_flux_vy)] == pytest.approx(
        heat_flux, rel=1e-9
    )


def test_moments_of_a_drifting_maxwellian():
    vpar, mu = np.linspace(-8, 8, 161), np.linspace(0, 20, 401)
    n, u, T = 1.7, 0.6, 1.3
    f = n / np.sqrt(2 * np.pi * T) * np.exp(-((vpar - u) ** 2) / (2 * T))[:, None] * np.exp(-mu)
    step = xr.DataArray(f[None], {"vpar": vpar, "mu": mu}, ("x", "vpar", "mu"))
    moments = summarize(step).moments.isel(x=0)
    assert float(moments.density) == pytest.approx(n, rel=3e-4)  # the trapezoidal rule along mu
    assert float(moments.mean_vpar) == pytest.approx(u, rel=1e-8)
    assert float(moments.temperature) == pytest.approx(T, rel=1e-7)
    assert float(moments.heat_flux_vpar) == pytest.approx(0, abs=1e-6)


def test_invariants_are_sums_over_phase_space():
    f = distribution()
    space, velocity = weights(PhaseSpace.of(f))
    volume = space[..., None, None] * velocity
    summary = summarize(f)
    named = {name: float(value) for name, value in summary.invariants.items()}
    values = f.values
    energy = np.sum(volume * values * f.vpar.values[:, None] ** 2) / 2
    assert named == pytest.approx(
        {
            "particles": np.sum(volume * values),
            "l1f": np.sum(volume * np.abs(values)),
            "l2f": np.sqrt(np.sum(volume * values**2)),
            "negative_share": -np.sum((volume * values)[values < 0]) / np.sum(volume * values),
            "max_f": values.max(),
            "min_f": values.min(),
            "kinetic_energy": energy,
        },
        rel=1e-12,
    )
    exact = np.einsum("abcvm,abc->vm", values, space)
    np.testing.assert_allclose(summary.marginal, exact, rtol=1e-12)


@pytest.mark.parametrize("keep", [[], ["vpar"], ["tor2", "mu"], ["mu", "tor1"], list(SIZES)])
@pytest.mark.parametrize("chunks", [None, {"tor1": 2, "vpar": 4}])
def test_marginals(keep, chunks):
    f = distribution()
    space, velocity = weights(PhaseSpace.of(f))
    axes = dict(zip(SIZES, "abcvm", strict=True))
    volume = space[..., None, None] * velocity
    for dim in keep:  # what is kept is not summed over
        volume = volume / PhaseSpace.of(f).weights[dim].reshape(
            [-1 if other == dim else 1 for other in SIZES]
        )
    exact = np.einsum(f"abcvm->{''.join(axes[dim] for dim in keep)}", f.values * volume)
    found = marginal(f if chunks is None else f.chunk(chunks), keep)
    assert found.dims == tuple(keep)
    np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.parametrize("dims", [tuple(SIZES), ("vpar", "tor3", "mu", "tor1", "tor2")])
@pytest.mark.parametrize(
    "chunks", [{}, {"tor1": 2}, {"tor1": 2, "vpar": 4}, {"tor2": 3, "vpar": 2, "mu": 3}, "all"]
)
def test_any_chunks_give_the_same(dims, chunks):
    f = distribution(dims)
    projection = TensorProjection({"tor1": 3}, seed=5).fit(distribution().expand_dims("time"))
    expected = summarize(distribution(), projection=projection)
    lazy = f.chunk(dict.fromkeys(SIZES, 3) if chunks == "all" else chunks)
    found = summarize(lazy, projection=projection)
    assert dask.is_dask_collection(found.raw.data)
    assert dask.is_dask_collection(found.projection)
    assert_same(found, expected)


def test_projection_is_that_of_the_transformer():
    f = distribution()
    projection = TensorProjection({"vpar": 3}, seed=2).fit(f.expand_dims("time"))
    expected = projection.transform(f.expand_dims("time")).values[0]
    np.testing.assert_allclose(summarize(f, projection=projection).projection, expected)


@pytest.mark.parametrize(
    "splits",
    [{"tor1": (2,)}, {"tor1": (1, 3), "tor3": (2,)}, {"vpar": (4,)}, {"tor2": (1,), "mu": (2,)}],
)
def test_slabs_add_to_the_whole(splits):
    f = distribution()
    mesh = PhaseSpace.of(f)
    projection = TensorProjection().fit(f.expand_dims("time"))
    ranges = [
        list(itertools.pairwise((0, *splits.get(dim, ()), size))) for dim, size in SIZES.items()
    ]
    parts = []
    for bounds in itertools.product(*ranges):
        slab = dict(zip(SIZES, bounds, strict=True))
        start = {dim: first for dim, (first, _) in slab.items()}
        part = f.isel({dim: slice(*edges) for dim, edges in slab.items()})
        parts.append(summarize(part, mesh, projection=projection, start=start))
    assert_same(PhaseSpaceSummary.merge(parts), summarize(f, projection=projection))


def test_every_chunk_is_reduced_once(monkeypatch):
    f = distribution().chunk({"tor1": 1})
    shapes = []

    def count(values, *rest):
        shapes.append(values.shape)
        return reduce_phase_space(values, *rest)

    monkeypatch.setattr(reducing, "reduce_phase_space", count)
    summary = summarize(f)
    dask.compute(summary.moments, summary.marginal, summary.invariants, scheduler="synchronous")
    assert shapes == [(12, 24)] * 5


def test_both_kinds_of_dask_arrays_give_the_same():
    program = (
        "import dask; dask.config.set({'array.query-planning': True})\n"
        "import numpy as np, xarray as xr\n"
        "from dask_exa.inputs.velocity_space import TensorProjection, marginal, summarize\n"
        "f = xr.DataArray(np.random.default_rng(0).random((2, 5, 4)), dims=('time', 'x', 'vx'))\n"
        "projection = TensorProjection().fit(f)\n"
        "lazy = f.chunk({'x': 2, 'vx': 3})\n"
        "assert type(lazy.data).__module__.startswith('dask.array._array_expr')\n"
        "eager, found = (summarize(g[1], projection=projection) for g in (f, lazy))\n"
        "same = np.testing.assert_allclose\n"
        "same(found.moments.compute().temperature, eager.moments.temperature)\n"
        "same(found.invariants.compute().l2f, eager.invariants.l2f)\n"
        "same(found.projection.compute(), eager.projection)\n"
        "same(projection.transform(lazy).compute(), projection.transform(f))\n"
        "same(marginal(lazy[0], ['x']).compute(), marginal(f[0], ['x']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_workers_in_other_processes_give_the_same(client):
    f = distribution()
    projection = TensorProjection().fit(f.expand_dims("time"))
    found = summarize(f.chunk({"tor1": 2, "vpar": 4}), projection=projection)
    assert_same(found, summarize(f, projection=projection))


def test_radius_and_given_weights_are_the_jacobian():
    r = np.linspace(1.0, 3.0, 201)
    f = xr.DataArray(np.ones((201, 3)), {"r": r, "vpar": [-1.0, 0.0, 1.0]}, ("r", "vpar"))
    assert summarize(f).sums.particles == pytest.approx(2 * (9 - 1) / 2, rel=0.01)
    mesh = PhaseSpace.of(f, weights={"r": np.full(201, 1 / 201), "vpar": [1.0, 1.0, 1.0]})
    assert summarize(f, mesh).sums.particles == pytest.approx(3.0)


def test_without_coordinates_points_are_one_apart():
    f = xr.DataArray(np.ones((2, 3)), dims=("x", "vx"))
    mesh = PhaseSpace.of(f)
    assert mesh.points["vx"].tolist() == [-1, 0, 1]
    assert summarize(f).sums.particles == 2 * 2.0


def test_what_is_not_finite_shows():
    f = distribution()
    f[2, 1, 0, 3, 2] = np.nan
    summary = summarize(f)
    assert np.argwhere(np.isnan(summary.moments.density.values)).tolist() == [[2, 1, 0]]
    assert np.isnan(float(summary.invariants.particles))


def test_no_particles_give_no_mean():
    f = xr.DataArray(np.zeros((2, 3)), dims=("x", "vx"))
    f[1] = 1.0
    moments = summarize(f).moments
    assert moments.density.values.tolist() == [0.0, 2.0]
    assert np.isnan(moments.temperature.values).tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: PhaseSpace.of(f, ["vperp"]), "velocity="),
        (lambda f: PhaseSpace.of(f.rename(vpar="a", mu="b")), "one velocity or more"),
        (lambda f: PhaseSpace.of(f, weights={"mu": np.zeros(4)}), "not all zero"),
        (lambda f: PhaseSpace.of(f, weights={"mu": np.ones(3)}), "one weight a point"),
        (lambda f: PhaseSpace.of(f, weights={"mu": [1, np.nan, 1, 1]}), "finite"),
        (lambda f: PhaseSpace.of(f.assign_coords(mu=[0, 1, np.inf, 2])), "not finite"),
        (lambda f: summarize(f[:3], PhaseSpace.of(f), start={"tor1": 3}), "'tor1'"),
        (lambda f: summarize(f[0], PhaseSpace.of(f)), "its mesh"),
        (lambda f: marginal(f, ["phi"]), "keep="),
        (lambda f: summarize(f[:0]), "no points along \\['tor1'\\]"),
    ],
)
def test_what_does_not_fit_is_told(change, message):
    with pytest.raises(ValueError, match=message):
        change(distribution())


def test_complex_values_are_refused():
    with pytest.raises(TypeError, match="complex"):
        summarize(distribution().astype(complex))

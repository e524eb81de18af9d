"""The polycrystal: laminates in closed form, balance, compatibility, slip, and what goes wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_exa.datasets import Crystal, CrystalInjection, CrystalParameters
from dask_exa.datasets._crystal_grains import (
    cubic_stiffness,
    from_mandel,
    random_rotations,
    to_mandel,
    voronoi_grains,
)
from dask_exa.datasets._crystal_slip import Material, SlippingCrystal
from dask_exa.datasets._equilibrium import CompatibleStrains
from dask_exa.inputs import open_stream

ELASTIC = {"slip_resistance": np.inf}
TOUGH = (300e3, 100e3, 60e3)
ACROSS, ALONG = [0, 4, 5], [1, 2, 3]  # xx, xz, xy and yy, zz, yz of a six-vector


def effective_stiffness(crystal_class_options):
    """Effective stiffness (6, 6) that a crystal shows, from the mean stress of six loads."""
    columns = []
    for unit in np.eye(6):
        options = {"tolerance": 1e-10, "strain_increment": 1e-3, **crystal_class_options}
        step = Crystal(direction=from_mandel(unit), **options).advance()
        columns.append(to_mandel(np.reshape(step.attrs["mean_stress"], (3, 3))) / 1e-3)
    return np.stack(columns, axis=1)


def laminate_stiffness(layers, shares):
    """Closed form for layers normal to x: strains along and stresses across them are equal."""

    def mean(parts):
        return sum(share * part for share, part in zip(shares, parts, strict=True))

    soft = [np.linalg.inv(c[np.ix_(ACROSS, ACROSS)]) for c in layers]
    mixed = [s @ c[np.ix_(ACROSS, ALONG)] for s, c in zip(soft, layers, strict=True)]
    across = np.linalg.inv(mean(soft))
    within = [
        c[np.ix_(ALONG, ALONG)] - c[np.ix_(ALONG, ACROSS)] @ m
        for c, m in zip(layers, mixed, strict=True)
    ]
    result = np.zeros((6, 6))
    result[np.ix_(ACROSS, ACROSS)] = across
    result[np.ix_(ACROSS, ALONG)] = across @ mean(mixed)
    result[np.ix_(ALONG, ACROSS)] = (across @ mean(mixed)).T
    result[np.ix_(ALONG, ALONG)] = mean(within) + mean(mixed).T @ across @ mean(mixed)
    return result


def test_laminate_of_anisotropic_layers():
    rotations = random_rotations(2, seed=5)
    grain = np.zeros((9, 3, 3), dtype=int)
    grain[4:] = 1
    stiffness = np.array([(168.4e3, 121.4e3, 75.4e3), TOUGH])
    options = {"shape": grain.shape, "n_grains": 2, "stiffness": stiffness, **ELASTIC}
    found = effective_stiffness({"grain": grain, "rotations": rotations, **options})
    expected = laminate_stiffness(cubic_stiffness(stiffness, rotations), (4 / 9, 5 / 9))
    np.testing.assert_allclose(found, expected, atol=1e-8 * expected.max())


def test_laminate_of_isotropic_layers_has_the_moduli_of_backus():
    lames, shears, shares = np.array([60e3, 20e3]), np.array([30e3, 5e3]), np.array([0.4, 0.6])
    stiffness = np.stack([lames + 2 * shears, lames, shears], axis=1)
    grain = np.repeat([0, 0, 1, 1, 1], 9).reshape(5, 3, 3)
    options = {"shape": grain.shape, "n_grains": 2, "stiffness": stiffness, **ELASTIC}
    found = effective_stiffness({"grain": grain, **options})
    p_wave = lames + 2 * shears
    stiff = 1 / np.sum(shares / p_wave)
    assert found[0, 0] == pytest.approx(stiff)
    assert found[5, 5] / 2 == pytest.approx(1 / np.sum(shares / shears))
    assert found[3, 3] / 2 == pytest.approx(np.sum(shares * shears))
    assert found[0, 1] == pytest.approx(stiff * np.sum(shares * lames / p_wave))


@pytest.fixture(scope="module")
def loaded():
    """Ten increments of a polycrystal, well into plastic flow."""
    return list(Crystal(shape=(9, 9, 9), n_grains=6, seed=2).run(10))


def wave_vectors(shape):
    modes = np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in shape], indexing="ij")
    return np.stack(modes, axis=-1)


def test_forces_balance_and_strains_have_the_mean_that_is_applied(loaded):
    k = wave_vectors((9, 9, 9))
    for n, step in enumerate(loaded, start=1):
        spectrum = np.fft.fftn(step.stress.values, axes=(0, 1, 2))
        left = np.linalg.norm(np.einsum("xyzij,xyzj->xyzi", spectrum, k))
        every = np.linalg.norm(spectrum * np.linalg.norm(k, axis=-1)[..., None, None])
        assert left / every == pytest.approx(step.attrs["imbalance"], rel=1e-6)
        assert left / every < 1e-5
        applied = 5e-4 * n * np.diag([1, -0.5, -0.5])
        np.testing.assert_allclose(step.strain.mean(("x", "y", "z")), applied, atol=1e-15)
        mean = step.stress.mean(("x", "y", "z")).values.ravel()
        np.testing.assert_allclose(step.attrs["mean_stress"], mean)


def test_strains_are_compatible(loaded):
    """A symmetric field is a strain when k x (k x field)^T vanishes: Saint-Venant."""
    k = wave_vectors((9, 9, 9))
    spectrum = np.fft.fftn(loaded[-1].strain.values, axes=(0, 1, 2))
    cross = np.zeros((*k.shape[:-1], 3, 3))
    for i, j, m, sign in ((0, 1, 2, 1), (1, 2, 0, 1), (2, 0, 1, 1)):
        cross[..., i, m], cross[..., m, i] = sign * k[..., j], -sign * k[..., j]
    gap = cross @ spectrum @ np.swapaxes(cross, -1, -2)
    assert np.linalg.norm(gap) < 1e-12 * np.linalg.norm(spectrum) * np.sum(k**2, axis=-1).max()


def test_plastic_flow_is_softer_than_elastic_and_hardens(loaded):
    axial = [step.attrs["mean_stress"][0] - step.attrs["mean_stress"][4] for step in loaded]
    assert 0 < axial[-1] - axial[-2] < 0.05 * axial[0]
    assert np.all(np.diff(axial) > 0)
    slip = [float(step.slip.mean()) for step in loaded]
    assert np.all(np.diff(slip) > 0)
    # Taylor factors of face-centred cubic polycrystals lie near 3.07; the strain is 1 a unit
    assert (slip[-1] - slip[-2]) / 5e-4 == pytest.approx(2.7, abs=0.5)


def test_elastic_polycrystal_lies_between_the_bounds_of_voigt_and_reuss():
    options = {"shape": (9, 9, 9), "n_grains": 6, "seed": 1, **ELASTIC}
    found = effective_stiffness(options)
    crystal = Crystal(**options)
    cells = cubic_stiffness(crystal.parameters.stiffness, crystal.rotations)[crystal.grain.ravel()]
    voigt, reuss = cells.mean(axis=0), np.linalg.inv(np.linalg.inv(cells).mean(axis=0))
    np.testing.assert_allclose(found, found.T, rtol=1e-6, atol=1.0)
    for above, below in ((voigt, found), (found, reuss)):
        lowest, *others = np.linalg.eigvalsh(above - below)
        # all grains of one material have the same bulk modulus, which nothing can change
        assert abs(lowest) < 1e-6
        assert min(others) > 100


def test_single_crystal_flows_at_the_stress_of_its_eight_systems():
    """Tension along [100]: Schmid factor 1 / sqrt(6) on eight systems of twelve."""
    crystal = Crystal(
        shape=(2, 2),
        n_grains=1,
        rotations=np.eye(3)[None],
        hardening=1e-9,
        strain_increment=1e-3,
        strain_amplitude=1.0,
    )
    *_, step = crystal.run(12)
    rate = 1e-3 * np.sqrt(6) / 8
    shear = 16.0 * (rate / 1e-3) ** (1 / 20)
    stress = step.stress.values
    assert stress[0, 0, 0, 0] - stress[0, 0, 1, 1] == pytest.approx(np.sqrt(6) * shear, rel=1e-6)
    np.testing.assert_allclose(stress, stress[0, 0] * np.ones((2, 2, 1, 1)))


def test_tangent_is_the_derivative_of_the_stress():
    material = Material((168.4e3, 121.4e3, 75.4e3), 16.0, 148.0, 180.0, 1e-3, 20.0)
    crystal = SlippingCrystal(material, np.arange(3), random_rotations(3, seed=0))
    memory = crystal.rest()
    strain = np.random.default_rng(0).normal(scale=1e-3, size=(3, 6))
    _, tangent = crystal.respond(strain, memory, 0.5)
    step = 1e-7
    for i, unit in enumerate(np.eye(6)):
        ahead, _ = crystal.respond(strain + step * unit, memory, 0.5)
        behind, _ = crystal.respond(strain - step * unit, memory, 0.5)
        slope = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(slope, tangent[:, :, i], rtol=1e-3, atol=1.0)
    np.testing.assert_allclose(tangent, np.swapaxes(tangent, 1, 2), rtol=1e-9, atol=1e-6)


@given(seed=st.integers(0, 1000), shape=st.sampled_from([(5, 3), (4, 5, 3), (6, 4), (3, 2, 4)]))
@settings(max_examples=20)
def test_projection_is_orthogonal(seed, shape):
    space = CompatibleStrains(shape)
    first, second = np.random.default_rng(seed).normal(size=(2, 6, *shape))
    once = space.project(first)
    np.testing.assert_allclose(space.project(once), once, atol=1e-12)
    assert np.vdot(second, once) == pytest.approx(np.vdot(space.project(second), first))
    np.testing.assert_allclose(once.mean(axis=tuple(range(1, once.ndim))), 0, atol=1e-14)


def test_voronoi_cells_are_periodic_and_those_of_the_nearest_point():
    grain = voronoi_grains((6, 5), 4, seed=3)
    centers = np.random.default_rng([3, 0]).random((4, 2))
    for at in np.ndindex(grain.shape):
        away = np.abs((np.array(at) + 0.5) / (6, 5) - centers)
        away = np.minimum(away, 1 - away)
        assert grain[at] == np.argmin(np.sum(away**2, axis=1))


def test_load_goes_to_and_fro_and_columnar_grains_work():
    crystal = Crystal(shape=(10, 9), n_grains=3, strain_amplitude=1e-3, seed=4)
    steps = list(crystal.run(6))
    assert steps[0].stress.dims == ("x", "y", "i", "j")
    axial = [step.attrs["mean_strain"][0] for step in steps]
    np.testing.assert_allclose(axial, [5e-4, 1e-3, 5e-4, 0, -5e-4, -1e-3], atol=1e-15)
    assert all(step.attrs["imbalance"] <= 1e-5 for step in steps)
    assert steps[5].attrs["mean_stress"][0] < 0 < steps[1].attrs["mean_stress"][0]


SMALL = {"shape": (7, 7, 7), "n_grains": 5}


def test_each_injection_has_its_label_and_leaves_the_state_alone():
    faults = [
        {"timestep": 2, "kind": "unconverged", "share": 0.15},
        {"timestep": 3, "kind": "nonsymmetric", "share": 0.1},
        {"timestep": 4, "kind": "orientation"},
        {"timestep": 5, "kind": "spike", "patch": (0, 2, 0, 3, 0, 1)},
    ]
    right = list(Crystal(**SMALL).run(6))
    wrong = list(Crystal(inject=faults, **SMALL).run(6))
    assert [step.injected for step in wrong] == [
        "", "unconverged", "nonsymmetric", "orientation", "spike", "",
    ]  # fmt: skip
    assert right[5].identical(wrong[5])
    assert 0.1 < wrong[1].imbalance <= 0.15
    cells = ("x", "y", "z")
    np.testing.assert_allclose(wrong[1].strain.mean(cells), right[1].strain.mean(cells), atol=1e-15)
    stress = wrong[2].stress.values
    odd = (stress - np.swapaxes(stress, -1, -2)) / 2
    share = np.linalg.norm(odd, axis=(-1, -2)) / np.linalg.norm(right[2].stress, axis=(-1, -2))
    np.testing.assert_allclose(share, 0.1)
    turned = wrong[3].injected_grain
    change = np.abs(wrong[3].stress - right[3].stress).max(("i", "j"))
    inside = float(change.where(change.grain == turned).mean())
    assert wrong[3].imbalance < 1e-5
    assert inside > 2 * float(change.where(change.grain != turned).mean())
    differs = (wrong[4].stress != right[4].stress).any(("i", "j"))
    assert differs.values.sum() == 6
    assert differs[:2, :3, :1].all()
    assert wrong[4].injected_patch == (0, 2, 0, 3, 0, 1)


def test_an_unconverged_increment_stays_in_the_state_if_asked_to():
    fault = {"timestep": 2, "kind": "unconverged", "into": "state"}
    right, wrong = Crystal(**SMALL), Crystal(inject=fault, **SMALL)
    *_, expected = right.run(3)
    *_, found = wrong.run(3)
    assert found.imbalance < 1e-5
    assert not np.allclose(found.slip, expected.slip, rtol=1e-3)


def test_stream_gives_the_same_steps_each_time():
    with open_stream("crystal", **SMALL) as stream:
        assert stream.variables == ("strain", "stress", "slip")
        first, _, third = (step for step, _ in zip(stream, range(3), strict=False))
        again = next(stream.read(2))
    assert third.identical(again)
    assert int(first.timestep) == 1
    assert first.grain.shape == (7, 7, 7)
    assert not Crystal(seed=1, **SMALL).advance().identical(first)


def test_values_that_are_not_finite():
    wild = {"strain_increment": 1e300, "strain_amplitude": 1e301, **SMALL}
    crystal = Crystal(**wild)
    with pytest.raises(FloatingPointError, match="increment 1"):
        crystal.advance()
    assert crystal.timestep == 0
    step = Crystal(on_nan="yield", **wild).advance()
    assert not np.isfinite(step.stress).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (7,)}, "shape"),
        ({"shape": (7, 1)}, "shape"),
        ({"n_grains": 0}, "n_grains"),
        ({"strain_increment": -1.0}, "strain_increment"),
        ({"rate_exponent": 0.5}, "rate_exponent"),
        ({"direction": np.triu(np.ones((3, 3)))}, "symmetric"),
        ({"stiffness": (1.0, 2.0, 1.0)}, "positive definite"),
        ({"stiffness": (1.0, 2.0)}, "shape"),
        ({"grain": np.zeros((3, 3), int)}, "grain has the shape"),
        ({"shape": (3, 3), "grain": np.full((3, 3), 40)}, "n_grains"),
        ({"rotations": np.ones((12, 3, 3))}, "orthogonal"),
        ({"on_nan": "ignore"}, "on_nan"),
        ({"inject": {"timestep": 1, "kind": "worn"}}, "unconverged"),
        ({"inject": {"timestep": 1, "kind": "nan", "into": "state"}}, "into"),
        ({"inject": {"timestep": 1, "kind": "nan", "patch": (0, 99, 0, 1, 0, 1)}}, "patch"),
        ({"inject": {"timestep": 1, "kind": "unconverged", "share": 2.0}}, "share"),
    ],
)
def test_arguments_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        Crystal(**options)


def test_parameters_are_kept():
    assert Crystal(CrystalParameters(shape=(5, 5)), n_grains=2).parameters.n_grains == 2
    assert CrystalInjection(1, "orientation").is_computed

"""The kernels of visibilities: their twins against the oracle, and what is missing or broken."""

import numpy as np
import pytest

from dask_exa._threads import thread_share
from dask_exa.kernels import _visibilities_numba
from dask_exa.kernels.visibilities import Baselines, Fit, expect_coefficients, fit_visibilities
from tests.naive import _visibilities as naive

SHAPES = [(2, 2, 1), (5, 9, 3), (12, 33, 6), (16, 64, 13)]
CAP = 8.0


def _case(n_stations=12, n_channels=33, max_modes=6, n_groups=3):
    rng = np.random.default_rng(n_channels)
    antenna1, antenna2 = (x.astype(np.int32) for x in np.triu_indices(n_stations, 1))
    n_baselines = len(antenna1)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    modes = normal(n_groups, max_modes, n_channels) / np.float32(np.sqrt(n_channels))
    fit = Fit(
        rng.integers(0, n_groups, n_baselines).astype(np.int32),
        rng.integers(1, max_modes + 1, n_groups).astype(np.int32),
        modes,
        modes * np.float32(0.7),
        1 + rng.random((n_groups, n_channels), np.float32),
        rng.random((n_groups, n_channels), np.float32),
    )
    precision = 0.5 + rng.random(n_baselines, np.float32)
    is_sound = rng.random(n_stations) > 0.2
    visibility = 3 * normal(n_baselines, n_channels) + 3j * normal(n_baselines, n_channels)
    prior = normal(n_baselines, max_modes) + 1j * normal(n_baselines, max_modes)
    for b, group in enumerate(fit.group):
        prior[b, fit.n_modes[group] :] = 0
    baselines = Baselines(antenna1, antenna2, precision, is_sound)
    return visibility, prior, fit, baselines, rng.random(n_channels) > 0.3


def _check(case, xp=np, to_numpy=np.asarray):
    visibility, prior, fit, baselines, is_used = case
    expected = naive.fit_visibilities(visibility, prior, fit, baselines, is_used, CAP)
    found = fit_visibilities(
        xp.asarray(visibility), xp.asarray(prior), fit, baselines, is_used, CAP, with_residual=True
    )
    for part, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(to_numpy(part), exact, rtol=3e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_oracle(shape):
    _check(_case(*shape))


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_spoilt", [False, True])
def test_gpu_twin_equals_the_oracle(shape, is_spoilt):
    cupy = pytest.importorskip("cupy")
    case = _case(*shape)
    if is_spoilt:
        _spoil(case[0])
    _check(case, cupy, cupy.asnumpy)


def _spoil(visibility):
    visibility[0, 1] = np.nan
    visibility[-1, 0] = np.inf
    visibility[len(visibility) // 2] = 0


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_what_is_missing_has_no_vote_and_spoils_nothing(shape):
    """NaN, infinity, and a baseline that is all zero."""
    case = _case(*shape)
    _spoil(case[0])
    _check(case)
    found = fit_visibilities(*case, CAP)
    assert found.residual is None
    assert np.isnan(found.largest).sum() == 2 + case[0].shape[1]
    assert np.isfinite(found.coefficients).all()
    assert np.isfinite(found.channels).all()


def test_the_cap_limits_what_one_baseline_can_say():
    visibility, prior, fit, baselines, is_used = _case()
    sound = baselines._replace(is_sound=np.ones(12, bool))
    before = fit_visibilities(visibility, prior, fit, sound, is_used, CAP).channels
    visibility[7] *= 1e6
    after = fit_visibilities(visibility, prior, fit, sound, is_used, CAP).channels
    assert (after[0] - before[0] <= CAP * fit.weight[fit.group[7]] + 1e-3).all()
    np.testing.assert_array_equal(after[1:], before[1:])


def test_parts_of_the_baselines_add_up():
    visibility, prior, fit, baselines, is_used = _case()
    whole = fit_visibilities(visibility, prior, fit, baselines, is_used, CAP)
    sums = []
    for rows in (slice(0, 20), slice(20, 21), slice(21, None)):
        part = fit._replace(group=fit.group[rows])
        pairs = Baselines(*(x[rows] for x in baselines[:3]), baselines.is_sound)
        sums.append(fit_visibilities(visibility[rows], prior[rows], part, pairs, is_used, CAP))
    for name in ("channels", "stations"):
        together = sum(getattr(part, name) for part in sums)
        np.testing.assert_allclose(together, getattr(whole, name), rtol=1e-5)


def test_threads_change_nothing(monkeypatch):
    """To the last bit: which baselines are added together does not depend on the threads."""
    monkeypatch.setattr(_visibilities_numba, "_PART", 200)
    case = _case(*SHAPES[-1])
    found = []
    for n_threads in (1, 2, 3):
        with thread_share(n_threads):
            parts = fit_visibilities(*case, CAP)[:5]
            found.append([part.tobytes() for part in parts])
    assert found[0] == found[1] == found[2]
    _check(case)


def _history():
    rng = np.random.default_rng(3)
    history = rng.standard_normal((4, 9, 5)) + 1j * rng.standard_normal((4, 9, 5))
    weights = rng.standard_normal((2, 4, 3, 5)).astype(np.float32)
    pattern, group = rng.integers(0, 2, 9), rng.integers(0, 3, 9)
    n_modes = np.array([5, 1, 3])
    numbers = (x.astype(np.int32) for x in (pattern, group, n_modes))
    return history.astype(np.complex64), weights, *numbers


def test_expectations_equal_the_oracle():
    case = _history()
    np.testing.assert_allclose(
        expect_coefficients(*case), naive.expect_coefficients(*case), atol=1e-5
    )


@pytest.mark.gpu
def test_gpu_expectations_equal_the_oracle():
    cupy = pytest.importorskip("cupy")
    case = _history()
    found = expect_coefficients(cupy.asarray(case[0]), *case[1:])
    np.testing.assert_allclose(cupy.asnumpy(found), naive.expect_coefficients(*case), atol=1e-5)

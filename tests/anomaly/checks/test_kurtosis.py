"""Principal kurtosis against loops and eigenvectors, and the Hellinger distance."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly import FieldMonitor
from dask_exa.anomaly.checks import PrincipalKurtosis
from dask_exa.anomaly.checks.kurtosis import hellinger, kurtosis_shares
from tests import naive

random = np.random.default_rng(0)


@pytest.mark.parametrize("n_variables", [2, 3, 4])
def test_shares_are_those_of_the_oracle(n_variables):
    samples = random.standard_t(6, size=(n_variables, 500))
    samples[1] += 0.5 * samples[0] ** 2
    np.testing.assert_allclose(kurtosis_shares(samples), naive.kurtosis_shares(samples), rtol=1e-9)
    assert kurtosis_shares(samples).sum() == pytest.approx(1.0)


def test_constant_variables_have_equal_shares():
    np.testing.assert_array_equal(kurtosis_shares(np.ones((2, 9))), [0.5, 0.5])


def test_hellinger_closed_form():
    p, q = np.array([0.36, 0.64]), np.array([0.64, 0.36])
    assert hellinger(p, q) == pytest.approx(np.sqrt(1 - 0.96))
    assert hellinger(p, p) == pytest.approx(0.0, abs=1e-7)


def test_block_with_other_outliers_stands_out():
    def step(i, spikes):
        u, v = random.standard_normal((2, 64, 64))
        u[::7, ::7] *= 8.0
        v[32:, 32:][spikes] = 60.0
        data = {"u": (("y", "x"), u), "v": (("y", "x"), v)}
        return xr.Dataset(data, coords={"timestep": i, "time": float(i)})

    nothing, some = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    some[5, 5] = True
    monitor = FieldMonitor(PrincipalKurtosis(("u", "v")), blocks={"y": 32, "x": 32})
    monitor.observe(step(0, nothing))
    calm = monitor.observe(step(1, nothing)).features
    wild = monitor.observe(step(2, some)).features
    assert wild.argmax(axis=0).tolist() == [3, 3]
    assert wild[3].min() > 2 * calm.max()


@pytest.mark.parametrize("names", [(), ("u",), tuple("abcdefg")])
def test_number_of_variables(names):
    with pytest.raises(ValueError, match="two to six"):
        PrincipalKurtosis(names)

"""Binned spectra: Parseval, plain binning of NumPy's transform, closed forms, laws of merging."""

import pickle

import array_api_strict
import h5py
import numpy as np
import pytest
import scipy.signal
import xarray as xr
from sklearn.base import clone

from dask_exa.preprocessing import SpectralFeatures
from dask_exa.summaries.spectrum import Box, Spectrum, shell_edges, spaced_edges
from dask_exa.testing.contracts import MergeableEstimatorContract
from tests import naive
from tests.preprocessing.films import run_with_query_planning

LENGTHS = {"z": 3.0, "y": 8.0, "x": 5.0}


def film(n_times=6, dtype=np.float64, **sizes):
    """A labelled random film in a box of the given numbers of points."""
    shape = (n_times, *sizes.values())
    values = np.random.default_rng(0).standard_normal(shape) + 2
    coords = {dim: np.arange(n) * LENGTHS[dim] / n for dim, n in sizes.items()}
    coords["time"] = np.arange(n_times) * 0.5
    return xr.DataArray(values.astype(dtype), dims=("time", *sizes), coords=coords, name="density")


def steps_of(field):
    return [LENGTHS[dim] / field.sizes[dim] for dim in field.dims[1:]]


class TestSpectralFeatures(MergeableEstimatorContract):
    def make(self):
        return SpectralFeatures()


class TestLogarithmicBins(MergeableEstimatorContract):
    def make(self):
        return SpectralFeatures(bins=2, spacing="log", include_mean=False, window="hann")


@pytest.mark.parametrize("sizes", [{"x": 1}, {"x": 15}, {"y": 8, "x": 9}, {"z": 4, "y": 5, "x": 6}])
@pytest.mark.parametrize("params", [{}, {"bins": 3}, {"spacing": "log"}, {"direction": "x"}])
def test_powers_add_up_to_the_mean_square(sizes, params):
    X = film(**sizes)
    powers = SpectralFeatures(**params).fit_transform(X)
    assert powers.dims == ("time", "wavenumber")
    squares = (X**2).mean(dim=[*sizes])
    np.testing.assert_allclose(powers.sum("wavenumber"), squares, rtol=1e-12)
    np.testing.assert_array_equal(powers.time, X.time)


@pytest.mark.parametrize("sizes", [{"x": 15}, {"y": 8, "x": 9}, {"z": 4, "y": 5, "x": 6}])
@pytest.mark.parametrize(
    "params",
    [{}, {"bins": 4}, {"bins": 5, "spacing": "log"}, {"direction": "x"}, {"bins": [1, 2.5, 6]}],
)
def test_powers_are_those_of_plain_loops(sizes, params):
    X = film(3, **sizes)
    model = SpectralFeatures(**params).fit(X)
    edges = [model.bin_edges_[1, 0], *model.bin_edges_[1:, 1]]
    edges = [*edges[:-1], edges[-1] * (1 + 1e-8)]
    direction = len(sizes) - 1 if "direction" in params else None
    for found, field in zip(model.transform(X), X, strict=True):
        wanted = naive.binned_spectrum(field.values, steps_of(X), edges, direction=direction)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)


def test_waves_are_found_at_their_wavenumbers():
    X = film(2, y=32, x=24)
    y, x = X.y, X.x
    wave = 3 * np.cos(2 * np.pi * (4 * y / LENGTHS["y"] - 5 * x / LENGTHS["x"]))
    X = X.copy(data=np.broadcast_to(wave, X.shape))
    for params, k in (
        ({}, 2 * np.pi * np.hypot(4 / 8, 5 / 5)),
        ({"direction": "y"}, 2 * np.pi * 4 / 8),
        ({"direction": "x"}, 2 * np.pi * 5 / 5),
    ):
        model = SpectralFeatures(**params).fit(X)
        power = model.transform(X)[0].values
        low, high = model.bin_edges_[np.argmax(power)]
        assert low <= k < high
        assert power.max() == pytest.approx(4.5)
        assert power.sum() - power.max() < 1e-25


def test_wavenumbers_of_one_dimension_are_exact():
    model = SpectralFeatures().fit(film(x=20))
    np.testing.assert_allclose(model.wavenumbers_, 2 * np.pi * np.arange(11) / LENGTHS["x"])
    np.testing.assert_array_equal(model.n_modes_, [1, *[2] * 9, 1])
    assert model.get_feature_names_out()[1] == f"k={2 * np.pi / 5:.6g}"
    assert SpectralFeatures().fit(np.ones((2, 8))).wavenumbers_[-1] == pytest.approx(np.pi)


def test_shells_average_is_that_of_white_noise():
    X = film(200, y=16, x=16)
    model = SpectralFeatures(average=True, include_mean=False).fit(X)
    sigmas = (model.mean_spectrum_ * 16 * 16 - 1) * np.sqrt(200 * model.n_modes_ / 2)
    assert np.abs(sigmas).max() < 4
    assert model.n_modes_.sum() == 16 * 16 - 1


def test_dims_that_are_left_out_have_spectra_of_their_own():
    X = film(3, y=6, x=8)
    powers = SpectralFeatures(dims="x").fit_transform(X)
    assert powers.dims == ("time", "y", "wavenumber")
    np.testing.assert_array_equal(powers.y, X.y)
    line = np.abs(np.fft.fft(X.values, axis=-1) / 8) ** 2
    np.testing.assert_allclose(powers[..., 0], line[..., 0], rtol=1e-12)
    np.testing.assert_allclose(powers[..., 3], 2 * line[..., 3], rtol=1e-12)
    names = SpectralFeatures(dims="x").fit(X).get_feature_names_out()
    assert len(set(names)) == 6 * 5
    along_y = SpectralFeatures(direction="x").fit_transform(X)
    np.testing.assert_allclose(along_y, powers.mean("y"), rtol=1e-12)


def test_window_is_that_of_scipy():
    X = np.random.default_rng(0).standard_normal((4, 64))
    powers = SpectralFeatures(window="hann", include_mean=False).fit_transform(X)
    _, density = scipy.signal.periodogram(X, window="hann", detrend="constant", scaling="density")
    np.testing.assert_allclose(powers, density[:, 1:] / 64, rtol=1e-12)


def test_logarithms_leave_the_mean_spectrum_as_it_is():
    X = film(5, y=6, x=8)
    plain, logs = SpectralFeatures().fit(X), SpectralFeatures(log=True).fit(X)
    np.testing.assert_allclose(logs.transform(X), np.log10(plain.transform(X)), rtol=1e-12)
    np.testing.assert_array_equal(logs.mean_spectrum_, plain.mean_spectrum_)
    flat = SpectralFeatures(log=True).fit_transform(np.zeros((2, 8)))
    assert np.all(np.isfinite(flat))


def test_mean_spectrum_is_weighted_and_labelled():
    X = film(7, y=6, x=8)
    weight = np.arange(1.0, 8)
    model = SpectralFeatures().fit(X, sample_weight=weight)
    powers = model.transform(X).values
    mean = np.average(powers, axis=0, weights=weight)
    assert model.mean_spectrum_.dims == ("wavenumber",)
    np.testing.assert_allclose(model.mean_spectrum_, mean, rtol=1e-12)
    var = np.average((powers - mean) ** 2, axis=0, weights=weight)
    np.testing.assert_allclose(model.var_spectrum_, var, rtol=1e-10)


def test_complex_fields():
    X = film(3, y=6, x=8)
    X = X + 1j * X.roll(x=3, time=1, roll_coords=False)
    for given in (X, X.astype(np.complex64), X.chunk(time=2, x=4)):
        powers = SpectralFeatures().fit_transform(given)
        squares = (np.abs(X) ** 2).mean(dim=["y", "x"])
        rtol = 1e-6 if given.dtype == np.complex64 else 1e-12
        np.testing.assert_allclose(powers.sum("wavenumber"), squares, rtol=rtol)
    one_way = X.copy(data=np.broadcast_to(np.exp(2j * np.pi * X.x / 5 * 2), X.shape))
    model = SpectralFeatures(dims="x").fit(one_way)
    assert model.transform(one_way)[0, 0].values.argmax() == 2
    with pytest.raises(ValueError, match=r"without names.*xarray\.DataArray"):
        SpectralFeatures().fit(X.values[0])


def test_dask_is_lazy_and_equal():
    X = film(8, y=6, x=8)
    wanted = SpectralFeatures().fit(X)
    lazy = X.chunk(time=3, y=2, x=4)
    model = SpectralFeatures().fit(lazy)
    powers = model.transform(lazy)
    assert powers.chunks[0] == (3, 3, 2)
    np.testing.assert_allclose(powers, wanted.transform(X), rtol=1e-12)
    np.testing.assert_allclose(model.mean_spectrum_, wanted.mean_spectrum_, rtol=1e-12)


def test_query_planning_mode_gives_the_same():
    script = (
        "from dask_exa.preprocessing import SpectralFeatures\n"
        "values = np.random.default_rng(0).standard_normal((6, 4, 8))\n"
        "for X in (values, values * 1j):\n"
        "    X = xr.DataArray(X, dims=('t', 'y', 'x'))\n"
        "    lazy, model = X.chunk(t=4, y=2), SpectralFeatures().fit(X)\n"
        "    found = SpectralFeatures().fit(lazy)\n"
        "    np.testing.assert_allclose(found.mean_spectrum_, model.mean_spectrum_)\n"
        "    np.testing.assert_allclose(found.transform(lazy).compute(), model.transform(X))\n"
    )
    run_with_query_planning(script)


def test_float32_is_transformed_in_float64():
    X = film(4, np.float32, y=16, x=16)
    powers = SpectralFeatures().fit_transform(X)
    assert powers.dtype == np.float32
    exact = SpectralFeatures().fit_transform(X.astype(np.float64))
    np.testing.assert_allclose(powers, exact, rtol=1e-7)


def test_other_namespaces_give_the_same_powers():
    X = np.random.default_rng(0).standard_normal((3, 40))
    box = Box((5, 8), (1.0, 0.5))
    for edges in (shell_edges(box), spaced_edges(box, 3, log=True)):
        for settings in ({}, {"average": True, "window": "hann", "include_mean": False}):
            spectrum = Spectrum((5, 8), (0, 1), box, edges, **settings)
            strict = spectrum.power(array_api_strict.asarray(X))
            np.testing.assert_allclose(np.asarray(strict), spectrum.power(X), rtol=1e-12)


def test_storage_keeps_everything(tmp_path):
    X = film(6, y=6, x=8)
    model = SpectralFeatures(direction="y", window=("tukey", 0.5), bins=[0.5, 2.0, 8.0]).fit(X)
    model.save(tmp_path / "model")
    for copy in (pickle.loads(pickle.dumps(model)), SpectralFeatures.load(tmp_path / "model")):
        xr.testing.assert_identical(copy.transform(X), model.transform(X))
        xr.testing.assert_identical(copy.mean_spectrum_, model.mean_spectrum_)
        copy.partial_fit(X)
        assert copy.n_samples_seen_ == 12
    assert clone(model).get_params() == model.get_params()


def test_coordinates_decide_on_the_wavenumbers():
    X = film(2, x=16)
    backwards = X.isel(x=slice(None, None, -1))
    np.testing.assert_allclose(
        SpectralFeatures().fit(backwards).wavenumbers_, SpectralFeatures().fit(X).wavenumbers_
    )
    seconds = X.assign_coords(x=np.datetime64("2026-01-01", "ns") + np.arange(16) * 250_000_000)
    last = SpectralFeatures().fit(seconds).wavenumbers_[-1]
    assert last == pytest.approx(np.pi / 0.25)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dims": "k"}, "dims='k' must be.*'y', 'x'"),
        ({"dims": "y", "direction": "x"}, "direction='x' is not one.*'y'"),
        ({"bins": 0}, "bins=0 must be an int of at least 1"),
        ({"bins": [2.0, 1.0]}, "bins=.*increase"),
        ({"bins": [0.0, 0.1, 5.0]}, "bins=.*from 0 to 0.1, that no wavenumber"),
        ({"spacing": "even"}, "spacing='even' must be 'linear' or 'log'"),
        ({"window": "door"}, "window='door' is none of scipy"),
    ],
)
def test_parameters_that_make_no_sense(params, message):
    with pytest.raises(ValueError, match=message):
        SpectralFeatures(**params).fit(film(2, y=6, x=8))


def test_fields_that_make_no_sense():
    X = film(2, y=6, x=8)
    uneven = X.assign_coords(x=np.arange(8.0) ** 2)
    with pytest.raises(ValueError, match=r"'x' of X has steps from 1 to 13.*uniform grid"):
        SpectralFeatures().fit(uneven)
    SpectralFeatures(dims="y").fit(uneven)
    model = SpectralFeatures().fit(X)
    finer = X.assign_coords(x=X.x / 2)
    for call in (model.transform, model.partial_fit):
        with pytest.raises(ValueError, match="X has fields of 6×8 real points at distances"):
            call(finer)
    with pytest.raises(ValueError, match="a model to merge has fields of"):
        model.merge(SpectralFeatures().fit(finer))
    with pytest.raises(ValueError, match="a model to merge has 2 bins with edges other than"):
        model.merge(SpectralFeatures(bins=2).fit(X))
    with pytest.raises(ValueError, match="leaves nothing of fields of 1 point"):
        SpectralFeatures(include_mean=False).fit(np.ones((3, 1)))


@pytest.mark.parametrize("run", ["sol", "hw"])
def test_spectrum_of_a_simulation_is_that_of_plain_binning(shared_data, run):
    with h5py.File(shared_data / "tokam2d" / run / "simulation_fields.h5") as file:
        fields = file["density"][-3:].astype(np.float64)
        x, y = file["x"][...], file["y"][...]
    X = xr.DataArray(fields, dims=("time", "y", "x"), coords={"y": y, "x": x})
    step = float(x[1] - x[0])
    model = SpectralFeatures().fit(X)
    unit = 2 * np.pi / (128 * step)
    shell = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(128, 1 / 128)]))
    for powers, field in zip(model.transform(X), fields, strict=True):
        modes = np.abs(np.fft.fft2(field) / field.size) ** 2
        wanted = [modes[np.round(shell) == i].sum() for i in range(len(powers))]
        np.testing.assert_allclose(powers, wanted, rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(model.bin_edges_[2:, 0] / unit, np.arange(1.5, 91), rtol=1e-5)
    in_y = SpectralFeatures(direction="y").fit(X).transform(X)
    lines = np.abs(np.fft.rfft(fields, axis=1) / 128) ** 2
    lines[:, 1:-1] *= 2
    np.testing.assert_allclose(in_y, lines.mean(axis=2), rtol=1e-9, atol=1e-20)

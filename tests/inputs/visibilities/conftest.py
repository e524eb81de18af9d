"""Observations by OSKAR with known interference, faults and transients, screened once."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from dask_exa._visibilities import baseline_coordinates, dump
from dask_exa.inputs import open_stream
from dask_exa.inputs.visibilities import Screening


def screened(steps):
    """Return what a screening finds in steps, as arrays over dumps."""
    screening = Screening()
    found = [screening(step) for step in steps]
    return SimpleNamespace(
        interference=np.array([one.interference.values for one in found]),
        faulty=np.array([one.faulty.values for one in found]),
        sources=[one.sources for one in found],
        fields=found,
        screening=screening,
    )


@pytest.fixture(scope="session")
def low_dev(shared_data, tmp_path_factory):
    """Noise of 4 on a sky of 7, a transient of 4: all in Jy, of one visibility."""
    pytest.importorskip("daskms")
    pytest.importorskip("ducc0")
    folder = tmp_path_factory.mktemp("low_dev")
    with zipfile.ZipFile(shared_data / "ska" / "low_dev.zip") as archive:
        archive.extractall(folder)
    truth = np.load(shared_data / "ska" / "low_dev_truth.npz")
    rows, n_channels = truth["rfi_shape"]
    flags = np.unpackbits(truth["rfi"])[: rows * n_channels].astype(bool)
    with open_stream(next(folder.iterdir())) as stream:
        found = screened(stream)
    found.truth = truth
    found.flags = flags.reshape(len(found.sources), -1, n_channels)
    return found


@pytest.fixture(scope="session")
def low30(shared_data):
    """Another array and sky, with carriers that are always on, bursts and a satellite."""
    pytest.importorskip("ducc0")
    data = np.load(shared_data / "ska" / "low30_rfi.npz")
    coordinates = baseline_coordinates(data["ant1"], data["ant2"], (0.0, 0.0))
    values, uvw = data["vis"].transpose(0, 2, 1), data["uvw"].astype(float)

    def steps():
        for i in range(len(values)):
            arrays = {"visibility": np.ascontiguousarray(values[i]), "uvw": uvw[i]}
            yield dump(arrays, data["freq"], coordinates, time=8.0 * i, timestep=i)

    found = screened(steps())
    found.truth = data["truth_rfi_class"]
    return found

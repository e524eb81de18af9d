"""Learning a simulation that runs: the numbers of the files that it would have written."""

import threading

import numpy as np
import pytest
import xarray as xr

from dask_exa.decomposition import IncrementalPCA
from dask_exa.insitu import Bridge, Stream
from dask_exa.insitu.communicator import run_ranks
from dask_exa.insitu.errors import StreamError
from tests.inputs.streams import assert_same_bits, make_steps, stream_of

distributed = pytest.importorskip("distributed")
QUIET = {"progress": False}
N_STEPS, N_RANKS, EVERY = 12, 3, 2


@pytest.fixture(scope="module")
def steps():
    """Data sets of which the flux comes at every second step only."""
    made = make_steps(N_STEPS, names=("density", "flux"))
    return [step if i % EVERY == 0 else step.drop_vars("flux") for i, step in enumerate(made)]


def simulate(lab, name, steps):
    """Ranks that have two of six rows each and put the steps."""

    def rank_of(comm):
        rank = comm.Get_rank()
        rows = slice(2 * rank, 2 * rank + 2)
        field = {
            "global_shape": (6, 8),
            "chunk_shape": (2, 8),
            "chunk_position": (rank, 0),
            "dims": ("y", "x"),
        }
        arrays = {"density": field, "flux": field}
        with Bridge(lab.cluster, comm, arrays, stream=name, timeout=20) as bridge:
            for step in steps:
                values = {str(n): np.array(step[n].values[rows]) for n in step.data_vars}
                bridge.put(int(step.timestep), time=float(step.time), **values)

    ranks = threading.Thread(target=run_ranks, args=(N_RANKS, rank_of), kwargs={"timeout": 60})
    ranks.start()
    return ranks


def models():
    return {name: IncrementalPCA(3, sample_dims="time") for name in ("density", "flux")}


@pytest.mark.parametrize("window", [1, 4])
def test_arrays_at_different_rates_give_the_bits_of_files_of_the_same_chunks(lab, steps, window):
    name = f"rates-{window}"
    ranks = simulate(lab, name, steps)
    with lab.as_current(), Stream(lab, name, timeout=20) as stream:
        live = models()
        run = stream.run(live, window=window, **QUIET)
    ranks.join(30)
    assert not ranks.is_alive()
    assert run.timesteps == [int(step.timestep) for step in steps]
    assert (stream.faults, stream.n_dropped, run.skipped) == ([], 0, {})
    assert live["density"].n_samples_seen_ == N_STEPS
    assert live["flux"].n_samples_seen_ == N_STEPS // EVERY
    memory = models()
    stream_of(steps).run(memory, window=window, **QUIET)
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as other,
        distributed.Client(other),
    ):
        later = models()
        chunked = [step.chunk({"y": 2}) for step in steps]
        stream_of(chunked).run(later, window=window, **QUIET)
        for variable, model in live.items():
            assert_same_bits(model, later[variable])
            np.testing.assert_allclose(
                model.singular_values_, memory[variable].singular_values_, rtol=1e-10
            )


class DeviceArray:
    """What a bridge sees of an array on a device: it is no `numpy.ndarray`."""

    def __init__(self, values):
        self.values = values
        self.shape, self.dtype, self.nbytes = values.shape, values.dtype, values.nbytes

    def __getitem__(self, index):
        return DeviceArray(self.values[index])

    def copy(self):
        return DeviceArray(self.values.copy())


@pytest.mark.parametrize("mode", ["snapshot", "handover"])
def test_device_arrays_pass_through_as_they_are(lab, mode):
    def address(array):
        return array.__array_interface__["data"][0]

    def look(chunk):
        return type(chunk).__name__, chunk.values.tolist(), address(chunk.values)

    values = np.arange(4.0)
    arrays = {"x": {"global_shape": (4,)}}
    with Bridge(lab.cluster, None, arrays, stream=f"device-{mode}", mode=mode) as bridge:
        assert bridge.put(0, x=DeviceArray(values))
        with Stream(lab, f"device-{mode}", timeout=20) as stream:
            data = next(iter(stream)).x.data
            (key,) = data.__dask_keys__()
            found = lab.submit(look, data.__dask_graph__()[key]).result()
    assert found[:2] == ("DeviceArray", values.tolist())
    assert (found[2] == address(values)) == (mode == "handover")


def test_coordinates_keep_units_and_what_leaves_a_rank_is_counted(lab):
    arrays = {"x": {"global_shape": (4, 3), "dims": ("y", "k")}}
    coords = {
        "y": xr.DataArray([0.5, 1.0, 1.5, 2.0], dims="y", attrs={"units": "m"}),
        "dt": 0.25,
        "time": xr.DataArray(0.0, attrs={"units": "s"}),
    }
    with Bridge(lab.cluster, None, arrays, stream="units", coords=coords) as bridge:
        assert bridge.put(3, time=7.5, x=np.ones((4, 3)))
        with Stream(lab, "units", timeout=20) as stream:
            data = next(iter(stream))
            assert data.y.values.tolist() == [0.5, 1.0, 1.5, 2.0]
            assert data.y.attrs == {"units": "m"}
            assert float(data.dt) == 0.25
            assert (float(data.time), data.time.attrs) == (7.5, {"units": "s"})
            assert bridge.bytes_sent == 0
            lab.compute(data.x.data).result()
            assert bridge.bytes_sent >= 4 * 3 * 8
    message = r"stream='units-2': coords has 'y' of shape \(3,\), .* \{'y': 4, 'k': 3\}"
    with pytest.raises(StreamError, match=message):
        Bridge(lab.cluster, None, arrays, stream="units-2", coords={"y": [1.0, 2.0, 3.0]})

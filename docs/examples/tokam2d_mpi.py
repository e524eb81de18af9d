"""Plasma turbulence on MPI ranks, learnt while it is computed, and stopped when it goes wrong.

    mpiexec -n 4 python docs/examples/tokam2d_mpi.py --save    # simulation and analytics
    python docs/examples/tokam2d_mpi.py --post-hoc             # the same analytics, on files

Every rank computes some rows of a scrape-off layer and hands its fields over where they are. In a
process beside them, analytics learns a basis of the density and looks for what must not be. At
step 24 a fault makes a patch of the density negative: an alarm, and all ranks stop.

With ``--cluster ADDRESS`` or DASK_SCHEDULER_ADDRESS the ranks use a Dask scheduler that is there
already, and only simulate; analytics is then a program of its own: ``--analyse``. So they do for
``dask-exa insitu --ranks 4 --detect --stop-on-alarm docs/examples/tokam2d_mpi.py``.
"""

import argparse
import json
import multiprocessing
from pathlib import Path

import dask
import xarray as xr
from distributed import Client, LocalCluster

from dask_exa.anomaly import FieldDetector, FieldMonitor
from dask_exa.apps.run import run
from dask_exa.apps.session import Session
from dask_exa.datasets import Injection, Tokam2D
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import open_stream
from dask_exa.insitu import Bridge, Stream
from dask_exa.report.alarms import draw_picture

N_STEPS = 48
PLASMA = {"shape": (128, 128), "length": 128.0, "potential_noise": 0.1, "rk4_steps_per_frame": 16}
FAULT = Injection(timestep=24, kind="nonphysical", amplitude=1.0, into="state")


def simulate(comm, scheduler, save):
    """Compute the rows of this rank, and hand over every step."""
    simulation = Tokam2D.sol(**PLASMA, inject=FAULT, comm=comm)
    fields, saved = simulation.fields, []
    with Bridge(scheduler, comm, simulation.arrays, coords=simulation.coords, depth=2) as bridge:
        for step in range(N_STEPS):
            if bridge.should_stop():  # the same answer on all ranks
                break
            fields = simulation.advance() if step else fields
            arrays = {name: fields[name].values for name in simulation.arrays}
            bridge.put(step, float(fields.time), **arrays)
            if save is not None:  # what a code does that writes files
                saved.append(comm.gather(fields))
    if save is not None and comm.rank == 0:
        steps = [xr.concat(parts, "y", data_vars="minimal") for parts in saved]
        steps = xr.concat(steps, "time", coords="minimal", compat="override")
        steps.to_zarr(save, mode="w", consolidated=False)
    return {
        "rank": comm.rank,
        "last_step": simulation.timestep,
        "steps_dropped": bridge.n_dropped,
        "seconds_waited": bridge.seconds_waited,
        "megabytes_put": bridge.n_put * sum(a.nbytes for a in arrays.values()) / 1e6,
        "megabytes_sent": bridge.bytes_sent / 1e6,
    }


def analyse(stream, out):
    """Learn a stream step by step, whether its steps come from ranks or from files."""
    pca = IncrementalPCA(8, layout="columns")  # every rank keeps its rows of the basis
    detector = FieldDetector(FieldMonitor(dt=1.0))  # the solver's time step, for the Courant number
    session = Session(["density"], pca, detector)
    result = run("insitu", stream, session, out, stop_on_alarm=True, log=out / "steps.jsonl")
    for picture in result.detection.pictures:
        draw_picture(picture, result.time_units).savefig(out / f"{picture.field.name}.png")
    return result


def analyse_ranks(pipe, out):
    """Start a scheduler, whose workers the ranks will be, and analyse what they put."""
    options = {"n_workers": 0, "dashboard_address": ":0", "silence_logs": "ERROR"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        pipe.send(cluster.scheduler_address)
        with Stream(client) as stream:
            result = analyse(stream, out)
        pipe.send((result.stopped or "there was no alarm", result.faults))
        pipe.recv()  # the ranks have left


def run_ranks(scheduler, out, save):
    """Simulate, with analytics beside rank 0 unless there is a scheduler already."""
    from mpi4py import MPI  # here, as the process of analytics is no rank

    comm, pipe = MPI.COMM_WORLD, None
    if comm.rank == 0 and scheduler is None:
        pipe, its_end = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process
        process(target=analyse_ranks, args=(its_end, out.absolute()), daemon=True).start()
        its_end.close()  # so that pipe.recv() ends if the process does
        scheduler = pipe.recv()
    ranks = comm.gather(simulate(comm, comm.bcast(scheduler), save))
    if pipe is not None:
        stopped, faults = pipe.recv()
        pipe.send("the ranks have left")
        print(f"{stopped}\nlost: {faults or 'nothing'}; report: {out / 'report.html'}")
        for rank in ranks:
            print(", ".join(f"{name} {value:.4g}" for name, value in rank.items()))
        (out / "ranks.json").write_text(json.dumps(ranks))


def main():
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the report")
    parser.add_argument("--save", action="store_true", help="write the fields, too")
    parser.add_argument("--post-hoc", action="store_true", help="analyse what --save has written")
    parser.add_argument("--analyse", action="store_true", help="analyse the ranks on a cluster")
    parser.add_argument("--cluster", default=dask.config.get("scheduler-address", None))
    options = parser.parse_args()
    files = options.out / "fields.zarr"
    if options.post_hoc:
        with open_stream(files, chunks={"y": 32}) as stream:  # chunks as on 4 ranks: same bits
            print(analyse(stream, options.out / "post-hoc").stopped)
    elif options.analyse:
        with Client(options.cluster) as client, Stream(client) as stream:
            print(analyse(stream, options.out).stopped)
    else:
        run_ranks(options.cluster, options.out, files if options.save else None)


if __name__ == "__main__":
    main()

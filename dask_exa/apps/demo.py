"""Simulate plasma turbulence on a cluster and learn it while it runs."""

from __future__ import annotations

import sys
from typing import Any

from dask_exa.apps.cluster import Scatter, connect
from dask_exa.apps.detection import field_detector
from dask_exa.apps.outputs import load_checkpoint
from dask_exa.apps.run import folder, run
from dask_exa.apps.session import Session
from dask_exa.datasets import Injection
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import open_stream
from dask_exa.report import RunResult

N_STEPS = 64
N_BLOCKS = 2
"""Along y and along x: four blocks, as of four ranks of a parallel code."""
SPACING = {"sol": 1.0, "hw": 0.25, "mhw": 0.25}
"""Distance of the points, in rho_s."""


def demo(
    out: Any = "out/demo",
    *,
    n_steps: int | None = None,
    size: int = 128,
    model: str = "sol",
    n_components: int = 8,
    cluster: Any = None,
    resume: bool = False,
    inject: tuple[tuple[str, int], ...] = (),
    detect: bool = False,
    stop_on_alarm: bool = False,
) -> RunResult:
    """Run Tokam2D and fit a PCA of its fields while it runs.

    The fields of every step are split into four blocks on the workers of a cluster. Each block
    keeps its own part of the basis; only small matrices travel between them.

    Parameters
    ----------
    out : path-like, default="out/demo"
        Gets report.html, summary.json, coefficients.zarr, basis.zarr and checkpoint.zarr.
    n_steps : int, optional
        Output frames of the simulation; by default 64, or 8 more than the last injection.
    size : int, default=128
        Points along each side of the box; even. Their distance stays, so that any size resolves
        the turbulence.
    model : {"sol", "hw", "mhw"}, default="sol"
    n_components : int, default=8
    cluster : str, path-like, Dask cluster or SlurmJobs, optional
        See `dask_exa.apps.cluster.connect`; by default two workers on this machine.
    resume : bool, default=False
        Go on from the checkpoint in `out`. The steps before it are computed again, not learnt.
    inject : tuple of (kind, timestep)
        Corrupt a patch of the density of these frames, see `dask_exa.datasets.Injection`. Then
        anomalies are looked for, and the first alarm stops the run.
    detect : bool, default=False
        Look for anomalies too, see `dask_exa.anomaly.FieldDetector`.
    stop_on_alarm : bool, default=False
        End the run at the first alarm.

    Returns
    -------
    RunResult
    """
    length = size * SPACING[model]
    injections = tuple(Injection(timestep=step, kind=kind) for kind, step in inject)
    if n_steps is None:
        n_steps = max([N_STEPS, *(injection.timestep + 8 for injection in injections)])
    options: dict[str, Any] = {"shape": (size, size), "length": length, "inject": injections}
    with (
        open_stream(f"tokam2d-{model}", **options) as stream,
        connect(cluster) as client,
    ):
        blocks = {dim: -(-n // N_BLOCKS) for dim, n in stream.sizes.items()}
        estimator = IncrementalPCA(n_components, layout="columns")
        detector = field_detector(stream.sizes) if detect or injections else None
        session = Session(stream.variables, estimator, detector)
        if client.dashboard_link:
            print(f"dashboard: {client.dashboard_link}", file=sys.stderr)
        if resume:
            load_checkpoint(session, folder(out))
        workers = client.nthreads()
        facts = {
            "cluster": f"{len(workers)} workers with {sum(workers.values())} threads",
            "blocks of a field": " × ".join(str(N_BLOCKS) for _ in blocks),
        }
        scatter = Scatter(client, blocks)
        return run(
            "demo",
            stream,
            session,
            folder(out),
            n_steps=n_steps,
            place=scatter,
            facts=facts,
            stop_on_alarm=stop_on_alarm or bool(injections),
        )

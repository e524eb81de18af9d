"""Clusters whose workers are jobs of SLURM, through dask-jobqueue."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import dask

from dask_exa._parameters import check_count, check_positive
from dask_exa.inputs.interrupt import handlers_kept

SMALL_JOB = {"cores": 1, "memory": "2 GB"}
"""Of a job, where neither arguments nor Dask's configuration say more."""


class SlurmJobs(NamedTuple):
    """What to ask SLURM for, where a use case takes a cluster."""

    n_jobs: int = 2
    partition: str | None = None
    timeout: float = 600.0
    """Seconds for all jobs to start."""


def slurm_cluster(
    n_jobs: int = 2,
    *,
    partition: str | None = None,
    scheduler_file: Any = None,
    **options: Any,
) -> Any:
    """Return a Dask cluster that keeps a number of SLURM jobs running.

    The scheduler runs in this process; a job that is cancelled, or ends with its node, is replaced.
    Closing the cluster cancels its jobs.

    Parameters
    ----------
    n_jobs : int, default=2
    partition : str, optional
        Default: that of ``jobqueue.slurm.queue`` in Dask's configuration, else SLURM's own.
    scheduler_file : path-like, optional
        Gets the scheduler's address; other jobs, such as a simulation, read it there
        (``Bridge(scheduler_file)``). Its folder is one that their nodes see.
    **options
        Of `dask_jobqueue.SLURMCluster`, which win over Dask's configuration: ``cores`` and
        ``memory`` of a job (default: 1 and 2 GB), ``processes``, ``account``, ``walltime``,
        ``interface`` of the network, such as "ib0", ``log_directory``.

    Returns
    -------
    dask_jobqueue.SLURMCluster
        A context manager; its jobs have been submitted.

    Raises
    ------
    ImportError
        Without dask-jobqueue.
    FileNotFoundError
        Where SLURM's commands are not on the PATH.
    ValueError
        When SLURM refuses such jobs, with its reason.

    Notes
    -----
    dask-jobqueue itself only logs a refusal, and does not replace a job that was lost, unless the
    cluster adapts: here it does, between `n_jobs` and `n_jobs`. Dask gives a worker that was lost
    15 seconds to come back first (``distributed.deploy.lost-worker-timeout``).

    Examples
    --------
    >>> from dask_exa.apps.slurm import slurm_cluster
    >>> with slurm_cluster(4, memory="16 GB", walltime="02:00:00") as cluster:  # doctest: +SKIP
    ...     with Client(cluster):
    ...         pca.fit(X)
    """
    check_count("n_jobs", n_jobs)
    scheduler_options = {
        **(_configured("scheduler-options") or {}),
        **options.pop("scheduler_options", {}),
    }
    if scheduler_file is not None:
        scheduler_options["scheduler_file"] = os.path.abspath(scheduler_file)
    chosen = {
        **{name: value for name, value in SMALL_JOB.items() if _configured(name) is None},
        **({} if partition is None else {"queue": partition}),
        **options,
    }
    cluster = _import_jobqueue().SLURMCluster(scheduler_options=scheduler_options, **chosen)
    try:
        _ask(cluster.job_script())
        cluster.scale(jobs=n_jobs)
        cluster.adapt(minimum_jobs=n_jobs, maximum_jobs=n_jobs)
    except BaseException:
        cluster.close()
        raise
    return cluster


@contextlib.contextmanager
def running(jobs: SlurmJobs) -> Iterator[Any]:
    """Give a cluster when the workers of all its jobs have come, and cancel the jobs at the end.

    Raises
    ------
    TimeoutError
        When a job has not started in time.
    """
    check_positive("timeout", jobs.timeout)
    with slurm_cluster(jobs.n_jobs, partition=jobs.partition) as cluster:
        print(f"waiting for {jobs.n_jobs} jobs of SLURM to start", file=sys.stderr)
        try:
            cluster.wait_for_workers(len(cluster.plan), timeout=jobs.timeout)
        except TimeoutError as error:
            raise TimeoutError(
                f"the workers of {jobs.n_jobs} jobs of SLURM did not all come within "
                f"timeout={jobs.timeout:g} s; look with squeue whether the jobs wait, and if they "
                "have ended, read slurm-<job>.out, which is here or in the folder that "
                "jobqueue.slurm.log-directory of Dask's configuration names."
            ) from error
        yield cluster


def _configured(name: str) -> Any:
    _import_jobqueue()  # which brings its part of the configuration
    return dask.config.get(f"jobqueue.slurm.{name}", None)


def _import_jobqueue() -> Any:
    try:
        with handlers_kept():
            import dask_jobqueue
    except ImportError as error:
        raise ImportError(
            "jobs of SLURM need dask-jobqueue: pip install 'dask-exa[hpc]'"
        ) from error
    return dask_jobqueue


def _ask(script: str) -> None:
    """Raise what SLURM says against a job."""
    try:
        answer = subprocess.run(
            ["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "no sbatch on the PATH; run this where jobs are submitted to SLURM."
        ) from error
    if answer.returncode:
        raise ValueError(
            f"SLURM refuses such jobs: {answer.stderr.strip()}; change partition= or the options "
            "of a job."
        )

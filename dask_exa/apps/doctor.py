"""What a support request needs to know about a machine, and a short test of it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dask_exa.apps.speed import copy_speed, gemm_speed, gemm_speed_with
from dask_exa.inputs.interrupt import handlers_kept
from dask_exa.report.summary import installed_versions, required_distributions

EXTRAS = ("gpu", "mpi", "hpc", "radio", "torch", "sbi", "ml", "deisa", "dashboard", "compression")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# OpenBLAS has kernels for these; what it takes for an unknown CPU is often an older one.
_NEEDS = {
    "SkylakeX": ("avx512f", "avx512dq", "avx512bw", "avx512vl"),
    "Haswell": ("avx2", "fma"),
}
_OLDER = {
    "SkylakeX": ("haswell", "zen", "sandybridge", "nehalem", "prescott", "core2", "generic"),
    "Haswell": ("sandybridge", "nehalem", "prescott", "core2", "generic"),
}


def examine(cluster: Any = None) -> dict[str, Any]:
    """Return all findings.

    Parameters
    ----------
    cluster : str, path-like, Dask cluster or SlurmJobs, optional
        Whose workers are to be listed; see `dask_exa.apps.cluster.connect`.

    Returns
    -------
    dict
        ``system``, ``blas``, ``threads``, ``versions``, ``extras``, ``gpus``, ``self_test``,
        ``advice`` (sentences, may be empty) and, given a cluster, ``workers``.
    """
    system = _system()
    blas = _blas()
    findings = {
        "system": system,
        "blas": blas,
        "threads": _threads(),
        "versions": installed_versions(),
        "extras": {extra: _extra(extra) for extra in EXTRAS},
        "gpus": _gpus(),
        "self_test": self_test(),
    }
    if cluster is not None:
        findings["workers"] = _workers(cluster)
    flags = _cpu_flags()
    advice = [blas_advice(library, flags) for library in blas]
    findings["advice"] = list(dict.fromkeys(text for text in advice if text))
    return findings


def blas_advice(library: dict[str, Any], flags: set[str]) -> str:
    """Return what to do when OpenBLAS took the CPU for an older one, or an empty string.

    Parameters
    ----------
    library : dict
        ``internal_api`` and ``architecture``, as threadpoolctl reports them.
    flags : set of str
        Instruction sets of the CPU, as in /proc/cpuinfo.

    Examples
    --------
    >>> from dask_exa.apps.doctor import blas_advice
    >>> openblas = {"internal_api": "openblas", "architecture": "Haswell"}
    >>> blas_advice(openblas, {"avx2", "fma"})
    ''
    >>> print(blas_advice(openblas, {"avx512f", "avx512dq", "avx512bw", "avx512vl"}))
    OpenBLAS runs its Haswell kernels, but this CPU has AVX-512: set OPENBLAS_CORETYPE=SKYLAKEX ...
    """
    if library.get("internal_api") != "openblas":
        return ""
    found = str(library.get("architecture") or "").lower()
    for core, needed in _NEEDS.items():
        if flags.issuperset(needed):
            if found not in _OLDER[core]:
                return ""
            named = "AVX-512" if core == "SkylakeX" else "AVX2"
            return (
                f"OpenBLAS runs its {library['architecture']} kernels, but this CPU has {named}: "
                f"set OPENBLAS_CORETYPE={core.upper()} before Python starts, for the workers too."
            )
    return ""


def self_test(n: int = 1024) -> dict[str, Any]:
    """Return speeds of this machine and whether IncrementalPCA agrees with an SVD.

    Parameters
    ----------
    n : int, default=1024
        Rows and columns of the matrices that are multiplied.
    """
    from dask_exa.decomposition import IncrementalPCA

    found: dict[str, Any] = {"gemm_gflops": gemm_speed(n)}
    core = _other_core()
    if core is not None:
        found[f"gemm_gflops_{core.lower()}"] = gemm_speed_with(core, n)
    found["copy_gbytes_per_second"] = copy_speed()
    X = np.random.default_rng(0).standard_normal((400, 64)) * 0.9 ** np.arange(64)
    model = IncrementalPCA(8)
    for batch in np.array_split(X, 10):
        model.partial_fit(batch)
    _, s, Vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    overlap = np.linalg.svd(model.components_ @ Vt[:8].T, compute_uv=False)
    found["pca_singular_value_error"] = float(np.max(np.abs(model.singular_values_ / s[:8] - 1)))
    found["pca_subspace_error"] = float(np.sqrt(max(0.0, 1 - overlap.min() ** 2)))
    found["passed"] = found["pca_singular_value_error"] < 1e-8
    return found


def as_json(findings: dict[str, Any]) -> str:
    """Return the findings as JSON."""
    return json.dumps(findings, indent=1)


def as_text(findings: dict[str, Any]) -> str:
    """Return the findings for people, a line each."""
    lines = []
    for title, content in findings.items():
        lines.append(title.replace("_", " ").capitalize())
        rows = content.items() if isinstance(content, dict) else enumerate(content, 1)
        shown = [(str(name).replace("_", " "), _shown(value)) for name, value in rows]
        width = max((len(name) for name, _ in shown), default=0)
        lines += [f"  {name:<{width}}  {value}" for name, value in shown] or ["  none"]
        lines.append("")
    return "\n".join(lines[:-1])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _system() -> dict[str, Any]:
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return {
        "platform": platform.platform(),
        "python": sys.executable,
        "cpu": _cpu_model(),
        "cpus_usable": CPU_COUNT,
        "memory_gbytes": round(MEMORY_LIMIT / 1e9, 1),
    }


def _blas() -> list[dict[str, Any]]:
    import scipy.linalg  # noqa: F401  has a BLAS of its own
    from threadpoolctl import threadpool_info

    names = ("internal_api", "architecture", "version", "num_threads", "threading_layer")
    libraries = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return [
        {name: info.get(name) for name in names} | {"file": Path(info["filepath"]).name}
        for info in libraries
    ]


def _threads() -> dict[str, Any]:
    from dask.system import CPU_COUNT
    from distributed.deploy.utils import nprocesses_nthreads

    processes, threads = nprocesses_nthreads(CPU_COUNT)
    found = {"local_cluster_workers": processes, "threads_per_worker": threads}
    return found | {name: os.environ.get(name, "not set") for name in THREAD_VARIABLES}


def _extra(extra: str) -> dict[str, str]:
    """Return the version of everything that an extra brings, or why it cannot be imported."""
    imports: dict[str, str] = {}
    for module, distributions in importlib.metadata.packages_distributions().items():
        for name in distributions:
            imports.setdefault(name.lower().replace("_", "-"), module)
    return {name: _importable(name, imports) for name in required_distributions(extra)}


def _importable(name: str, imports: dict[str, str]) -> str:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    try:
        with handlers_kept():
            importlib.import_module(imports.get(name.lower(), name.replace("-", "_")))
    except Exception as error:  # whatever a broken installation raises is what we want to know
        return f"{version}, but cannot be imported: {error}"
    return version


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader",
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return [line.strip() for line in (found.stdout or found.stderr).splitlines() if line.strip()]


def _workers(cluster: Any) -> dict[str, Any]:
    from dask_exa.apps.cluster import connect

    with connect(cluster) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        return {
            name: {
                "threads": worker["nthreads"],
                "memory_gbytes": round(worker["memory_limit"] / 1e9, 1),
            }
            for name, worker in sorted(workers.items())
        }


def _cpu_flags() -> set[str]:
    return set(_cpu_info("flags").split())


def _cpu_model() -> str:
    return _cpu_info("model name") or platform.processor()


def _cpu_info(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _other_core() -> str | None:
    """Return the core type that OpenBLAS should have detected, if it took another."""
    for library in _blas():
        advice = blas_advice(library, _cpu_flags())
        if advice:
            return advice.partition("OPENBLAS_CORETYPE=")[2].split()[0]
    return None

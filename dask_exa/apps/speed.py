"""How fast this machine multiplies matrices and copies arrays; needs NumPy alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np


def gemm_speed(n: int = 1024, seconds: float = 0.3) -> float:
    """Return the best speed of float64 matrix products, in GFLOP/s."""
    a, b, out = np.ones((n, n)), np.ones((n, n)), np.empty((n, n))
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end or best == np.inf:
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return round(2e-9 * n**3 / best, 2)


def gemm_speed_with(core: str, n: int = 1024) -> float | None:
    """Return the speed of matrix products in a process that OpenBLAS is told the CPU of."""
    code = f"from dask_exa.apps.speed import gemm_speed; print(gemm_speed({n}))"
    environment = {**os.environ, "OPENBLAS_CORETYPE": core}
    command = [sys.executable, "-c", code]
    try:
        found = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=20, check=True
        )
        return float(found.stdout)
    except (subprocess.SubprocessError, ValueError):
        return None


def copy_speed(n_bytes: int = 64 << 20) -> float:
    """Return the best speed of copying an array, read and written bytes together, in GB/s."""
    source = np.ones(n_bytes // 8)
    target = np.empty_like(source)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return round(2e-9 * n_bytes / best, 2)

"""The CUDA source of the phase-space kernel, run on the CPU: a thread of C++ for one of CUDA."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from dask_exa.kernels._phase_space_cupy import SOURCE
from tests.kernels.test_phase_space import case, check
from tests.naive._phase_space import reduce_phase_space as oracle

_THREADS, _BLOCKS = 8, 3
_BEFORE = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
#define __global__
#define __device__
#define __shared__
using std::fabs, std::fmax, std::fmin;
struct Index { int x; };
thread_local Index blockIdx, threadIdx;
Index blockDim, gridDim;
double shared[1024];
std::barrier<>* meeting;
void __syncthreads() { meeting->arrive_and_wait(); }
"""
_AFTER = """
template <typename T> void run(int n_blocks, int n_threads, const T* f, long long n_points,
                               int n_velocities, const double* columns, int n_columns,
                               const double* point_weights, const double* velocity_weights,
                               double* projected, double* marginals, double* totals) {
    gridDim.x = n_blocks;
    blockDim.x = n_threads;
    for (int block = 0; block < n_blocks; ++block) {  // blocks share one memory: one at a time
        std::barrier<> all(n_threads);
        meeting = &all;
        std::vector<std::thread> threads;
        for (int thread = 0; thread < n_threads; ++thread)
            threads.emplace_back([=] {
                blockIdx.x = block;
                threadIdx.x = thread;
                reduce_rows<T>(f, n_points, n_velocities, columns, n_columns, point_weights,
                               velocity_weights, projected, marginals, totals);
            });
        for (auto& thread : threads) thread.join();
    }
}
extern "C" {
#define RUN(NAME, T) void NAME(int b, int t, const T* f, long long n, int m, const double* c, \\
    int k, const double* p, const double* v, double* x, double* y, double* z) { \\
    run<T>(b, t, f, n, m, c, k, p, v, x, y, z); }
RUN(run_float32, float)
RUN(run_float64, double)
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("needs g++ on the PATH")
    path = tmp_path_factory.mktemp("cuda") / "phase_space.cpp"
    path.write_text(_BEFORE + SOURCE + _AFTER)
    command = ["g++", "-std=c++20", "-O1", "-pthread", "-fPIC", "-shared"]
    subprocess.run([*command, "-o", path.with_suffix(".so"), path], check=True)
    return ctypes.CDLL(str(path.with_suffix(".so")))


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_points", "n_velocities"), [(13, 21), (2, 5), (7, 8)])
def test_equals_the_oracle(library, dtype, n_points, n_velocities):
    f, columns, point_weights, velocity_weights = case(dtype, n_points, n_velocities)
    projected = np.full((n_points, len(columns)), np.nan)
    marginals, totals = np.zeros((_BLOCKS, n_velocities)), np.full((_BLOCKS, 4), np.nan)
    getattr(library, f"run_{dtype}")(
        _BLOCKS,
        _THREADS,
        pointer(f),
        ctypes.c_longlong(n_points),
        n_velocities,
        pointer(columns),
        len(columns),
        *map(pointer, (point_weights, velocity_weights, projected, marginals, totals)),
    )
    found = projected, marginals.sum(axis=0), *totals[:, :2].sum(axis=0)
    extremes = totals[:, 2].max(), totals[:, 3].min()
    check((*found, *extremes), oracle(f, columns, point_weights, velocity_weights))

"""CUDA kernels without a GPU: a stand-in for CuPy on NumPy arrays, whose kernels g++ compiles.

The threads of a grid run one after the other. That is enough for kernels whose threads have
nothing to do with each other; it says nothing of speed.
"""

import ctypes
import hashlib
import shutil
import subprocess
import types

import numpy as np

_BEFORE = """
#include <cmath>
#define __global__
#define __device__
using std::fabs, std::fmax, std::fmin, std::log2, std::rint, std::sqrt;
static struct { long long x; } blockIdx, blockDim, threadIdx;
"""
_AFTER = """
template <auto kernel> struct Grid;
template <typename... Given, void (*kernel)(Given...)> struct Grid<kernel> {
    static void run(long long n_blocks, long long n_threads, Given... given) {
        blockDim.x = n_threads;
        for (blockIdx.x = 0; blockIdx.x < n_blocks; ++blockIdx.x)
            for (threadIdx.x = 0; threadIdx.x < n_threads; ++threadIdx.x) kernel(given...);
    }
};
"""


def is_possible():
    """Whether there is a compiler."""
    return shutil.which("g++") is not None


def stand_in(folder):
    """Return a module to take the place of ``cupy``; what it compiles goes into a folder."""

    class RawModule:
        def __init__(self, code, options, name_expressions):
            names = list(name_expressions)
            runners = ", ".join(f"(void*)Grid<&{name}>::run" for name in names)
            text = f'{_BEFORE}{code}{_AFTER}extern "C" {{ void* runners[] = {{{runners}}}; }}\n'
            path = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
            path.with_suffix(".cpp").write_text(text)
            library = path.with_suffix(".so")
            command = ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", "-o", library]
            subprocess.run([*command, path.with_suffix(".cpp")], check=True)
            self.library = ctypes.CDLL(str(library))
            found = (ctypes.c_void_p * len(names)).in_dll(self.library, "runners")
            self.runners = dict(zip(names, found, strict=True))

        def get_function(self, name):
            def run(grid, block, arguments):
                given = [_as_word(argument) for argument in (grid[0], block[0], *arguments)]
                words = ctypes.CFUNCTYPE(None, *[ctypes.c_uint64] * len(given))
                words(self.runners[name])(*given)

            return run

    cupy = types.ModuleType("cupy")
    cupy.__dict__.update({name: getattr(np, name) for name in np.__all__})
    cupy.RawModule = RawModule
    return cupy


def _as_word(argument):
    """Return an integer, or the address of an array, as what a register holds."""
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return argument.ctypes.data
    return int(argument) % 2**64

"""Numeric kernels in twins, Numba and CuPy, with one signature."""

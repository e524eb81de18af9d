"""Numeric kernels in twins, Numba and CuPy, with one signature; the array decides which runs.

Arrays that neither twin takes (other namespaces, Fortran order) go through the array API. Every
family has one private module here that dispatches: `_centering`, `_reservoir`, `_isolation`.
"""

from dask_exa.kernels._centering import center
from dask_exa.kernels._isolation import grow_trees, mean_leaves
from dask_exa.kernels._reservoir import draw_keys

__all__ = ["center", "draw_keys", "grow_trees", "mean_leaves"]

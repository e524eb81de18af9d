"""Scattered points with fields: particles, probes, the nodes of a mesh without order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.spatial import KDTree

from dask_exa.inputs.amr.drawing import draw_points
from dask_exa.kernels import octree as kernels


class PointCloud:
    """Scattered points, each of which stands for some volume.

    Parameters
    ----------
    positions : array of shape (n, ndim)
        Two or three axes, all positions finite.
    fields : mapping of str to array of shape (n,)
    volumes : array of shape (n,), optional
        What integrals weigh points by: volumes, or masses of particles. By default 1 / n, so that
        integrals are means.
    n_neighbors : int, optional
        Points that a gradient is fitted to; by default 12 in two dimensions, 20 in three.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.inputs.amr import PointCloud
    >>> x = np.random.default_rng(0).random((500, 2))
    >>> cloud = PointCloud(x, {"f": 3 * x[:, 0] - x[:, 1]})
    >>> cloud.gradient("f")[0].round(6)
    array([ 3., -1.])
    """

    def __init__(
        self,
        positions: Any,
        fields: Mapping[str, Any],
        volumes: Any = None,
        n_neighbors: int | None = None,
    ) -> None:
        self.positions = np.asarray(positions, dtype=np.float64)
        if self.positions.ndim != 2 or self.positions.shape[1] not in (2, 3):
            raise ValueError(
                f"positions has shape {self.positions.shape}; pass (n_points, 2) or (n_points, 3)."
            )
        n = len(self.positions)
        wrong = {name: np.shape(field) for name, field in fields.items() if np.shape(field) != (n,)}
        if wrong or not n:
            raise ValueError(f"fields have shapes {wrong} for {n} points; pass one value a point.")
        if not np.isfinite(self.positions).all():
            raise ValueError("positions must be finite; leave out points that have none.")
        self.fields = {name: np.asarray(field) for name, field in fields.items()}
        given = np.full(n, 1.0 / n) if volumes is None else np.asarray(volumes, dtype=np.float64)
        if given.shape != (n,) or not (given >= 0).all() or not 0 < given.sum() < np.inf:
            raise ValueError("volumes must be one finite number of at least 0 a point, not all 0.")
        self._volumes = given
        self.n_neighbors = n_neighbors or (12 if self.ndim == 2 else 20)

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return self.positions.shape[1]

    def gradient(self, name: str, points: Any = None) -> np.ndarray:
        """Return the gradients at points, by least squares over the nearest ones.

        Parameters
        ----------
        name : str
        points : array of int, optional
            Numbers of points; by default all.

        Returns
        -------
        numpy.ndarray of shape (n, ndim)
            Exact for linear fields; the shortest one that fits where neighbours are in a plane.
        """
        tree = KDTree(self.positions)
        at = self.positions if points is None else self.positions[points]
        _, near = tree.query(at, min(self.n_neighbors + 1, len(self.positions)))
        near = near.reshape(len(at), -1)
        field = self.fields[name].astype(np.float64)
        own = field if points is None else field[points]
        offsets = self.positions[near] - at[:, None, :]
        squares = (offsets**2).sum(axis=2)
        weights = 1.0 / np.where(squares > 0, squares, np.inf)
        rises = field[near] - own[:, None]
        matrix = np.einsum("nk,nki,nkj->nij", weights, offsets, offsets)
        right = np.einsum("nk,nki,nk->ni", weights, offsets, rises)
        return np.einsum("nij,nj->ni", np.linalg.pinv(matrix, hermitian=True), right)

    def sample(self, n: int, weights: Any = "mixture", **options: Any) -> xr.Dataset:
        """Draw points, with replacement; see `dask_exa.inputs.amr.sample`."""
        return draw_points(self, n, weights, **options)

    def volumes(self) -> np.ndarray:
        """Return what each point stands for, (n,)."""
        return self._volumes

    def steepness(self, name: str) -> np.ndarray:
        """Return the modulus of the gradient at every point, (n,); 0 if it is not finite."""
        return np.nan_to_num(np.linalg.norm(self.gradient(name), axis=1), posinf=0.0)

    def draw(self, cumulative: Any, n: int, seed: int) -> tuple[Any, Any, Any]:
        """Return drawn points, zeros, and positions; see `draw_points`."""
        cells, places = kernels.draw(cumulative, n, self.ndim, seed)
        return cells, 0.0 * places, self.positions[cells]

    def interpolated(self, name: str, cells: Any, places: Any) -> tuple[Any, Any]:
        """Return values and gradients of drawn points; see `draw_points`."""
        distinct, back = np.unique(cells, return_inverse=True)
        return self.fields[name][cells].astype(float), self.gradient(name, distinct)[back]

    def __len__(self) -> int:
        return len(self.positions)

    def __repr__(self) -> str:
        return f"<PointCloud of {len(self)} points in {self.ndim}D: {', '.join(self.fields)}>"

"""Grains of a periodic polycrystal, their orientations, and symmetric tensors as six-vectors."""

import itertools

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_ROWS, _COLUMNS = np.transpose(_PAIRS)
_WEIGHTS = np.array([1.0, 1.0, 1.0, np.sqrt(2.0), np.sqrt(2.0), np.sqrt(2.0)])


def voronoi_grains(shape, n_grains, seed):
    """Return which grain every cell of the unit box belongs to: that of the nearest seed point.

    Parameters
    ----------
    shape : tuple of int
        Cells along each side; the box is periodic.
    n_grains : int
    seed : int

    Returns
    -------
    ndarray of shape `shape`, int32

    Examples
    --------
    >>> from dask_exa.datasets._crystal_grains import voronoi_grains
    >>> int(voronoi_grains((8, 8), 3, seed=0).max())
    2
    """
    centers = np.random.default_rng([seed, 0]).random((n_grains, len(shape)))
    sides = [(np.arange(n) + 0.5) / n for n in shape]
    cells = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)
    _, nearest = cKDTree(centers, boxsize=1.0).query(cells)
    return nearest.astype(np.int32)


def random_rotations(n_grains, seed):
    """Return rotation matrices (n_grains, 3, 3), uniform over all orientations.

    A row of a matrix is an axis of the laboratory, a column one of the crystal.
    """
    return Rotation.random(n_grains, rng=np.random.default_rng([seed, 1])).as_matrix()


def to_mandel(tensors):
    """Return symmetric tensors (..., 3, 3) as vectors (..., 6) with the same inner product.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.datasets._crystal_grains import from_mandel, to_mandel
    >>> shear = np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> float(np.round(to_mandel(shear) @ to_mandel(shear), 12)), float(np.sum(shear**2))
    (9.0, 9.0)
    >>> bool(np.allclose(from_mandel(to_mandel(shear)), shear))
    True
    """
    tensors = np.asarray(tensors, dtype=np.float64)
    even = (tensors + np.swapaxes(tensors, -1, -2)) / 2.0
    return even[..., _ROWS, _COLUMNS] * _WEIGHTS


def from_mandel(vectors):
    """Return the symmetric tensors (..., 3, 3) of vectors (..., 6)."""
    values = vectors / _WEIGHTS
    tensors = np.empty((*values.shape[:-1], 3, 3))
    tensors[..., _ROWS, _COLUMNS] = values
    tensors[..., _COLUMNS, _ROWS] = values
    return tensors


def cubic_stiffness(constants, rotations):
    """Return stiffness matrices (n_grains, 6, 6) of rotated cubic crystals, on six-vectors.

    Parameters
    ----------
    constants : array_like of shape (3,) or (n_grains, 3)
        C11, C12 and C44 in the axes of the crystal.
    rotations : ndarray of shape (n_grains, 3, 3)

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.datasets._crystal_grains import cubic_stiffness
    >>> cubic_stiffness((3.0, 1.0, 1.0), np.eye(3)[None])[0].diagonal().tolist()
    [3.0, 3.0, 3.0, 2.0, 2.0, 2.0]
    """
    c11, c12, c44 = np.moveaxis(np.asarray(constants, dtype=np.float64), -1, 0)
    crystal = np.zeros((*c11.shape, 6, 6))
    crystal[..., :3, :3] = c12[..., None, None]
    diagonal = np.arange(3)
    crystal[..., diagonal, diagonal] = c11[..., None]
    crystal[..., diagonal + 3, diagonal + 3] = 2.0 * c44[..., None]
    turn = _mandel_rotations(rotations)
    return turn @ crystal @ np.swapaxes(turn, -1, -2)


def _mandel_rotations(rotations):
    """Return the orthogonal matrices (n_grains, 6, 6) that turn six-vectors."""
    basis = from_mandel(np.eye(6))
    turned = np.einsum("gia,nab,gjb->gnij", rotations, basis, rotations)
    return np.swapaxes(to_mandel(turned), -1, -2)


def fcc_slip_systems(rotations):
    """Return the symmetric Schmid tensors (n_grains, 12, 6) of the systems {111}<110>.

    Their inner product with a stress is the shear stress that drives slip.
    """
    normals = np.array([(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)]) / np.sqrt(3.0)
    steps = [
        np.array(step) / np.sqrt(2.0)
        for step in itertools.product((-1, 0, 1), repeat=3)
        if np.abs(step).sum() == 2 and step > (0, 0, 0)
    ]
    schmid = [np.outer(s, n) for n in normals for s in steps if abs(s @ n) < 1e-12]
    return to_mandel(np.einsum("gia,nab,gjb->gnij", rotations, np.array(schmid), rotations))

"""Balance of forces in a periodic box: projections in Fourier space, and a Newton-Krylov solver."""

from typing import NamedTuple

import numpy as np
import scipy.fft

_MAX_CONJUGATE_GRADIENTS = 400
_INEXACT = 0.05
"""How far the linear problem of a Newton iteration is solved, relative to the residual."""

_SHARES = (1.0, 0.5, 0.25)
"""Of a Newton step, tried until one is an advance."""


class CompatibleStrains:
    """The strains of periodic displacements, as a subspace of all symmetric tensor fields.

    A tensor field is in balance when its projection onto this subspace vanishes. Even numbers of
    cells leave the waves at the Nyquist wavenumber out: they have no derivative on the grid.

    Parameters
    ----------
    shape : tuple of int
        Cells along two or three sides of the unit box.
    workers : int, default=1
        Threads of each Fourier transform.

    References
    ----------
    Zeman, de Geus, Vondrejc, Peerlings, Geers, Int. J. Num. Methods Eng. 111, 903 (2017).
    """

    def __init__(self, shape, *, workers=1):
        self.shape, self.workers = tuple(shape), workers
        self._axes = tuple(range(1, len(shape) + 1))
        modes = [np.fft.fftfreq(n, 1 / n) for n in shape[:-1]]
        modes.append(np.arange(shape[-1] // 2 + 1.0))
        grids = np.meshgrid(*modes, indexing="ij")
        k = np.zeros((3, *grids[0].shape))
        k[: len(shape)] = grids
        has_slope = np.ones(grids[0].shape, dtype=bool)
        for mode, n in zip(grids, shape, strict=True):
            has_slope &= 2 * np.abs(mode) != n
        k *= has_slope
        norm = np.sqrt(np.sum(k**2, axis=0))
        self._direction = k / np.where(norm > 0, norm, 1.0)
        twice = np.full(shape[-1] // 2 + 1, 2.0)  # the half spectrum stands for its conjugate too
        twice[0] = 1.0
        self._weight = norm**2 * twice

    def project(self, field):
        """Return the compatible part of a tensor field, of mean zero.

        Parameters
        ----------
        field : ndarray of shape (6, *shape)
            Six-vectors, see `to_mandel`.
        """
        spectrum = self._forward(field)
        n = self._direction
        force = _times_direction(spectrum, n)
        # sym(n u) with u = 2 T n - (n T n) n is the part of T that has this form
        u = 2.0 * force - n * np.sum(n * force, axis=0)
        root = np.sqrt(0.5)
        parts = [n[0] * u[0], n[1] * u[1], n[2] * u[2]]
        parts += [root * (n[i] * u[j] + n[j] * u[i]) for i, j in ((1, 2), (0, 2), (0, 1))]
        return scipy.fft.irfftn(
            np.stack(parts), s=self.shape, axes=self._axes, workers=self.workers
        )

    def imbalance(self, stress):
        """Return the norm of the divergence, relative to that of all first derivatives.

        0 is balance; that of white noise is about 0.6.
        """
        spectrum = self._forward(stress)
        force = _times_direction(spectrum, self._direction)
        left = np.sum(self._weight * np.abs(force) ** 2)
        every = np.sum(self._weight * np.abs(spectrum) ** 2)
        size = np.vdot(stress, stress) * np.prod(self.shape)
        return float(np.sqrt(left / every)) if every > 1e-20 * size else 0.0

    def _forward(self, field):
        return scipy.fft.rfftn(field, axes=self._axes, workers=self.workers)


def _times_direction(tensors, n):
    """Return T n of six-vectors (6, ...) and directions (3, ...)."""
    root = np.sqrt(0.5)
    xx, yy, zz, yz, xz, xy = tensors
    yz, xz, xy = root * yz, root * xz, root * xy
    return np.stack(
        [
            xx * n[0] + xy * n[1] + xz * n[2],
            xy * n[0] + yy * n[1] + yz * n[2],
            xz * n[0] + yz * n[1] + zz * n[2],
        ]
    )


class Solution(NamedTuple):
    """Fields in balance, or as far as the solver came."""

    strain: np.ndarray
    """(6, *shape)."""
    stress: np.ndarray
    imbalance: float
    n_iterations: int


def solve(space, respond, strain, *, tolerance, max_iterations):
    """Return the strain with a given mean whose stress is in balance, by Newton's method.

    Parameters
    ----------
    space : CompatibleStrains
    respond : callable
        ``respond(strain)`` returns stress (6, *shape) and tangent (n_cells, 6, 6).
    strain : ndarray of shape (6, *shape)
        Where to start: compatible, with the mean that is asked for.
    tolerance : float
        Largest imbalance of a solution.
    max_iterations : int
        Of Newton's method.

    Returns
    -------
    Solution
    """
    stress, tangent = respond(strain)
    imbalance = space.imbalance(stress)
    for iteration in range(max_iterations):
        if not imbalance > tolerance:
            return Solution(strain, stress, imbalance, iteration)
        change = _linear_response(space, tangent, -space.project(stress))
        trials = []
        for share in _SHARES:
            trial = strain + share * change
            found, slope = respond(trial)
            trials.append((space.imbalance(found), trial, found, slope))
            if trials[-1][0] < imbalance:
                break
        imbalance, strain, stress, tangent = min(trials, key=lambda trial: trial[0])
    return Solution(strain, stress, imbalance, max_iterations)


def solve_by_descent(space, respond, strain, *, tolerance, max_iterations):
    """Return what the basic scheme reaches: slow, which is good for a solution that is not one.

    See `solve` for the arguments. With a reference medium of the largest stiffness, the scheme of
    Moulinec and Suquet is a descent along the projected stress.

    References
    ----------
    Moulinec, Suquet, Comput. Methods Appl. Mech. Eng. 157, 69 (1998).
    """
    stress, tangent = respond(strain)
    imbalance = space.imbalance(stress)
    reference = np.max(np.linalg.eigvalsh(tangent))
    for iteration in range(max_iterations):
        if not imbalance > tolerance:
            return Solution(strain, stress, imbalance, iteration)
        strain = strain - space.project(stress) / reference
        stress, _ = respond(strain)
        imbalance = space.imbalance(stress)
    return Solution(strain, stress, imbalance, max_iterations)


def _linear_response(space, tangent, force):
    """Return the compatible strain whose projected stress is a force, by conjugate gradients."""
    strain = np.zeros_like(force)
    left, along = force.copy(), force.copy()
    size = np.vdot(left, left)
    target = _INEXACT**2 * size
    for _ in range(_MAX_CONJUGATE_GRADIENTS):
        if not size > target:
            break
        stress = space.project(_apply(tangent, along))
        length = size / np.vdot(along, stress)
        strain += length * along
        left -= length * stress
        size, before = np.vdot(left, left), size
        along = left + (size / before) * along
    return strain


def _apply(tangent, strain):
    cells = np.moveaxis(strain, 0, -1).reshape(-1, 6, 1)
    stress = (tangent @ cells)[..., 0]
    return np.moveaxis(stress.reshape(*strain.shape[1:], 6), -1, 0)

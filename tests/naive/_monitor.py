"""What the checks of a monitor measure, by loops and whole-field transforms."""

import itertools
import math

import numpy as np


def nyquist_share(field, order=6):
    """Energy of repeated differences along all axes, over that of white noise of equal variance."""
    coefficients = [(-1) ** i * math.comb(order, i) / 2**order for i in range(order + 1)]
    squares = []
    for axis in range(field.ndim):
        for line in np.moveaxis(field, axis, -1).reshape(-1, field.shape[axis]):
            for start in range(len(line) - order):
                value = sum(c * line[start + i] for i, c in enumerate(coefficients))
                squares.append(value**2)
    return np.mean(squares) / np.var(field) / sum(c**2 for c in coefficients)


def joint_cumulant(samples):
    """Fourth joint cumulants (v, v, v, v) of standardised variables (v, n_samples)."""
    z = np.array([(row - row.mean()) / row.std() for row in samples])
    n_variables = len(z)
    found = np.empty((n_variables,) * 4)
    for i, j, k, m in itertools.product(range(n_variables), repeat=4):
        pairs = ((i, j, k, m), (i, k, j, m), (i, m, j, k))
        gaussian = sum(np.mean(z[a] * z[b]) * np.mean(z[c] * z[d]) for a, b, c, d in pairs)
        found[i, j, k, m] = np.mean(z[i] * z[j] * z[k] * z[m]) - gaussian
    return found


def kurtosis_shares(samples):
    """Share of each variable in the principal kurtosis vectors, by the eigenvectors of M M^T."""
    unfolded = joint_cumulant(samples).reshape(len(samples), -1)
    squares, vectors = np.linalg.eigh(unfolded @ unfolded.T)
    sizes = np.sqrt(np.maximum(squares, 0))
    return np.array([sum(s * v**2 for s, v in zip(sizes, row, strict=True)) for row in vectors]) / (
        sizes.sum()
    )


def courant_number(potential, spacing, time_step, window=8):
    """Largest mean of dt pi (|v_x| + |v_y|) / dx over all windows that fit."""
    along_y, along_x = np.gradient(potential, spacing)
    rate = time_step * np.pi * (np.abs(along_y) + np.abs(along_x)) / spacing
    ny, nx = rate.shape
    corners = itertools.product(range(ny - window + 1), range(nx - window + 1))
    return max(rate[i : i + window, j : j + window].mean() for i, j in corners)


def wave_remainder(field, periods, operator):
    """Norm of the divergence or curl of the waves of one period a side, over |k| times theirs."""
    spectrum = np.fft.fftn(field, axes=(0, 1, 2))
    left = every = 0.0
    for numbers in itertools.product((-1, 0, 1), repeat=3):
        k = np.array(numbers) / np.array(periods)
        wave = spectrum[numbers]
        for row in wave:
            value = row @ k if operator == "div" else np.cross(k, row)
            left += np.sum(np.abs(value) ** 2)
            every += np.sum(np.abs(row) ** 2) * (k @ k)
    return np.sqrt(left / every)

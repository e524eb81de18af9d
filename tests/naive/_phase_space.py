"""Sums over phase space, value by value."""

import numpy as np


def reduce_phase_space(f, columns, point_weights, velocity_weights):
    """Return what `dask_exa.kernels.phase_space.reduce_phase_space` does, in loops."""
    n_points, n_velocities = f.shape
    projected, marginal = np.zeros((n_points, len(columns))), np.zeros(n_velocities)
    absolute, squares, values = 0.0, 0.0, []
    for i in range(n_points):
        for j in range(n_velocities):
            value = float(f[i, j])
            values.append(value)
            marginal[j] += point_weights[i] * value
            absolute += point_weights[i] * velocity_weights[j] * abs(value)
            squares += point_weights[i] * velocity_weights[j] * value**2
            for k, column in enumerate(columns):
                projected[i, k] += column[j] * value
    return projected, marginal, absolute, squares, max(values), min(values)


def fluid_moments(f, velocities, weights):
    """Return density, mean velocity, temperature and heat flux of one velocity distribution.

    `velocities` (n, d) and `weights` (n,) of the points that `f` (n,) is given at.
    """
    density = sum(w * value for w, value in zip(weights, f, strict=True))
    mean = sum(w * value * v for w, value, v in zip(weights, f, velocities, strict=True)) / density
    squares = [float(np.dot(v - mean, v - mean)) for v in velocities]
    d = len(mean)
    temperature = sum(
        w * value * square for w, value, square in zip(weights, f, squares, strict=True)
    ) / (d * density)
    heat_flux = sum(
        0.5 * w * value * (v - mean) * square
        for w, value, v, square in zip(weights, f, velocities, squares, strict=True)
    )
    return density, mean, temperature, heat_flux

"""Representations of fields by loops over points, positions and modes."""

import itertools

import numpy as np


def binned_spectrum(field, steps, edges, *, direction=None):
    """Power of every mode of a periodic field, added up by k = 0 and then edges[i] <= k < [i + 1].

    ``steps`` are the distances of neighbouring points; the sum of all powers is the mean square.
    """
    modes = np.fft.fftn(field) / field.size
    waves = [
        2 * np.pi * np.fft.fftfreq(n, step) for n, step in zip(field.shape, steps, strict=True)
    ]
    powers = np.zeros(len(edges))
    for place in np.ndindex(field.shape):
        parts = [waves[axis][i] for axis, i in enumerate(place) if direction in (None, axis)]
        k = np.sqrt(np.sum(np.square(parts)))
        found = [i for i in range(len(edges) - 1) if edges[i] <= k * (1 + 1e-9) < edges[i + 1]]
        if k == 0:
            powers[0] += abs(modes[place]) ** 2
        elif found:
            powers[1 + found[-1]] += abs(modes[place]) ** 2
    return powers


def patches(field, sizes, strides, *, padding="none"):
    """Windows of an n-d field in C order of their positions, and these positions.

    A window that sticks out at the end goes on at the beginning ("wrap") or backwards ("reflect").
    """
    starts = [
        window_starts(n, size, stride, padding)
        for n, size, stride in zip(field.shape, sizes, strides, strict=True)
    ]
    positions = list(itertools.product(*starts))
    found = []
    for position in positions:
        patch = np.empty(sizes, dtype=field.dtype)
        for offset in np.ndindex(*sizes):
            place = tuple(
                _inside(p + o, n) if padding == "reflect" else (p + o) % n
                for p, o, n in zip(position, offset, field.shape, strict=True)
            )
            patch[offset] = field[place]
        found.append(patch.ravel())
    return np.array(found), np.array(positions)


def window_starts(n, size, stride, padding):
    """Positions along one axis: all that fit, all points, or so many that every point is in one."""
    if padding == "wrap":
        return list(range(0, n, stride))
    starts = [start for start in range(0, n, stride) if start + size <= n]
    if padding == "reflect" and starts[-1] + size < n and starts[-1] + stride < n:
        starts.append(starts[-1] + stride)
    return starts


def _inside(i, n):
    return i if i < n else 2 * (n - 1) - i


def blended(rows, positions, shape, sizes, weights, *, padding="none"):
    """Weighted mean, point by point, of what all windows say; NaN where there is none."""
    total, norm = np.zeros(shape), np.zeros(shape)
    for row, position in zip(rows, positions, strict=True):
        patch = row.reshape(sizes)
        for offset in np.ndindex(*sizes):
            place = tuple(p + o for p, o in zip(position, offset, strict=True))
            if padding == "wrap":
                place = tuple(i % n for i, n in zip(place, shape, strict=True))
            if all(i < n for i, n in zip(place, shape, strict=True)):
                weight = np.prod([line[o] for line, o in zip(weights, offset, strict=True)])
                total[place] += weight * patch[offset]
                norm[place] += weight
    with np.errstate(invalid="ignore"):
        return total / norm


def stacked(field, sample_dims):
    """Rows of an xarray.DataArray: one per position along the sample dimensions, in C order."""
    others = [dim for dim in field.dims if dim not in sample_dims]
    rows = []
    for place in itertools.product(*(range(field.sizes[dim]) for dim in sample_dims)):
        sample = field.isel(dict(zip(sample_dims, place, strict=True))).transpose(*others)
        rows.append(np.asarray(sample).ravel())
    return np.array(rows)

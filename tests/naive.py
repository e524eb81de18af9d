"""Slow and plain versions of our algorithms, which the fast ones have to equal."""

from typing import NamedTuple

import numpy as np


def tokam2d_right_hand_side(density, potential, parameters):
    """Time derivative of Tokam2D's full complex spectra, each of shape (ny, nx).

    Real fields are the real part of a complex transform, as in Tokam2D itself; what a Nyquist
    derivative puts in the imaginary part stays in the spectra.
    """
    p = parameters
    (ny, nx), (ly, lx) = p.shape, p.length
    kx, ky = np.meshgrid(
        2 * np.pi * np.fft.fftfreq(nx, lx / nx), 2 * np.pi * np.fft.fftfreq(ny, ly / ny)
    )
    k2 = kx**2 + ky**2
    k2_or_one = np.where(k2 == 0, 1, k2)

    def real(spectrum):
        return np.fft.ifft2(spectrum).real

    v_x, v_y = real(-1j * ky * potential), real(1j * kx * potential)

    def transport(field):
        return 1j * kx * np.fft.fft2(v_x * field) + 1j * ky * np.fft.fft2(v_y * field)

    damping_n = p.density_diffusion * k2 + p.density_hyperdiffusion * k2**2 + p.density_friction
    damping_phi = (
        p.potential_diffusion * k2 + p.potential_hyperdiffusion * k2**2 + p.potential_friction
    )
    d_density = -damping_n * density - transport(real(density))
    d_potential = -damping_phi * potential + transport(real(-k2 * potential)) / k2_or_one
    not_zonal = ky != 0
    if p.model == "sol":
        d_density += p.sigma_nphi * potential - p.sigma_nn * density
        d_potential -= p.sigma_phiphi * potential / k2_or_one
        d_potential += not_zonal * (1j * ky * p.curvature + p.sigma_phin) * density / k2_or_one
    else:
        coupled = not_zonal if p.model == "mhw" else np.ones_like(not_zonal)
        C, not_mean = coupled * p.adiabaticity, k2 > 0
        d_density += (C - 1j * ky * p.density_gradient) * potential - not_mean * C * density
        d_potential -= not_mean * C * potential / k2_or_one
        d_potential += not_zonal * (C + 1j * ky * p.curvature) * density / k2_or_one
    for gaussian in p.sources:
        shape = np.exp(-1j * (ky * gaussian.center[0] + kx * gaussian.center[1])) * nx * ny
        for k, side, width in ((ky, ly, gaussian.width[0]), (kx, lx, gaussian.width[1])):
            decay = np.sqrt(2 * np.pi) * width / side * np.exp(-0.5 * (k * width) ** 2)
            shape = shape * (decay if width else k == 0)
        d_density += gaussian.density * shape
        d_potential -= gaussian.potential * shape / k2_or_one
    d_density[0, 0] += p.uniform_source * nx * ny
    return d_density, d_potential


class PCA(NamedTuple):
    """What a principal component analysis finds, by the names of scikit-learn."""

    components: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    singular_values: np.ndarray
    explained_variance: np.ndarray
    explained_variance_ratio: np.ndarray
    noise_variance: float


def moments(X, sample_weight=None):
    """Weight, mean and scatter matrix of rows, one after the other, in the longest floats."""
    X = np.asarray(X, dtype=np.longdouble)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.longdouble)
    mean = sum(w_i * x for w_i, x in zip(w, X, strict=True)) / w.sum()
    scatter = sum(w_i * np.outer(x - mean, x - mean) for w_i, x in zip(w, X, strict=True))
    return float(w.sum()), mean.astype(float), scatter.astype(float)


def forgetting_weights(n_samples, factor):
    """Weight of every sample of a stream when each new one scales all earlier ones."""
    weights = []
    for _ in range(n_samples):
        weights = [factor * weight for weight in weights] + [1.0]
    return np.array(weights)


def stacked_svd(a, b):
    """Merge (weight, mean, rows) of two sets of samples by one SVD; nothing is truncated."""
    weight_a, mean_a, rows_a = a
    weight_b, mean_b, rows_b = b
    weight = weight_a + weight_b
    step = np.sqrt(weight_a * weight_b / weight) * (mean_b - mean_a)
    _, s, Vt = np.linalg.svd(np.vstack([rows_a, rows_b, step[None, :]]), full_matrices=False)
    return weight, (weight_a * mean_a + weight_b * mean_b) / weight, s[:, None] * Vt


def svd_chunk_by_chunk(chunks, factor=1.0):
    """Weight, mean and rows of chunks, merged in their order; `factor` forgets, by sample."""
    state = None
    for X in chunks:
        w = forgetting_weights(len(X), factor)
        mean = (w @ X) / w.sum()
        new = w.sum(), mean, np.sqrt(w)[:, None] * (X - mean)
        if state is not None:
            kept = factor ** len(X)
            old = kept * state[0], state[1], np.sqrt(kept) * state[2]
            new = stacked_svd(old, new)
        state = new
    return state


def positive_signs(components):
    """Turn every axis so that its entry of largest size is positive, as scikit-learn does."""
    return np.array([axis * np.sign(axis[np.argmax(np.abs(axis))]) for axis in components])


def pca(X, n_components, sample_weight=None):
    """Principal components by one full SVD; a weight is that many repetitions of a sample."""
    X = np.asarray(X, dtype=float)
    n_features = X.shape[1]
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    mean = (w @ X) / w.sum()
    centred = X - mean
    _, s, Vt = np.linalg.svd(np.sqrt(w)[:, None] * centred, full_matrices=False)
    variances = s**2 / (w.sum() - 1)
    left_out = min(round(w.sum()), n_features) - n_components
    return PCA(
        positive_signs(Vt[:n_components]),
        mean,
        (w @ centred**2) / w.sum(),
        s[:n_components],
        variances[:n_components],
        variances[:n_components] / variances.sum(),
        variances[n_components:].sum() / left_out if left_out > 0 else 0.0,
    )


def center(X, sample_weight=None):
    """Mean, Σ w (X - mean)² and √w (X - mean) of every column, by its definition."""
    X = np.asarray(X, dtype=np.longdouble)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.longdouble)
    mean = np.array([sum(w * column) / sum(w) for column in X.T])
    centred = (X - mean) * np.sqrt(w)[:, None]
    return mean.astype(float), (centred**2).sum(axis=0).astype(float), centred.astype(float)


_STEP = 0x9E3779B97F4A7C15
_BITS = 0xFFFFFFFFFFFFFFFF


def drawn(base, number):
    """SplitMix64's bits for a number among those that belong to `base`."""
    bits = (base + _STEP * (number + 1)) & _BITS
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _BITS
    return bits ^ (bits >> 31)


def unit(bits):
    return ((bits >> 11) + 1) * 2.0**-53


def below(bits, count):
    return ((bits >> 32) * count) >> 32


def tree_seeds(seed, stream, n_trees):
    base = drawn(drawn(0, seed), stream)
    return [drawn(base, i) for i in range(n_trees)]


def exponentials(tree_seed, n_rows):
    """Return the exponential variable of every row of a stream in one tree."""
    segments = [(0, 256), (256, 512), (512, 1024), (1024, 2048)]
    segments += [(low, low + 2048) for low in range(2048, n_rows, 2048)]
    values = np.empty(segments[-1][1])
    for low, high in segments:
        base = drawn(tree_seed, low)
        order, value = list(range(low, high)), 0.0
        for j in range(high - low):
            value -= np.log(unit(drawn(base, 2 * j))) / (high - low - j)
            other = j + below(drawn(base, 2 * j + 1), high - low - j)
            order[j], order[other] = order[other], order[j]
            values[order[j]] = value
    return values[:n_rows]


def reservoir_keys(n_rows, sampling, weight=None):
    """Return the key of every row in every tree, shape (n_trees, n_rows)."""
    seeds = tree_seeds(sampling.seed, sampling.stream, sampling.n_trees)
    last = sampling.first + n_rows
    values = np.array([exponentials(seed, last)[sampling.first :] for seed in seeds])
    with np.errstate(divide="ignore"):
        log_weight = 0.0 if weight is None else np.log(weight)
    return np.log(values) - sampling.decay * np.arange(sampling.first, last) - log_weight


def mean_path(count):
    if count <= 2:
        return max(0.0, count - 1.0)
    return 2 * (np.log(count - 1) + np.euler_gamma) - 2 * (count - 1) / count


def isolation_tree(rows, seed, max_depth):
    """Return a tree as nested tuples (feature, threshold, missing_left, left, right), or a leaf."""
    some, largest = list(range(rows.shape[1])), np.finfo(np.float32).max

    def split(values, node):
        base, left, draws = drawn(seed, node), len(some), 0
        while left:
            j = below(drawn(base, draws), left)
            left -= 1
            feature = some[j]
            some[j], some[left] = some[left], feature
            x = values[:, feature]
            known = np.clip(x[~np.isnan(x)].astype(float), -largest, largest)
            if not len(known) or (known.min() == known.max() and len(known) == len(x)):
                draws += 1
                continue
            low, high = known.min(), known.max()
            exact = low + unit(drawn(base, draws + 1)) * (high - low)
            to_left = drawn(base, draws + 2) >> 63 != 0
            draws += 3
            cut = np.float32(exact)
            if cut > exact:
                cut = np.nextafter(cut, np.float32(-np.inf))
            cut = cut if low <= cut < high else np.float32(low)
            goes_left = (x <= cut) | (np.isnan(x) & to_left)
            if 0 < goes_left.sum() < len(x):
                if len(known) == len(x):
                    to_left = goes_left.sum() > len(x) / 2
                share = (cut - low) / (high - low) if low < high else 0.5
                return feature, cut, to_left, goes_left, np.clip(share, 1e-3, 1 - 1e-3)
        return None

    def grow(values, node, depth, dense):
        found = split(values, node) if depth < max_depth and len(values) > 1 else None
        if found is None:
            return [depth + mean_path(len(values)), dense]
        *cut, goes_left, share = found
        denser = np.log(goes_left.mean() / share), np.log((1 - goes_left.mean()) / (1 - share))
        left = grow(values[goes_left], 2 * node, depth + 1, dense + denser[0])
        return (*cut, left, grow(values[~goes_left], 2 * node + 1, depth + 1, dense + denser[1]))

    return grow(rows, 1, 0, 0.0)


def isolation_leaf(tree, x):
    while isinstance(tree, tuple):
        feature, threshold, missing_left, left, right = tree
        goes_left = missing_left if np.isnan(x[feature]) else x[feature] <= threshold
        tree = left if goes_left else right
    return tree

"""Other ways to make a block smaller, each with one setting that trades error for bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pcodec.standalone
import pysz
import tensorly
import zfpy
from numcodecs import BitRound, Blosc
from sklearn.decomposition import IncrementalPCA
from tensorly.decomposition import tucker

_ZSTD = Blosc(cname="zstd", clevel=5, shuffle=Blosc.BITSHUFFLE)
_HALVINGS = 14


class Coded(NamedTuple):
    """What a peer makes of a block."""

    n_bytes: int
    decoded: np.ndarray


def folded(block: np.ndarray, most: int) -> np.ndarray:
    """Return a block whose first axes are joined until it has `most` at most."""
    return np.ascontiguousarray(block.reshape(-1, *block.shape[len(block.shape) - most + 1 :]))


def sz3(block: np.ndarray, largest: float) -> Coded:
    values = folded(block, 3) if block.ndim > 3 else block
    data = sz3_encode(values, largest)
    decoded = pysz.sz.decompress(data, values.dtype, values.shape)[0]
    return Coded(data.nbytes, decoded.reshape(block.shape))


def sz3_encode(values: np.ndarray, largest: float) -> np.ndarray:
    config = pysz.szConfig(values.shape)
    config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, float(largest)
    return pysz.sz.compress(values, config)[0]


def zfp(block: np.ndarray, largest: float) -> Coded:
    values = folded(block, 4) if block.ndim > 4 else block
    data = zfpy.compress_numpy(values, tolerance=float(largest))
    return Coded(len(data), zfpy.decompress_numpy(data).reshape(block.shape))


def bit_round(block: np.ndarray, error: float) -> tuple[np.ndarray, int]:
    """Return a block with the least bits of mantissa for this relative L2 error."""
    digits = 23 if block.dtype == np.float32 else 52
    for kept in range(1, digits):
        codec = BitRound(kept)
        rounded = codec.decode(codec.encode(block.copy())).view(block.dtype).reshape(block.shape)
        if l2(rounded, block) <= error:
            return rounded, kept
    return block, digits


def at_equal_l2(
    codec: Callable[[np.ndarray, float], Coded], block: np.ndarray, error: float
) -> Coded:
    """Return the code of the coarsest setting that keeps a relative L2 error."""
    low, high = 1e-9 * float(np.ptp(block)), float(np.ptp(block))
    best = codec(block, low)
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        coded = codec(block, middle)
        if l2(coded.decoded, block) <= error:
            low, best = middle, coded
        else:
            high = middle
    return best


def truncated_pca(block: np.ndarray, error: float) -> float:
    """Return the ratio of plain modes of the first axis: coefficients, modes and mean as they are.

    NaN where no number of modes is exact enough.
    """
    rows = block.reshape(len(block), -1).astype(np.float64)
    most = min(rows.shape) - 1
    if most < 1:
        return math.nan
    model = IncrementalPCA(most).fit(rows)
    coefficients = model.transform(rows)
    for k in range(1, most + 1):
        decoded = coefficients[:, :k] @ model.components_[:k] + model.mean_
        if l2(decoded, rows) <= error:
            return rows.size / (k * (len(rows) + rows.shape[1]) + rows.shape[1])
    return math.nan


def tucker_ratio(block: np.ndarray, error: float) -> float:
    """Return the ratio of tensorly's Tucker, its core and factors stored as they are."""
    best = math.nan
    values = tensorly.tensor(block.astype(np.float64))
    energies = [
        np.linalg.svd(np.moveaxis(values, axis, 0).reshape(n, -1), compute_uv=False)[::-1] ** 2
        for axis, n in enumerate(values.shape)
    ]
    allowed = error**2 * float(np.vdot(values, values))
    for share in (1.0, 0.7, 0.5, 0.35, 0.25, 0.15):
        # leave out the same energy along every axis
        ranks = [
            max(int((np.cumsum(found) > share * allowed / values.ndim * 2).sum()), 1)
            for found in energies
        ]
        core, factors = tucker(values, rank=ranks, n_iter_max=1, tol=1e-3)
        if l2(tensorly.tucker_to_tensor((core, factors)), values) <= error:
            size = core.size + sum(factor.size for factor in factors)
            best = np.nanmax([best, values.size / size])
    return best


def pco_size(block: np.ndarray) -> int:
    config = pcodec.ChunkConfig(compression_level=8)
    return len(pcodec.standalone.simple_compress(np.ascontiguousarray(block.reshape(-1)), config))


def zstd_size(block: np.ndarray) -> int:
    return len(_ZSTD.encode(np.ascontiguousarray(block)))


def ratios_of_peers(block: np.ndarray, error: float) -> dict[str, float]:
    """Return the compression ratio of each peer at this relative L2 error."""
    rounded, _ = bit_round(block, error)
    return {
        "SZ3": block.nbytes / at_equal_l2(sz3, block, error).n_bytes,
        "zfp": block.nbytes / at_equal_l2(zfp, block, error).n_bytes,
        "BitRound + zstd": block.nbytes / zstd_size(rounded),
        "BitRound + pcodec": block.nbytes / pco_size(rounded),
        "PCA": truncated_pca(block, error),
        "Tucker": tucker_ratio(block, error),
    }


def l2(decoded: np.ndarray, block: np.ndarray) -> float:
    """Return the relative L2 error."""
    difference = decoded.astype(np.float64) - block
    return float(np.linalg.norm(difference) / np.linalg.norm(block.astype(np.float64)))

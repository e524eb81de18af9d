"""Patches, spectra and stacks of fields against plain NumPy, and the memory of lazy ones."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from _table import Table
from sklearn.feature_extraction.image import reconstruct_from_patches_2d

from dask_exa._threads import thread_share
from dask_exa.preprocessing import FieldStacker, PatchExtractor, SpectralFeatures

FRAMES = (64, 128, 128)


def film(shape: tuple[int, ...] = FRAMES, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def patch_speed(repeats: int) -> None:
    """Cut 64 frames of 128² into patches and put them together again; one thread."""
    table = Table("Patches of 64 frames of 128² float32, periodic, CPU time of one thread",
                  "patch", "stride", "ours, 1000/s", "padded view of NumPy / ours",
                  "blended, 1000/s", "loop over patches / ours")  # fmt: skip
    X = film()
    for size, stride in ((8, 4), (16, 8), (16, 16), (8, 1)):
        frames = X[:8] if stride == 1 else X
        patches = PatchExtractor(size, stride=stride, padding="wrap").fit(frames)
        rows = patches.transform(frames)
        weights = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
        cut = (
            lambda p=patches, f=frames: p.transform(f),
            lambda f=frames, n=size, s=stride: _padded_view(f, n, s),
        )
        together = (
            lambda p=patches, r=rows: p.inverse_transform(r),
            lambda r=rows, f=frames, s=stride, w=weights: _loop(r, f.shape, s, w),
        )
        first, ratio = _interleaved(cut, repeats)
        second, slower = _interleaved(together, repeats)
        n = len(rows) / 1000
        table.row(f"{size}²", stride, n / first, ratio, n / second, slower)
    table.show()


def patch_peer(repeats: int) -> None:
    """Put all patches of one image together, as scikit-learn does by a loop over patches."""
    image = film((1, 128, 128), "float64")
    patches = PatchExtractor(8, stride=1, blend="mean").fit(image)
    rows = patches.transform(image)
    ways = (
        lambda: patches.inverse_transform(rows),
        lambda: reconstruct_from_patches_2d(rows.reshape(-1, 8, 8), (128, 128)),
    )
    ours, ratio = _interleaved(ways, repeats)
    table = Table("All 8² patches of a 128² image put together, CPU time of one thread",
                  "ours (ms)", "scikit-learn / ours", "largest difference")  # fmt: skip
    table.row(1e3 * ours, ratio, float(np.abs(ways[0]()[0] - ways[1]()).max()))
    table.show()


def spectrum_speed(repeats: int) -> None:
    """Binned spectra of frames, signals and volumes; one thread."""
    table = Table("Binned spectra, CPU time of one thread",
                  "fields", "dtype", "ours, spectra/s", "NumPy, full transform / ours",
                  "bare half transform / ours")  # fmt: skip
    for shape in ((64, 128, 128), (20_000, 256), (4, 64, 64, 64)):
        for dtype in ("float32", "float64"):
            X = xr.DataArray(film(shape, dtype), dims=("sample", *"zyx"[-(len(shape) - 1) :]))
            spectra = SpectralFeatures().fit(X)
            axes = tuple(range(1, len(shape)))
            ways = (
                lambda s=spectra, X=X: s.transform(X),
                lambda X=X, a=axes: _plain_spectra(X.values, a),
                lambda X=X, a=axes: np.fft.rfftn(X.values.astype("float64"), axes=a),
            )
            ours, *ratios = _interleaved(ways, repeats)
            name = f"{shape[0]} × {'×'.join(map(str, shape[1:]))}"
            table.row(name, dtype, shape[0] / ours, *ratios)
    table.show()


def lazy_memory(repeats: int) -> None:
    """Peak memory of a lazy pass over 64 frames in chunks of one, one thread."""
    table = Table("Peak memory of a lazy pass over 64 frames of 256² float64, chunk by chunk",
                  "pass", "field (MB)", "result (MB)", "peak (MB)")  # fmt: skip
    frames = da.random.default_rng(0).standard_normal((64, 256, 256), chunks=(1, 128, 256))
    X = xr.DataArray(frames, dims=("time", "y", "x"))
    patches = PatchExtractor({"y": 16, "x": 16}, stride=4, padding="wrap").fit(X)
    rows = patches.transform(X).data
    stacker = FieldStacker("time").fit(X)
    spectra = SpectralFeatures().fit(X).transform(X).data
    passes = {
        "cut into patches": rows,
        "cut and blended": patches.inverse_transform(rows).data,
        "stacked": stacker.transform(X).data,
        "spectra": spectra,
    }
    for name, array in passes.items():
        with dask.config.set(scheduler="synchronous"):
            tracemalloc.start()
            array.sum().compute()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        table.row(name, frames.nbytes / 1e6, array.nbytes / 1e6, peak / 1e6)
    table.show()


def _padded_view(frames: np.ndarray, size: int, stride: int) -> np.ndarray:
    padded = np.pad(frames, ((0, 0), (0, size - 1), (0, size - 1)), mode="wrap")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    return windows[:, ::stride, ::stride].reshape(-1, size * size)


def _loop(rows: np.ndarray, shape: tuple[int, ...], stride: int, weights: np.ndarray) -> np.ndarray:
    """Add every patch, of all frames at once, at its place: the usual way in NumPy."""
    size = len(weights)
    n_frames, n_y, n_x = shape
    weight = np.outer(weights, weights)
    patches = rows.reshape(n_frames, -(-n_y // stride), -(-n_x // stride), size, size) * weight
    total, norm = np.zeros((n_frames, n_y + size, n_x + size)), np.zeros((n_y + size, n_x + size))
    for i, y in enumerate(range(0, n_y, stride)):
        for j, x in enumerate(range(0, n_x, stride)):
            total[:, y : y + size, x : x + size] += patches[:, i, j]
            norm[y : y + size, x : x + size] += weight
    for part in (total, norm):
        part[..., :size, :] += part[..., n_y:, :]
        part[..., :size] += part[..., n_x:]
    return (total[:, :n_y, :n_x] / norm[:n_y, :n_x]).astype(rows.dtype)


def _plain_spectra(fields: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    sizes = fields.shape[1:]
    shells = np.sqrt(sum(k**2 for k in np.meshgrid(
        *(np.fft.fftfreq(n, 1 / n) for n in sizes), indexing="ij", sparse=True)))  # fmt: skip
    bins = np.round(shells).astype(int).ravel()
    powers = np.abs(np.fft.fftn(fields.astype("float64"), axes=axes)) ** 2 / np.prod(sizes) ** 2
    return np.stack([np.bincount(bins, weights=power.ravel()) for power in powers])


def _interleaved(ways: tuple[Callable[[], Any], ...], repeats: int) -> tuple[float, ...]:
    """Return the median CPU time of the first way, and the median ratios of others to it."""
    with thread_share(1):
        times = [[_cpu(way) for way in ways] for _ in range(repeats + 1)][1:]
    first = statistics.median(row[0] for row in times)
    return first, *(
        statistics.median(row[i] / row[0] for row in times) for i in range(1, len(ways))
    )


def _cpu(way: Callable[[], Any]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


TABLES: dict[str, Callable[[int], None]] = {
    f.__name__: f for f in (patch_speed, patch_peer, spectrum_speed, lazy_memory)
}

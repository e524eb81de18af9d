"""Compression ratios at equal achieved error, and speeds, beside the codecs there are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from statistics import median

import h5py
import numpy as np
import pysz
from _compression_peers import folded, l2, ratios_of_peers, sz3, sz3_encode, zfp
from _labelled import DATA
from _table import Table

from dask_exa.compression import (
    Bound,
    choose_transform,
    decode_block,
    describe_block,
    encode_block,
)
from dask_exa.datasets import Vlasov

REAL = DATA.parent
ERRORS = (1e-2, 1e-3, 1e-4)
_FRAMES = 30


def sets() -> Iterator[tuple[str, np.ndarray]]:
    """Yield a block of each of the codes' data."""
    for run in ("sol", "hw"):
        with h5py.File(REAL / "tokam2d" / run / "simulation_fields.h5") as file:
            middle = len(file["time"]) // 2
            for name in ("density", "potential"):
                yield f"{run} {name}", file[name][middle : middle + 16]
    yield "Vlasov 5D f", vlasov()
    with h5py.File(REAL / "pygyro/ref_f.h5") as file:
        yield "PyGyro f (t, 4D)", file["f"][:]
    with h5py.File(REAL / "dyablo/blast3d_iter0000054.h5") as file:
        yield "AMR blast rho", file["rho"][:].reshape(-1, 4, 4, 4)
    with h5py.File(REAL / "goosefft/goose_poly.h5") as file:
        yield "crystal P", file["P"][:]
    with np.load(REAL / "ska/low30_rfi.npz") as file:
        vis = file["vis"]
        yield "visibilities", np.stack([vis.real, vis.imag], axis=-1).astype("f4")


@cache
def vlasov() -> np.ndarray:
    """Return a distribution function in which two streams have begun to mix."""
    simulation = Vlasov.two_stream(shape=(16, 16, 32, 32, 8), amplitude=0.1, noise=1e-3)
    for _ in range(_FRAMES):
        simulation.advance()
    return simulation.f.astype("f4")


def ratios(repeats: int) -> None:
    """Ratios at equal relative L2 error."""
    del repeats
    table = Table(
        "compression ratio at equal achieved relative L2 error",
        "block", "L2", "ours", "by", "SZ3", "zfp", "BitRound + zstd", "BitRound + pcodec", "PCA",
        "Tucker", "ours / SZ3", "ours / best peer",
    )  # fmt: skip
    for name, block in sets():
        for error in ERRORS:
            data = encode_block(block, Bound("l2", error))
            assert l2(decode_block(data), block) <= error
            ours, peers = block.nbytes / len(data), ratios_of_peers(block, error)
            best = np.nanmax(list(peers.values()))
            table.row(name, error, ours, describe_block(data).transform, *peers.values(),
                      ours / peers["SZ3"], float(ours / best))  # fmt: skip
    table.show()


def ratios_of_the_maximum(repeats: int) -> None:
    """Ratios at an equal bound of the largest error."""
    del repeats
    table = Table(
        "compression ratio at an equal bound of the largest error, relative to the range",
        "block", "bound", "ours", "by", "SZ3", "zfp", "ours / SZ3",
    )  # fmt: skip
    for name, block in sets():
        for error in ERRORS:
            largest = error * float(np.ptp(block))
            data = encode_block(block, Bound("rel", error))
            assert np.abs(decode_block(data) - block).max() <= largest
            ours = block.nbytes / len(data)
            peers = [block.nbytes / codec(block, largest).n_bytes for codec in (sz3, zfp)]
            table.row(name, error, ours, describe_block(data).transform, *peers, ours / peers[0])
    table.show()


def speeds(repeats: int) -> None:
    """Speeds on one core: with the transform chosen before, as it is for all blocks but a few."""
    table = Table(
        "speed at a bound of 1e-3, MB/s of the uncompressed block",
        "block", "bound", "by", "in", "out", "SZ3 in", "SZ3 out", "ours / SZ3 in",
        "ours / SZ3 out", "choosing (s)",
    )  # fmt: skip
    for name, block in sets():
        values = folded(block, 3) if block.ndim > 3 else block
        largest = 1e-3 * float(np.ptp(block))
        for kind in ("l2", "rel"):
            bound = Bound(kind, 1e-3)
            start = time.perf_counter()
            choice = choose_transform(block, bound)
            choosing = time.perf_counter() - start
            ours, theirs = encode_block(block, bound, choose=choice), sz3_encode(values, largest)
            calls = (
                lambda block=block, bound=bound, choice=choice: encode_block(
                    block, bound, choose=choice
                ),
                lambda ours=ours: decode_block(ours),
                lambda values=values, largest=largest: sz3_encode(values, largest),
                lambda theirs=theirs, values=values: pysz.sz.decompress(
                    theirs, values.dtype, values.shape
                ),
            )
            rounds = [[_seconds(call) for call in calls] for _ in range(repeats)]
            speed = [block.nbytes / 1e6 / median(column) for column in zip(*rounds, strict=True)]
            relative = [median(row[2 + i] / row[i] for row in rounds) for i in (0, 1)]
            table.row(name, kind, choice.transform, *speed, *relative, choosing)
    table.show()


def _seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


TABLES = {"ratios": ratios, "maximum": ratios_of_the_maximum, "speeds": speeds}
ON_REAL_DATA = set(TABLES)

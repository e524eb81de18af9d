"""One block of values to bytes within a bound, and back.

A block is tried with several transforms and stored by what makes it smallest; every code is decoded
and compared with the block before it is returned, and what breaks the bound is thrown away. The
error-bounded codecs SZ3 and zfp and a lossless code are among the candidates, so that a block is
never larger than theirs by more than a few bytes of heading.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa._parameters import check_choice
from dask_exa.compression import learned, peers
from dask_exa.compression._byte_fields import Reader, Writer
from dask_exa.compression._parts import (
    as_parts,
    decode_raw,
    dtype_of_parts,
    encode_raw,
    joined,
    mask_of_parts,
    rounded,
    working_dtype,
)
from dask_exa.compression.basis import Basis
from dask_exa.compression.bounds import Bound, Tolerance, check_bound, tolerance_of
from dask_exa.compression.masks import put_back, split_off
from dask_exa.compression.separable import Coded, decode_separable, encode_separable

__all__ = ["TRANSFORMS", "Basis", "Bound", "Choice", "choose_transform", "decode_block",
           "describe_block", "encode_block"]  # fmt: skip

TRANSFORMS = ("tucker", "patch-klt", "basis", "sz3", "zfp")
_CODERS = ("lossless", "constant", *TRANSFORMS)
_LEARNED = ("basis", "patch-klt")
_MAGIC = 0xDE
_FORMAT = 1
_EXACT = 2.0**53
_DISAPPOINTING = 0.8
_SHARES = (1.0, 0.99, 0.95)
"""Of the allowed error, for a coder that has been a little too coarse."""
_ROUNDING = {2: 2.0**-9, 4: 2.0**-20, 8: 2.0**-48}
"""Share of the largest value that is left to the rounding of other machines' Fourier transforms."""


class Choice(NamedTuple):
    """What codes a block smallest.

    Attributes
    ----------
    transform : str
        One of `TRANSFORMS`, or "lossless".
    kinds : str
        For "tucker", the transform of every axis: ``k`` principal modes, ``f`` Fourier series,
        ``c`` cosines, ``-`` none.
    ratio : float
        Bytes of the sample by those of its code.
    """

    transform: str
    kinds: str = ""
    ratio: float = 0.0


def encode_block(
    block: np.ndarray,
    bound: Bound,
    *,
    transforms: Sequence[str] = TRANSFORMS,
    basis: Basis | None = None,
    choose: Choice | None = None,
) -> bytes:
    """Code a block of values so that the error keeps a bound.

    Parameters
    ----------
    block : array of any shape, integers, real or complex numbers or booleans
        NaN and infinite values are kept exactly, and the bound is that of the others.
    bound : Bound
    transforms : sequence of {"tucker", "patch-klt", "basis", "sz3", "zfp"}
        Candidates: a transform along every axis (`dask_exa.compression.separable`); modes of
        patches, respectively of whole blocks, which need `basis`; the codecs SZ3 and zfp. A
        lossless code is always one.
    basis : Basis, optional
        Decoding needs the same one if the block was coded in it.
    choose : Choice, optional
        Of `choose_transform`: only this is tried, which is several times as fast, unless it turns
        out a fifth larger than it was on the sample.

    Returns
    -------
    bytes
        They carry dtype, shape and all that `decode_block` needs but the basis.

    Raises
    ------
    TypeError
        For a dtype that is no number.
    ImportError
        When the extra ``compression`` is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.compression import Bound, decode_block, encode_block
    >>> wave = np.sin(np.linspace(0, 9, 4096, dtype="f4")).reshape(64, 64)
    >>> data = encode_block(wave, Bound("abs", 1e-3))
    >>> bool(np.abs(decode_block(data) - wave).max() <= 1e-3), len(data) < wave.nbytes / 10
    (True, True)
    """
    return _encode(block, bound, transforms, basis, choose)[0]


def encode_and_choose(
    block: np.ndarray,
    bound: Bound,
    *,
    transforms: Sequence[str] = TRANSFORMS,
    basis: Basis | None = None,
) -> tuple[bytes, Choice]:
    """Return the code of a block, and what it was found to be smallest with.

    Parameters
    ----------
    block, bound, transforms, basis
        See `encode_block`.

    Returns
    -------
    data : bytes
    choice : Choice
    """
    return _encode(block, bound, transforms, basis, None)


def choose_transform(
    sample: np.ndarray,
    bound: Bound,
    *,
    transforms: Sequence[str] = TRANSFORMS,
    basis: Basis | None = None,
) -> Choice:
    """Return what codes a sample smallest, for other blocks of the same field.

    Parameters
    ----------
    sample : array
        A block like those to come.
    bound, transforms, basis
        See `encode_block`.

    Returns
    -------
    Choice
    """
    return encode_and_choose(sample, bound, transforms=transforms, basis=basis)[1]


def decode_block(data: bytes, *, basis: Basis | None = None) -> np.ndarray:
    """Return the block that `encode_block` has coded, of the same dtype and shape.

    Parameters
    ----------
    data : bytes
    basis : Basis, optional
        That the block was coded in, if any.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        When the bytes are of something else or damaged, or need another basis.
    """
    coder, dtype, shape, reader = _read_heading(data)
    if not math.prod(shape):
        return np.empty(shape, dtype)
    mask = reader.section()
    if coder == "lossless":
        return decode_raw(reader.section(), dtype, shape)
    needed = reader.section().decode() if coder in _LEARNED else ""
    if needed and (basis is None or basis.name != needed):
        given = "none was given" if basis is None else f"{basis.name!r} was given"
        raise ValueError(f"the block is coded in the basis {needed!r}, {given}; pass that basis.")
    parts, parts_shape = dtype_of_parts(dtype), (*shape, 2) if dtype.kind == "c" else shape
    values = _decode_values(coder, reader.section(), parts_shape, parts, basis)
    return joined(put_back(rounded(values, parts), mask), dtype, shape)


def as_values(block: np.ndarray) -> np.ndarray:
    """Return a block as float64 values without gaps, the parts of complex ones on a last axis."""
    parts = as_parts(np.asarray(block))
    return split_off(parts, mask_of_parts(np.isfinite(block), parts))[0].astype(np.float64)


def describe_block(data: bytes) -> Choice:
    """Return how a block is coded, from its first bytes, and its compression ratio."""
    coder, dtype, shape, _ = _read_heading(data)
    return Choice(coder, "", math.prod(shape) * dtype.itemsize / len(data))


def needs_basis(data: bytes) -> str:
    """Return the name of the basis that decodes a block; empty for none."""
    coder, _, shape, reader = _read_heading(data)
    if coder not in _LEARNED or not math.prod(shape):
        return ""
    reader.section()
    return reader.section().decode()


def _encode(
    block: np.ndarray,
    bound: Bound,
    transforms: Sequence[str],
    basis: Basis | None,
    choose: Choice | None,
) -> tuple[bytes, Choice]:
    block = np.asarray(block)
    check_bound(bound)
    for name in transforms:
        check_choice("transforms", name, TRANSFORMS)
    if block.dtype.kind not in "biufcmM":
        raise TypeError(f"dtype={block.dtype} of the block is no number; encode numbers only.")
    if block.size == 0:
        return _heading("lossless", block).section(b"").rest(b""), Choice("lossless")
    found: list[tuple[bytes, Choice]] = []
    if block.dtype.kind in "iufc" and not bound.lossless and block.dtype.itemsize <= 16:
        found = _lossy(block, bound, transforms, basis, choose)
    if choose is None or not found or choose.transform == "lossless":
        found.append((_heading("lossless", block).section(b"").section(encode_raw(block)).rest(b""),
                      Choice("lossless")))  # fmt: skip
    data, choice = min(found, key=lambda pair: len(pair[0]))
    ratio = block.nbytes / len(data)
    if choose is not None and ratio < _DISAPPOINTING * choose.ratio:
        return _encode(block, bound, transforms, basis, None)
    return data, choice._replace(ratio=ratio)


def _lossy(
    block: np.ndarray,
    bound: Bound,
    transforms: Sequence[str],
    basis: Basis | None,
    choose: Choice | None,
) -> list[tuple[bytes, Choice]]:
    """Return all codes of a block that keep the bound."""
    finite = np.isfinite(block)
    if not finite.any():
        return []
    allowed = tolerance_of(bound, block if finite.all() else block[finite])
    parts = as_parts(block)
    filled, mask = split_off(parts, mask_of_parts(finite, parts))
    if filled.min() == filled.max():
        body = _heading("constant", block).section(mask).section(filled.reshape(-1)[:1].tobytes())
        return [(body.rest(b""), Choice("constant"))]
    values = np.ascontiguousarray(filled, working_dtype(parts.dtype)).reshape(filled.shape)
    tolerance = _inner_tolerance(allowed, values, block.dtype)
    if tolerance is None:
        return []

    def holds(decoded: np.ndarray) -> bool:
        decoded = joined(rounded(decoded, parts.dtype), block.dtype, block.shape)
        if not mask:
            return allowed.holds(block, decoded)
        return allowed.holds(block[finite], decoded[finite])

    found = []
    for name in transforms if choose is None else [choose.transform]:
        for share in _SHARES:
            coded = _encode_values(name, values, tolerance.tightened(share), basis, choose)
            if coded is None:
                break
            if holds(coded.decoded):
                heading = _heading(name, block).section(mask)
                if name in _LEARNED and basis is not None:
                    heading.section(basis.name.encode())
                found.append((heading.section(coded.data).rest(b""), Choice(name, coded.kinds)))
                break
    return found


def _encode_values(
    name: str,
    values: np.ndarray,
    tolerance: Tolerance,
    basis: Basis | None,
    choose: Choice | None,
) -> Coded | None:
    if name == "tucker":
        kinds = choose.kinds if choose is not None and len(choose.kinds) == values.ndim else None
        return encode_separable(values, tolerance, kinds)
    if name in ("sz3", "zfp"):
        encode = peers.encode_sz3 if name == "sz3" else peers.encode_zfp
        data = encode(values, tolerance)
    elif basis is None or name != learned.transform_of(basis, values.shape):
        return None
    else:
        data = learned.encode_learned(values, tolerance, basis)
    if data is None:
        return None
    return Coded(data, _decode_values(name, data, values.shape, values.dtype, basis), "")


def _decode_values(
    name: str, body: bytes, shape: tuple[int, ...], parts: np.dtype, basis: Basis | None
) -> np.ndarray:
    """Return values before they are rounded to the dtype of the parts."""
    working = working_dtype(parts)
    if name == "tucker":
        return decode_separable(body, shape)
    if name == "sz3":
        return peers.decode_sz3(body, shape, working)
    if name == "zfp":
        return peers.decode_zfp(body, shape, working)
    if name == "constant":
        return np.full(shape, np.frombuffer(body, parts)[0])
    assert basis is not None  # decode_block has looked
    return learned.decode_learned(body, shape, basis)


def _inner_tolerance(allowed: Tolerance, values: np.ndarray, dtype: np.dtype) -> Tolerance | None:
    """Return what is left to the coders after rounding; None where nothing is.

    Decoded values are rounded to the dtype of the block, and a Fourier transform on another machine
    rounds otherwise. The two parts of a complex number share the error of its modulus.
    """
    peak = float(np.abs(values).max())
    if dtype.kind in "iu":
        if peak >= _EXACT:
            return None
        if allowed.pointwise:
            return Tolerance(True, math.floor(allowed.value) + 0.499)
        rounding = 0.5
    else:
        rounding = peak * _ROUNDING[min(dtype_of_parts(dtype).itemsize, 8)]
    if allowed.pointwise:
        left = allowed.value / (math.sqrt(2) if dtype.kind == "c" else 1) - rounding
        return Tolerance(True, left) if left > allowed.value / 2 else None
    left = math.sqrt(allowed.value) - rounding * math.sqrt(values.size)
    return Tolerance(False, left**2) if left > 0.5 * math.sqrt(allowed.value) else None


def _heading(coder: str, block: np.ndarray) -> Writer:
    writer = Writer().number(_MAGIC).number(_FORMAT).number(_CODERS.index(coder))
    return writer.section(block.dtype.str.encode()).numbers(block.shape)


def _read_heading(data: bytes) -> tuple[str, np.dtype, tuple[int, ...], Reader]:
    reader = Reader(data)
    magic, version = reader.number(), reader.number()
    if magic != _MAGIC or version != _FORMAT:
        raise ValueError(
            f"the bytes begin with {magic}, {version}, a block coded by dask-exa with {_MAGIC}, "
            f"{_FORMAT}; they are damaged, or of a newer version."
        )
    number = reader.number()
    if number >= len(_CODERS):
        raise ValueError(f"the block has coder {number}, of {len(_CODERS)} that are known.")
    return _CODERS[number], np.dtype(reader.section().decode()), reader.numbers(), reader

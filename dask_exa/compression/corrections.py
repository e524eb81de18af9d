"""Values whose error is too large after a transform code, set right one by one."""

from __future__ import annotations

import numpy as np

from dask_exa.compression._byte_fields import Reader, Writer
from dask_exa.compression.entropy import decode_integers, encode_integers

_SPACING = 1.9
"""Of the corrections, in units of the largest error allowed; 2 would leave nothing for rounding."""


def encode_corrections(values: np.ndarray, decoded: np.ndarray, largest: float) -> bytes:
    """Code what brings all errors below `largest`: gaps between the values, and multiples of it.

    Parameters
    ----------
    values, decoded : arrays of one shape and dtype
    largest : float
        Error that is allowed to every value.

    Returns
    -------
    bytes
    """
    error = (values - decoded).reshape(-1)
    places = np.flatnonzero(~(np.abs(error) <= largest))
    writer = Writer().number(places.size)
    if not places.size:
        return writer.rest(b"")
    gaps = np.diff(places, prepend=0)
    multiples = np.rint(error[places] / (_SPACING * largest)).astype(np.int64)
    return writer.real(largest).section(encode_integers(gaps)).rest(encode_integers(multiples))


def correct(decoded: np.ndarray, data: bytes) -> np.ndarray:
    """Return decoded values, set right by `encode_corrections`.

    Parameters
    ----------
    decoded : array
        May be changed.
    data : bytes

    Returns
    -------
    array
    """
    reader = Reader(data)
    n_places = reader.number()
    if not n_places:
        return decoded
    largest = reader.real()
    places = np.cumsum(decode_integers(reader.section(), n_places), dtype=np.int64)
    multiples = decode_integers(reader.rest(), n_places)
    flat = np.ascontiguousarray(decoded).reshape(-1)
    flat[places] += (_SPACING * largest * multiples).astype(flat.dtype)
    return flat.reshape(decoded.shape)

"""The records of an OSKAR binary file: where each lies and what type it has."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAGIC = b"OSKARBIN"
HEADER, BLOCK = 11, 12
"""Groups of records: the header of the visibilities, and their blocks by index."""
_FORMAT_VERSION = 2
_FILE_HEADER, _TAG_HEADER = 64, 20
_IS_EXTENDED, _HAS_CHECKSUM, _IS_BIG_ENDIAN = 128, 64, 32
_CHECKSUM_SIZE = 4
_COMPLEX, _MATRIX = 32, 64
_TYPES = {1: "S1", 2: "<i4", 4: "<f4", 8: "<f8", 4 | _COMPLEX: "<c8", 8 | _COMPLEX: "<c16"}


class Record(NamedTuple):
    """One record: what it is, and the place of its payload in the file."""

    group: int
    tag: int
    number: int
    """Of the block, or of the station."""
    type: int
    offset: int
    size: int
    """Bytes, without the checksum."""

    @property
    def is_matrix(self) -> bool:
        """Whether every value is a 2 × 2 matrix of polarisations."""
        return bool(self.type & _MATRIX)

    @property
    def dtype(self) -> np.dtype:
        """Type of the values, or of the elements of their matrices."""
        return np.dtype(_TYPES[self.type & ~_MATRIX])

    def map(self, path: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the values as a memory map of this shape, which reads what is looked at."""
        n_bytes = int(np.prod(shape)) * self.dtype.itemsize
        if n_bytes > self.size:
            raise ValueError(
                f"source={path!r} is damaged: the record of group {self.group}, tag {self.tag}, "
                f"block {self.number} has {self.size} bytes, not the {n_bytes} of {shape} "
                f"{self.dtype}; copy it again."
            )
        return np.memmap(path, self.dtype, "r", self.offset, shape)


def read_records(path: str) -> tuple[list[Record], bool]:
    """Return the complete records of a file, and whether it ends with the last of them.

    Parameters
    ----------
    path : str

    Returns
    -------
    records : list of Record
        Those of known types.
    is_whole : bool
        False where the file ends in the middle of a record.

    Raises
    ------
    ValueError
        When it is no binary file of OSKAR of version 2.
    """
    n_bytes = Path(path).stat().st_size
    with open(path, "rb") as file:
        start = file.read(_FILE_HEADER)
        if start[: len(MAGIC)] != MAGIC:
            raise ValueError(f"source={path!r} starts with {start[:8]!r}, not with {MAGIC!r}.")
        if len(start) < _FILE_HEADER or start[9] != _FORMAT_VERSION:
            found = start[9] if len(start) > 9 else "none"
            raise ValueError(
                f"source={path!r} has the format version {found}; version {_FORMAT_VERSION} can "
                "be read: write it again with OSKAR 2.5 or newer."
            )
        records: list[Record] = []
        offset = _FILE_HEADER
        while offset + _TAG_HEADER <= n_bytes:
            file.seek(offset)
            flags, kind, group, tag, index, size = struct.unpack("<4x4Biq", file.read(_TAG_HEADER))
            begin, offset = offset + _TAG_HEADER, offset + _TAG_HEADER + size
            if size < 0 or offset > n_bytes:
                return records, False
            if flags & _IS_BIG_ENDIAN:
                raise ValueError(f"source={path!r} is big-endian; write it again on this machine.")
            if not flags & _IS_EXTENDED and kind & ~_MATRIX in _TYPES:
                length = size - (_CHECKSUM_SIZE if flags & _HAS_CHECKSUM else 0)
                records.append(Record(group, tag, index, kind, begin, length))
    return records, offset == n_bytes


def numbers(path: str, record: Record) -> np.ndarray:
    """Return a record as an array of one dimension."""
    return np.array(record.map(path, (record.size // record.dtype.itemsize,)))

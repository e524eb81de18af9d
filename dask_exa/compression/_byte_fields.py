"""Bytes that are written and read one after the other: numbers of variable length, and sections."""

from __future__ import annotations

import struct
from collections.abc import Sequence


class Writer:
    """Collects what `Reader` gives back in the same order."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def number(self, value: int) -> Writer:
        """Add an unsigned integer: seven bits a byte."""
        value = int(value)
        encoded = bytearray()
        while value > 127:
            encoded.append(value & 127 | 128)
            value >>= 7
        encoded.append(value)
        self._parts.append(bytes(encoded))
        return self

    def numbers(self, values: Sequence[int]) -> Writer:
        """Add unsigned integers, and how many there are."""
        self.number(len(values))
        for value in values:
            self.number(value)
        return self

    def real(self, value: float) -> Writer:
        """Add a float64."""
        self._parts.append(struct.pack("<d", value))
        return self

    def section(self, data: bytes) -> Writer:
        """Add bytes, and how many there are."""
        self.number(len(data))
        self._parts.append(data)
        return self

    def rest(self, data: bytes) -> bytes:
        """Add bytes that go on to the end, and return all."""
        return b"".join([*self._parts, data])


class Reader:
    """Reads what `Writer` has written; raises ValueError where bytes are missing."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise ValueError(
                f"the coded block is cut off: {size} bytes are expected at byte {self._at}, "
                f"it has {len(self._data)}; read it again or encode it anew."
            )
        taken = self._data[self._at : self._at + size]
        self._at += size
        return bytes(taken)

    def number(self) -> int:
        """Return the unsigned integer that comes next."""
        value = shift = 0
        while True:
            byte = self._take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def numbers(self) -> tuple[int, ...]:
        """Return the unsigned integers that come next."""
        return tuple(self.number() for _ in range(self.number()))

    def real(self) -> float:
        """Return the float64 that comes next."""
        return struct.unpack("<d", self._take(8))[0]

    def section(self) -> bytes:
        """Return the bytes that come next."""
        return self._take(self.number())

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self._take(len(self._data) - self._at)

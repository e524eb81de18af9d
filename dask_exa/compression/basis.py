"""Modes that blocks share: learnt once, kept beside them, known by their hash."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import Any

import numpy as np
import scipy.ndimage

from dask_exa.compression._byte_fields import Reader, Writer
from dask_exa.compression.entropy import decode_integers, encode_integers

_MAGIC = b"DXB1"
_BITS = 14


class Basis:
    """Mean and orthonormal modes of patches of a fixed shape.

    Modes of the shape of a whole block are global modes; those of small patches, in space or in
    space and time, suit fields that look alike everywhere.

    Parameters
    ----------
    mean : array of shape (n_features,)
    components : array of shape (n_components, n_features)
        Rows are modes by decreasing energy, such as `IncrementalPCA.components_`; they need not be
        exactly orthonormal. Both are rounded to steps of 2^-14 of their largest value, so that a
        basis takes few bytes; what is used is the rounded one, made orthonormal again.
    patch : tuple of int
        Shape of a patch; its product is n_features.
    version : int, default=0
        How many bases this one replaces.

    Attributes
    ----------
    name : str
        Hash of the contents.
    patch, version
        As given.
    mean : array of shape (n_features,), float64
    modes : array of shape (n_features, n_components), float64
        Orthonormal columns.

    Examples
    --------
    >>> import numpy as np
    >>> waves = np.cos(np.pi * np.outer(np.arange(2), np.arange(8) + 0.5) / 8)
    >>> basis = Basis(np.zeros(8), waves, (8,))
    >>> Basis.from_bytes(basis.to_bytes()).name == basis.name
    True
    """

    def __init__(
        self, mean: Any, components: Any, patch: tuple[int, ...], version: int = 0
    ) -> None:
        mean = np.asarray(mean, np.float64).reshape(-1)
        components = np.asarray(components, np.float64)
        size = math.prod(patch)
        if components.ndim != 2 or components.shape[1] != size or mean.size != size:
            raise ValueError(
                f"components of shape {components.shape} and a mean of {mean.size} values do not "
                f"belong to patch={patch!r}; pass (n_components, {size}) and {size}."
            )
        if len(components) > size:
            raise ValueError(f"{len(components)} components are more than the {size} of a patch.")
        if not (np.isfinite(mean).all() and np.isfinite(components).all()):
            raise ValueError("mean and components must be finite.")
        writer = Writer().number(version).numbers(patch).number(len(components))
        for values in (mean, components.reshape(-1)):
            scale = float(np.abs(values).max(initial=0)) / 2**_BITS or 1.0
            numbers = np.rint(values / scale).astype(np.int64)
            writer.real(scale).section(encode_integers(numbers))
        self._load(_MAGIC + writer.rest(b""))

    @classmethod
    def from_bytes(cls, data: bytes) -> Basis:
        """Return the basis that `to_bytes` has written.

        Raises
        ------
        ValueError
            When the bytes are of something else, or cut off.
        """
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError(
                f"the bytes begin with {data[:4]!r}, those of a basis with {_MAGIC!r}."
            )
        basis = cls.__new__(cls)
        basis._load(bytes(data))
        return basis

    def to_bytes(self) -> bytes:
        """Return the basis as bytes."""
        return self._data

    @property
    def n_components(self) -> int:
        """Number of modes."""
        return self.modes.shape[1]

    @cached_property
    def name(self) -> str:
        """Hash of the contents."""
        return hashlib.sha256(self._data).hexdigest()[:16]

    def resampled(self, patch: tuple[int, ...]) -> Basis:
        """Return the basis on another mesh of the same box, such as that of a larger run.

        Modes are interpolated by cubic splines between the centres of cells.

        Parameters
        ----------
        patch : tuple of int
            Shape of the other mesh, of as many dimensions.

        Returns
        -------
        Basis
        """
        if len(patch) != len(self.patch):
            raise ValueError(
                f"patch={patch!r} must have {len(self.patch)} dimensions, those of {self.patch}."
            )
        factors = [there / here for there, here in zip(patch, self.patch, strict=True)]
        fields = [row.reshape(self.patch) for row in (self.mean, *self.modes.T)]
        moved = [
            scipy.ndimage.zoom(field, factors, order=3, mode="nearest", grid_mode=True).reshape(-1)
            for field in fields
        ]
        return Basis(moved[0], np.array(moved[1:]), tuple(patch), self.version)

    def _load(self, data: bytes) -> None:
        self._data = data
        reader = Reader(data[len(_MAGIC) :])
        self.version, self.patch, n_components = reader.number(), reader.numbers(), reader.number()
        size = math.prod(self.patch)
        self.mean = reader.real() * decode_integers(reader.section(), size)
        scale = reader.real()
        numbers = decode_integers(reader.section(), n_components * size)
        modes = (scale * numbers).reshape(n_components, size).T
        self.modes = np.linalg.qr(modes)[0] if n_components else modes

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return Basis.from_bytes, (self._data,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Basis) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        return f"Basis({self.name}, patch={self.patch}, {self.n_components} modes, v{self.version})"


def cut(block: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    """Return the patches of a block, continued by its last values where they stand out.

    Parameters
    ----------
    block : array
    patch : tuple of int
        As many as the block has dimensions, or fewer: leading ones are then 1.

    Returns
    -------
    array of shape (n_patches, size of a patch)
    """
    patch = full_patch(patch, block.ndim)
    rests = [-size % part for size, part in zip(block.shape, patch, strict=True)]
    if any(rests):
        block = np.pad(block, [(0, rest) for rest in rests], mode="edge")
    split = [n for size, part in zip(block.shape, patch, strict=True) for n in (size // part, part)]
    order = [*range(0, 2 * block.ndim, 2), *range(1, 2 * block.ndim, 2)]
    return block.reshape(split).transpose(order).reshape(-1, math.prod(patch))


def join(patches: np.ndarray, shape: tuple[int, ...], patch: tuple[int, ...]) -> np.ndarray:
    """Return the block of patches that `cut` has made."""
    patch = full_patch(patch, len(shape))
    counts = [-(-size // part) for size, part in zip(shape, patch, strict=True)]
    order = [at for axis in range(len(shape)) for at in (axis, len(shape) + axis)]
    block = patches.reshape(*counts, *patch).transpose(order)
    block = block.reshape([n * part for n, part in zip(counts, patch, strict=True)])
    return np.ascontiguousarray(block[tuple(map(slice, shape))])


def full_patch(patch: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Return a patch with as many dimensions as the block."""
    if len(patch) > ndim:
        raise ValueError(f"a basis of patches {patch} does not fit a block of {ndim} dimensions.")
    return (1,) * (ndim - len(patch)) + tuple(patch)


def outside(values: np.ndarray, basis: Basis) -> float:
    """Return the share of the energy of a field, less the mean, that its modes do not show."""
    patches = cut(values, basis.patch) - basis.mean
    energy = float(np.vdot(patches, patches))
    coefficients = patches @ basis.modes
    return max(1 - float(np.vdot(coefficients, coefficients)) / energy, 0.0) if energy else 0.0

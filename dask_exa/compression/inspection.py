"""What a compressed store says of itself: ratios, errors, bases, sums before and after."""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple

import numpy as np

from dask_exa.compression import _folder
from dask_exa.compression._achieved import Record, achieved, read_records
from dask_exa.compression.bounds import Bound
from dask_exa.compression.store import open_store
from dask_exa.compression.zarr_codec import BASIS_FOLDER, NAME, BlockCodec


class VariableSummary(NamedTuple):
    """One variable of a store.

    Parameters
    ----------
    name, units : str
    bound : Bound
    worst : float
        Error of the worst block, in the terms of the bound.
    n_blocks : int
    raw, coded : int
        Bytes of all steps, before and after; bases are not in them.
    ratio : ndarray of shape (n_steps,)
        Of each step; steps of one chunk share its bytes.
    max_error : ndarray of shape (n_steps,)
        Largest absolute difference of each step.
    l2_error : ndarray of shape (n_steps,)
        Norm of the difference by the norm of the step.
    mass, energy : ndarray of shape (n_steps, 2)
        Sum of the values, and of their squares, before and after.
    methods : dict of str to int
        Blocks by what coded them.
    n_modes : ndarray of shape (n_steps,)
        Modes kept, 0 where a step was coded without.
    bases : dict of str to int
        Bytes of each basis by its name, in the order in which they came.
    """

    name: str
    units: str
    bound: Bound
    worst: float
    n_blocks: int
    raw: int
    coded: int
    ratio: np.ndarray
    max_error: np.ndarray
    l2_error: np.ndarray
    mass: np.ndarray
    energy: np.ndarray
    methods: dict[str, int]
    n_modes: np.ndarray
    bases: dict[str, int]

    @property
    def total_ratio(self) -> float:
        """Bytes before by bytes after, with the bases."""
        return self.raw / max(self.coded + sum(self.bases.values()), 1)


def inspect_store(store: str | os.PathLike[str]) -> list[VariableSummary]:
    """Return what became of the variables of a compressed store, without decoding anything.

    Parameters
    ----------
    store : path-like

    Returns
    -------
    list of VariableSummary

    Raises
    ------
    FileNotFoundError
        When it is no compressed store.

    Examples
    --------
    >>> import tempfile
    >>> from dask_exa.compression import Bound
    >>> from dask_exa.compression.inspection import inspect_store
    >>> from dask_exa.compression.store import compress
    >>> out = tempfile.mkdtemp() + "/run.zarr"
    >>> finished = compress("vlasov", out, Bound("rel", 1e-3), n_steps=4)
    >>> f, potential = inspect_store(out)
    >>> f.name, len(f.ratio), f.worst <= 1e-3, f.total_ratio > 4
    ('f', 4, True, True)
    """
    path = open_store(store)
    arrays = _folder.published(path) or {}
    found = []
    for name, metadata in arrays.items():
        if metadata["codecs"][0]["name"] != NAME:
            continue
        codec = BlockCodec.from_dict(metadata["codecs"][0])
        records = read_records(path / name, metadata["shape"][0])
        sizes = {basis: len(text) * 3 // 4 for basis, text in codec.bases}
        for file in (path / name / BASIS_FOLDER).glob("[!.]*"):
            sizes[file.name] = file.stat().st_size
        units = str(metadata["attributes"].get("units", ""))
        found.append(_summary(name, units, codec.bound, records, metadata["shape"][0], sizes))
    return found


def _summary(
    name: str,
    units: str,
    bound: Bound,
    records: list[Record],
    n_steps: int,
    sizes: dict[str, int],
) -> VariableSummary:
    raw, coded, largest = np.zeros(n_steps), np.zeros(n_steps), np.zeros(n_steps)
    squares, sums = np.zeros((n_steps, 3)), np.zeros((n_steps, 2))
    n_modes = np.zeros(n_steps, dtype=int)
    for record in records:
        steps = slice(record.first, record.first + record.n_steps)
        raw[steps] += record.raw / record.n_steps
        coded[steps] += record.coded / record.n_steps
        largest[steps] = np.maximum(largest[steps], record.max_error)
        squares[steps] += record.squares
        sums[steps] += record.sums
        n_modes[steps] += record.n_modes
    errors = [achieved(record, bound.kind) for record in records]
    used = dict.fromkeys(record.basis for record in records if record.basis)
    with np.errstate(divide="ignore", invalid="ignore"):
        l2_error = np.where(squares[:, 0] > 0, np.sqrt(squares[:, 0] / squares[:, 1]), 0.0)
    return VariableSummary(
        name=name,
        units=units,
        bound=bound,
        worst=min(errors) if bound.kind == "psnr" else max(errors),
        n_blocks=len(records),
        raw=sum(record.raw for record in records),
        coded=sum(record.coded for record in records),
        ratio=raw / np.maximum(coded, 1),
        max_error=largest,
        l2_error=l2_error,
        mass=sums,
        energy=squares[:, 1:],
        methods=dict(Counter(record.method for record in records if record.method)),
        n_modes=n_modes,
        bases={basis: sizes.get(basis, 0) for basis in used},
    )

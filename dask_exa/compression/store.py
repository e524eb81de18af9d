"""Compress the steps of a source into a zarr store, and write a store as plain zarr."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from dask_exa.compression import _folder
from dask_exa.compression._encoding import BlockEncoder, LearningEncoder
from dask_exa.compression._step_arrays import Encoder
from dask_exa.compression._writer import StoreWriter
from dask_exa.compression.basis import Basis
from dask_exa.compression.bounds import Bound
from dask_exa.compression.field_compressor import FieldCompressor
from dask_exa.compression.zarr_codec import BASIS_FOLDER, NAME, BlockCodec
from dask_exa.inputs import Stream, open_stream
from dask_exa.inputs.interrupt import StopRequest


def compress(
    source: str | os.PathLike[str] | Stream,
    out: str | os.PathLike[str],
    bound: Bound,
    *,
    variables: Any = None,
    n_steps: int | None = None,
    steps_per_chunk: int | None = None,
    resume: bool = False,
    compressor: FieldCompressor | None = None,
    on_step: Callable[[StoreWriter], Any] | None = None,
) -> bool:
    """Append the steps of a source to a compressed store.

    Coordinates and attributes are kept as they are, numeric variables within the bound. Readers
    see the steps of a chunk when it is whole: ``xarray.open_zarr(out)`` works at any time.

    Parameters
    ----------
    source : str, path-like or Stream
        See `dask_exa.inputs.open_stream`.
    out : path-like
        Folder of the store.
    bound : Bound
        Holds for every chunk: "rel" and "l2" are relative to its range and its norm.
    variables : str or sequence of str, optional
        Of a source that is not yet a stream.
    n_steps : int, optional
        Steps that the store has at the end; by default all that come.
    steps_per_chunk : int, optional
        Steps that are coded together, and decoded together by who reads one. Default: as many as
        fit into 16 MiB, 16 at most.
    resume : bool, default=False
        Go on behind the last whole step of the store that is there, if there is one.
    compressor : FieldCompressor, optional
        Learns modes from the chunks as they come, and codes them; of the same bound. Default: what
        codes the first chunk of a variable smallest without modes of other chunks, tried again
        now and then.
    on_step : callable, optional
        Called with the writer after each step.

    Returns
    -------
    bool
        Whether all steps came: False after Ctrl-C or SIGTERM, which leave the steps so far.

    Raises
    ------
    FileExistsError
        When `out` exists, and `resume` is False or it is no store.
    ValueError
        When a step has other variables or shapes than those before it, or a store to resume has
        another bound.
    OSError
        When the disk is full. The steps before are readable, and `resume` goes on behind them.

    Examples
    --------
    >>> import tempfile, xarray
    >>> from dask_exa.compression import Bound
    >>> from dask_exa.compression.store import compress
    >>> from dask_exa.inputs import open_stream
    >>> out = tempfile.mkdtemp() + "/run.zarr"
    >>> stream = open_stream("tokam2d-hw", shape=(32, 32), rk4_steps_per_frame=2)
    >>> compress(stream, out, Bound("rel", 1e-3), n_steps=5)
    True
    >>> xarray.open_zarr(out).density.shape
    (5, 32, 32)
    """
    if compressor is not None and tuple(compressor.bound) != tuple(bound):
        raise ValueError(
            f"compressor has bound={compressor.bound}, but bound={bound} is asked for; pass the "
            "same one."
        )
    encode: Encoder = BlockEncoder(bound) if compressor is None else LearningEncoder(compressor)
    writer = _writer(Path(out), bound, encode, steps_per_chunk, resume)
    with contextlib.ExitStack() as stack:
        if isinstance(source, Stream):
            stream = source
        else:
            stream = stack.enter_context(open_stream(source, variables=variables))
        stop = stack.enter_context(StopRequest())
        if n_steps is not None and writer.n_steps >= n_steps:
            return True
        try:
            for step in stream.read(writer.n_steps):
                writer.append(step)
                if on_step is not None:
                    on_step(writer)
                is_enough = n_steps is not None and writer.n_steps + writer.n_waiting >= n_steps
                if is_enough or stop.requested:
                    break
        finally:
            writer.flush()
    return not stop.requested


def export(store: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write a compressed store as plain zarr, for those who have no dask-exa.

    Values are those that the store gives, and nothing more is lost.

    Parameters
    ----------
    store : path-like
    out : path-like
        A new folder.

    Raises
    ------
    FileNotFoundError
        When `store` is none.
    FileExistsError
        When `out` exists.

    Examples
    --------
    >>> import tempfile, xarray
    >>> from dask_exa.compression import Bound
    >>> from dask_exa.compression.store import compress, export
    >>> folder = tempfile.mkdtemp()
    >>> finished = compress("vlasov", f"{folder}/small.zarr", Bound("abs", 1e-6), n_steps=2)
    >>> export(f"{folder}/small.zarr", f"{folder}/plain.zarr")
    >>> bool((xarray.open_zarr(f"{folder}/plain.zarr").f.max() > 0.1).compute())
    True
    """
    open_store(store)
    if Path(out).exists():
        raise FileExistsError(f"out={str(out)!r} exists; choose another folder, or remove it.")
    with _folder.quiet_about_text(), xr.open_zarr(store) as dataset:
        dataset.drop_encoding().to_zarr(out, mode="w-", zarr_format=3)


def load_bases(store: str | os.PathLike[str]) -> dict[str, Basis]:
    """Return the latest basis of each variable of a store, for a `FieldCompressor`.

    Parameters
    ----------
    store : path-like

    Returns
    -------
    dict of str to Basis
        Of the variables that have one.

    Examples
    --------
    >>> from dask_exa.compression import Bound, FieldCompressor
    >>> from dask_exa.compression.store import load_bases
    >>> bases = load_bases("run1.zarr")  # doctest: +SKIP
    >>> next_run = FieldCompressor(Bound("rel", 1e-3), bases=bases)  # doctest: +SKIP
    """
    path = open_store(store)
    found = {}
    for name, metadata in (_folder.published(path) or {}).items():
        if metadata["codecs"][0]["name"] != NAME:
            continue
        inline = BlockCodec.from_dict(metadata["codecs"][0]).bases
        data = [base64.b64decode(text) for _, text in inline]
        data += [file.read_bytes() for file in (path / name / BASIS_FOLDER).glob("[!.]*")]
        bases = [Basis.from_bytes(one) for one in data]
        if bases:
            found[name] = max(bases, key=lambda basis: basis.version)
    return found


def open_store(store: str | os.PathLike[str]) -> Path:
    """Return the folder of a compressed store.

    Raises
    ------
    FileNotFoundError
        When it is none.
    """
    path = Path(store)
    if not is_store(path):
        raise FileNotFoundError(
            f"store={str(path)!r} is not a compressed store of dask-exa; pass the folder that "
            "`dask-exa compress` has written."
        )
    return path


def is_store(path: Path) -> bool:
    """Whether a folder is a compressed store with steps."""
    arrays = _folder.published(path) or {}
    return any(metadata["codecs"][0]["name"] == NAME for metadata in arrays.values())


def _writer(
    path: Path, bound: Bound, encode: Encoder, n_together: int | None, resume: bool
) -> StoreWriter:
    if resume and is_store(path):
        return StoreWriter.resume(path, bound, encode)
    if path.exists() and (path.is_file() or any(path.iterdir())):
        remedy = "" if resume else ", or pass resume=True (--resume) to go on with a store"
        raise FileExistsError(
            f"out={str(path)!r} exists and is {'no store' if resume else 'not empty'}; choose "
            f"another folder, remove it{remedy}."
        )
    return StoreWriter(path, bound, encode, n_together)

"""A folder with a file for every step as a stream, also while a code still writes it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import h5py
import numpy as np
import xarray as xr

from dask_exa._parameters import check_positive
from dask_exa.inputs.hdf5 import RemoteDataset
from dask_exa.inputs.stream import Stream

_POLL = 0.1
"""Seconds from one look into a folder to the next."""


class IncompleteFileError(OSError):
    """A file that its writer has not finished, or never will."""


class StepFile(NamedTuple):
    """One file of a run."""

    number: int
    """In its name."""
    path: Path


def list_step_files(folder: Any, pattern: re.Pattern[str]) -> list[StepFile]:
    r"""Return the files of a folder whose whole name fits, by the number that is its first group.

    Examples
    --------
    >>> import pathlib, re, tempfile
    >>> from dask_exa.inputs.step_files import list_step_files
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("f_00010.h5", "f_00002.h5", "f_init.h5"):
    ...     (folder / name).touch()
    >>> [file.number for file in list_step_files(folder, re.compile(r"f_(\d+)\.h5"))]
    [2, 10]
    """
    folder = Path(folder)
    if not folder.is_dir():
        return []
    matches = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(StepFile(int(match[1]), path) for match, path in matches if match)


def wait_until(condition: Callable[[], Any], timeout: float) -> Any:
    """Return what a condition gives as soon as that is true, or what it gives at the time-out."""
    deadline = time.monotonic() + timeout
    while not (found := condition()) and (left := deadline - time.monotonic()) > 0:
        _pause(min(_POLL, left))
    return found


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


class FollowedFolder:
    """The files of a run in their order, as they come.

    Parameters
    ----------
    folder : path-like
    pattern : re.Pattern
        See `list_step_files`.
    read : callable
        ``read(path)`` returns a step, or raises IncompleteFileError.
    timeout : float
        Seconds to wait for the next file, or for a file to be finished. With 0, what is there is
        all.
    has_ended : callable, optional
        Whether no more files will come.
    peek : callable, optional
        The same as `read` without reading arrays, for steps that are skipped.

    Attributes
    ----------
    faults : list of str
        Files that were left out, and why.
    """

    def __init__(
        self,
        folder: Any,
        pattern: re.Pattern[str],
        read: Callable[[Path], xr.Dataset],
        *,
        timeout: float = 0.0,
        has_ended: Callable[[], bool] = lambda: False,
        peek: Callable[[Path], xr.Dataset] | None = None,
    ) -> None:
        check_positive("timeout", timeout, zero=True)
        self.folder, self.pattern = Path(folder), pattern
        self._read, self.timeout, self._has_ended = read, timeout, has_ended
        self.peek = read if peek is None else peek
        self.faults: list[str] = []

    def steps(self, start: int = 0) -> Iterator[xr.Dataset]:
        """Yield the steps from a position on, with the number in the name as ``timestep``."""
        last, position = -1, 0
        while (file := self._next(last)) is not None:
            last = file.number
            is_skipped = position < start
            step = self._finished(file, self.peek if is_skipped else self._read)
            if step is None:
                continue
            position += 1
            if not is_skipped:
                yield step.assign_coords(timestep=((), file.number))

    def first(self) -> xr.Dataset | None:
        """Return the first complete step, its arrays perhaps lazy; None where there is none."""
        steps = FollowedFolder(
            self.folder, self.pattern, self.peek, timeout=self.timeout, has_ended=self._has_ended
        )
        found = next(steps.steps(), None)
        self.faults = list(dict.fromkeys([*self.faults, *steps.faults]))
        return found

    def count(self) -> int:
        """Return the number of complete files, where no more are waited for."""
        return sum(self._finished(file, self.peek) is not None for file in self.files())

    def files(self) -> list[StepFile]:
        """Return the files that are there now."""
        return list_step_files(self.folder, self.pattern)

    def _next(self, last: int) -> StepFile | None:
        """Return the first file after a number, once there is one; None when none comes."""

        def look() -> StepFile | bool:
            found = next((file for file in self.files() if file.number > last), None)
            return found or self._has_ended()

        found = wait_until(look, self.timeout)
        return found if isinstance(found, StepFile) else None

    def _finished(self, file: StepFile, read: Callable[[Path], xr.Dataset]) -> xr.Dataset | None:
        """Return the step in a file once it is complete; None, and take a note, if it stays so."""
        reason = ""

        def look() -> _Whole | bool:
            nonlocal reason
            is_passed = any(other.number > file.number for other in self.files())
            try:
                return _Whole(read(file.path))
            except (IncompleteFileError, FileNotFoundError) as error:
                reason = str(error)
                return is_passed or not file.path.exists()

        found = wait_until(look, self.timeout)
        if isinstance(found, _Whole):
            return found.step
        note = f"{file.path.name} was left out: {reason}"
        if file.path.exists() and note not in self.faults:
            self.faults.append(note)
        return None


class _Whole(NamedTuple):
    """A step that was read; true whatever is in it."""

    step: xr.Dataset

    def __bool__(self) -> bool:
        return True


def stream_folder(followed: FollowedFolder, *, name: str, what: str, steps: Any = None) -> Stream:
    """Return the steps of a folder as a stream.

    Parameters
    ----------
    followed : FollowedFolder
    name : str
        For messages and reports.
    what : str
        Files that were looked for, for the error message: "fields_00000.h5 and so on".
    steps : callable, optional
        ``steps(start)`` in place of those of `followed`.

    Raises
    ------
    ValueError
        When there is no complete file, after the time-out.
    """
    read = followed.steps if steps is None else steps
    first = followed.first()
    if first is None:
        there = sorted(path.name for path in followed.folder.iterdir())
        faults = "; ".join(followed.faults) or "there is none"
        raise ValueError(
            f"source={name!r} has no complete file ({what}) after {followed.timeout:g} s: "
            f"{faults}. The folder has {', '.join(there[:6]) or 'nothing'}; pass a longer timeout= "
            "if the run has only just begun."
        )
    is_growing = followed.timeout > 0 or steps is not None
    stream = Stream(
        read,
        name=name,
        sizes={str(dim): size for dim, size in first.sizes.items()},
        variables=tuple(str(variable) for variable in first.data_vars),
        n_steps=None if is_growing else followed.count(),
    )
    stream.faults = followed.faults
    return stream


class Variable(NamedTuple):
    """Where a variable of a step is in its file."""

    dataset: str
    dims: tuple[str, ...]
    attrs: Mapping[str, Any] = {}


def read_variables(
    path: Any, variables: Mapping[str, Variable], chunks: Any = None
) -> dict[str, Any]:
    """Return variables of one HDF5 file, read now, or where they are needed.

    Parameters
    ----------
    path : path-like
    variables : mapping of str to Variable
    chunks : optional
        As for `open_stream`.

    Returns
    -------
    dict of str to (dims, array, attrs)

    Raises
    ------
    IncompleteFileError
        When the file cannot be opened, or a dataset is missing, of other dimensions, or cut off.
    """
    path = Path(path)
    try:
        with h5py.File(path) as file:
            return {
                name: (variable.dims, _read(file, path, variable, chunks), dict(variable.attrs))
                for name, variable in variables.items()
            }
    except (IncompleteFileError, FileNotFoundError):
        raise
    except (OSError, RuntimeError) as error:
        raise IncompleteFileError(f"{path.name} cannot be read ({error})") from error


def _read(file: h5py.File, path: Path, variable: Variable, chunks: Any) -> Any:
    dataset = file.get(variable.dataset)
    if not isinstance(dataset, h5py.Dataset):
        there = ", ".join(sorted(file)) or "nothing"
        raise IncompleteFileError(f"{path.name} has no {variable.dataset!r} yet; it has {there}")
    if dataset.shape is None or len(dataset.shape) != len(variable.dims):
        raise IncompleteFileError(
            f"{variable.dataset!r} of {path.name} has the shape {dataset.shape}, not "
            f"({', '.join(variable.dims)})"
        )
    if chunks is None or not variable.dims:
        return dataset[()]
    if isinstance(chunks, Mapping):
        chunks = tuple(chunks.get(dim, -1) for dim in variable.dims)
    return da.from_array(
        RemoteDataset(str(path.resolve()), dataset),
        chunks=chunks,
        name=False,
        inline_array=True,
        meta=np.empty(0, dataset.dtype),
    )

"""Folders that are written beside an earlier one and take its place when they are complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


class Replacing:
    """A folder that takes the place of an earlier one when it is complete.

    An exception, a full disk or a kill in the middle leaves the earlier one as it was; between the
    two renames at the end it is there under another name, see `find_folder`.

    Parameters
    ----------
    path : Path

    Examples
    --------
    >>> import tempfile
    >>> from dask_exa._replacing import Replacing
    >>> path = Path(tempfile.mkdtemp()) / "result"
    >>> with Replacing(path) as folder:
    ...     folder.mkdir()
    ...     _ = (folder / "answer").write_text("42")
    >>> (path / "answer").read_text()
    '42'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writing, self.previous = _sibling(path, "writing"), _sibling(path, "previous")

    def __enter__(self) -> Path:
        shutil.rmtree(self.writing, ignore_errors=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.writing

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.writing, ignore_errors=True)
            return
        if self.path.exists():
            shutil.rmtree(self.previous, ignore_errors=True)
            self.path.rename(self.previous)
        self.writing.rename(self.path)
        shutil.rmtree(self.previous, ignore_errors=True)


def find_folder(path: Path, is_complete: Callable[[Path], bool]) -> Path | None:
    """Return a folder, or the earlier one if its writer died between the two renames.

    Parameters
    ----------
    path : Path
    is_complete : callable
        Whether a path is such a folder.
    """
    found = [folder for folder in (path, _sibling(path, "previous")) if is_complete(folder)]
    return found[0] if found and (found[0] == path or not path.exists()) else None


def _sibling(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")

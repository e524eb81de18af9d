"""Which HDF5 files of Dyablo a source stands for: a file, an XDMF file, a folder or a pattern."""

from __future__ import annotations

import fnmatch
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import h5py

from dask_exa.inputs.step_files import list_step_files

_SNAPSHOT = re.compile(r"(?P<run>.*)_iter(\d+)\.h5")
_ANY = re.compile(r".*_iter(\d+)\.h5")


def is_series(source: str) -> bool:
    """Whether a source is a folder or a pattern: files may be added to it."""
    is_pattern = any(mark in Path(source).name for mark in "*?[")
    return Path(source).is_dir() or (is_pattern and not Path(source).exists())


def folder_of(source: str) -> Path:
    """Return the folder that the files of a series are in."""
    return Path(source) if Path(source).is_dir() else Path(source).parent


def run_of(path: Path) -> str:
    """Return the name of the run that a file belongs to: what comes before ``_iter0000001.h5``."""
    match = _SNAPSHOT.fullmatch(path.name)
    return match["run"] if match else path.stem


def files_of(source: str) -> list[Path]:
    """Return the files that there are now, those of a series by their numbers.

    Raises
    ------
    ValueError
        When an XDMF file has cells that are no quadrilaterals or hexahedra.
    """
    path = Path(source)
    if is_series(source):
        wanted = "*" if path.is_dir() else path.name
        found = list_step_files(folder_of(source), _ANY)
        return [file.path for file in found if fnmatch.fnmatch(file.path.name, wanted)]
    if not path.is_file():
        return []
    return [path] if h5py.is_hdf5(path) else _in_xdmf(path)


def series_pattern(source: str) -> re.Pattern[str]:
    """Return what the names of the files of a series look like, the number in the first group.

    Raises
    ------
    ValueError
        When there are files of several runs.
    """
    runs = sorted({run_of(path) for path in files_of(source)})
    if len(runs) > 1:
        one = str(folder_of(source) / f"{runs[0]}_iter*.h5")
        raise ValueError(
            f"source={source!r} has files of several runs ({', '.join(runs)}); pass one, such as "
            f"{one!r}."
        )
    run = re.escape(runs[0]) if runs else ".*"
    wanted = "*" if Path(source).is_dir() else Path(source).name
    return re.compile(rf"(?={run}_iter(\d+)\.h5\Z){fnmatch.translate(wanted)}")


def _in_xdmf(path: Path) -> list[Path]:
    """Return the HDF5 files that an XDMF file names, or those of the files that it includes."""
    with path.open("rb") as file:
        if b"<Xdmf" not in file.read(1024):
            return []
    root = ET.parse(path).getroot()
    kinds = {node.get("TopologyType") or node.get("Type") for node in root.iter("Topology")}
    if kinds - {"Quadrilateral", "Hexahedron"}:
        raise ValueError(
            f"source={str(path)!r} has cells of the types {sorted(map(str, kinds))}; only meshes "
            "of quadrilaterals, or of hexahedra, are octrees."
        )
    found: dict[Path, None] = {}
    for node in root.iter():
        if node.tag.endswith("include") and node.get("href"):
            found |= dict.fromkeys(_in_xdmf(path.parent / str(node.get("href"))))
        name, colon, _ = (node.text or "").strip().partition(":")
        if colon and name.endswith((".h5", ".hdf5")):
            found[path.parent / name] = None
    return list(found)

"""What the ``.ini`` beside the files of Dyablo adds: the domain, its boundaries, the blocks."""

from __future__ import annotations

import configparser
import dataclasses
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Defaults are those of Dyablo, a unit box; three axes in the order x, y, z."""

    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    extent: tuple[float, ...] = (1.0, 1.0, 1.0)
    periodic: tuple[bool, ...] = (False, False, False)
    block: tuple[int, ...] | None = None
    """Cells of an oct, ([z,] y, x), where it is known."""
    coarse: tuple[int, ...] | None = None
    """Octs along each axis at `level_min`; by default 2**level_min."""
    level_min: int = 0

    def oct_size(self, level: np.ndarray) -> np.ndarray:
        """Return the size of octs of these levels, (n_octs, 3)."""
        coarse = np.asarray(self.coarse or (1 << self.level_min,) * 3, dtype=np.float64)
        halvings = np.asarray(level)[:, None] - self.level_min
        return np.asarray(self.extent) / coarse * 0.5**halvings


def read_parameters(path: Path, prefix: str) -> Parameters:
    """Return the parameters of the run that wrote a file; the defaults if there are none beside.

    Parameters
    ----------
    path : Path
        Of a snapshot or restart file: what is looked for is an ``.ini`` of the same name, else
        the one whose ``outputPrefix`` is `prefix`.
    prefix : str
    """
    same = path.with_suffix(".ini")
    candidates = [same] if same.is_file() else sorted(path.parent.glob("*.ini"))
    for candidate in candidates:
        try:
            ini = _parse(candidate)
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        if candidate == same or ini.get("output", "outputprefix", fallback=None) == prefix:
            return _from_ini(ini)
    return Parameters()


def _parse(path: Path) -> configparser.ConfigParser:
    ini = configparser.ConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    ini.read_string(path.read_text())
    return ini


def _from_ini(ini: configparser.ConfigParser) -> Parameters:
    ndim = ini.getint("mesh", "ndim", fallback=3)
    axes = ("x", "y", "z")
    low = [ini.getfloat("mesh", f"{axis}min", fallback=0.0) for axis in axes]
    high = [ini.getfloat("mesh", f"{axis}max", fallback=1.0) for axis in axes]
    level_min = ini.getint("amr", "level_min", fallback=0)
    usual = 1 << level_min
    coarse = [
        ini.getint("amr", f"coarse_oct_resolution_{axis}", fallback=usual) for axis in axes[:ndim]
    ]
    sides = [ini.getint("amr", f"b{axis}", fallback=0) for axis in axes[:ndim]]
    return Parameters(
        origin=tuple(low),
        extent=tuple(b - a for a, b in zip(low, high, strict=True)),
        periodic=tuple(
            ini.get("mesh", f"boundary_type_{axis}min", fallback="") == "periodic" for axis in axes
        ),
        block=tuple(sides[::-1]) if all(sides) else None,
        coarse=(*coarse, *(1,) * (3 - ndim)),
        level_min=level_min,
    )

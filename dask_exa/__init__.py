"""Estimators whose fitted state can be merged, for data too big to store."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_SUBPACKAGES = ("base", "datasets", "decomposition", "inputs", "reduction", "report", "summaries")

__all__ = ["__version__", *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    """Import a subpackage when it is first asked for: importing dask_exa itself costs nothing."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"dask_exa.{name}")
    raise AttributeError(f"module 'dask_exa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Estimators beside a running simulation: from MPI ranks to Dask, step by step."""

from dask_exa.insitu.bridge import Bridge
from dask_exa.insitu.errors import (
    LayoutError,
    RankLostError,
    SchedulerLostError,
    StepLostError,
    StreamError,
    StreamTimeoutError,
)
from dask_exa.insitu.stream import Stream

__all__ = [
    "Bridge",
    "LayoutError",
    "RankLostError",
    "SchedulerLostError",
    "StepLostError",
    "Stream",
    "StreamError",
    "StreamTimeoutError",
]

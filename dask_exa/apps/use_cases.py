"""Which use case a stream belongs to: one table, asked from top to bottom."""

from __future__ import annotations

from dask_exa.apps import coddex, dyablo, gysela, ska
from dask_exa.apps.use_case import UseCase
from dask_exa.inputs.stream import Stream

USE_CASES: tuple[UseCase, ...] = (
    coddex.USE_CASE,
    dyablo.USE_CASE,
    gysela.USE_CASE,
    ska.USE_CASE,
)


def find_use_case(stream: Stream) -> UseCase | None:
    """Return what a run does for the code that a stream comes from; None for plain fields."""
    return next((use_case for use_case in USE_CASES if use_case.recognise(stream)), None)

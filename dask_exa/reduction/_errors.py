"""Errors that say which part of the data they are about, and do not keep what they have seen."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator


@contextlib.contextmanager
def naming(place: str) -> Iterator[None]:
    """Put the place in front of the message of a ValueError or TypeError.

    Examples
    --------
    >>> with naming("chunk 3 of the samples"):
    ...     raise ValueError("X contains NaN.")
    Traceback (most recent call last):
    ValueError: In chunk 3 of the samples: X contains NaN.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"In {place}: {error}") from error


@contextlib.contextmanager
def errors_let_go() -> Iterator[None]:
    """Raise a copy of an error that comes from a client of a cluster.

    The client keeps the error of a task while there are futures of it. The traceback of a raised
    error has frames, and these may have such futures: they would keep each other for ever, and
    with them the buffers of a running simulation.
    """
    try:
        yield
    except Exception as error:
        copied = copy.copy(error).with_traceback(error.__traceback__)
        error.__traceback__ = None
        try:
            raise copied from error.__cause__
        finally:
            del copied  # of which this frame, too, is seen

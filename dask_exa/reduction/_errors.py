"""Errors about data that say which part of the data they are about."""

from __future__ import annotations

import contextlib
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

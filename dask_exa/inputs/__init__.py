"""Readers: every source of data as one iterator of labelled steps."""

from dask_exa.inputs.readers import open_stream
from dask_exa.inputs.stream import Stream

__all__ = ["Stream", "open_stream"]

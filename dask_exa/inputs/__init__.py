"""Readers: every source of data as one iterator of labelled steps, and learning from it."""

from dask_exa.inputs.learning import StateLostError
from dask_exa.inputs.readers import open_stream
from dask_exa.inputs.replay import replay
from dask_exa.inputs.residence import bring_home
from dask_exa.inputs.run_store import Run
from dask_exa.inputs.stream import Stream

__all__ = ["Run", "StateLostError", "Stream", "bring_home", "open_stream", "replay"]

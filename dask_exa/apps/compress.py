"""Compress the steps of a file or a simulation into a zarr store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from dask_exa.compression.bounds import Bound, check_bound
from dask_exa.compression.inspection import VariableSummary, inspect_store
from dask_exa.compression.store import compress as append_steps
from dask_exa.inputs import open_stream
from dask_exa.inputs.progress import StepProgress


class Compressed(NamedTuple):
    """A store, and whether it has all steps that were asked for.

    Parameters
    ----------
    path : str
    summaries : list of VariableSummary
    interrupted : bool
    """

    path: str
    summaries: list[VariableSummary]
    interrupted: bool


def one_bound(given: Mapping[str, float | None]) -> Bound:
    """Return the one bound of the options that is given.

    Raises
    ------
    ValueError
        When none or several are, or it is no bound.

    Examples
    --------
    >>> from dask_exa.apps.compress import one_bound
    >>> one_bound({"abs": None, "rel": 1e-3})
    Bound(kind='rel', value=0.001)
    """
    bounds = [Bound(kind, value) for kind, value in given.items() if value is not None]
    if len(bounds) != 1:
        options = ", ".join(f"--{kind}" for kind in given)
        raise ValueError(
            f"{len(bounds)} bounds are given; say with one of {options} which error is allowed, "
            "such as --rel 1e-3."
        )
    check_bound(bounds[0])
    return bounds[0]


def compress(
    source: str,
    out: str | os.PathLike[str],
    bound: Bound,
    *,
    variables: tuple[str, ...] | None = None,
    n_steps: int | None = None,
    steps_per_chunk: int | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Compressed:
    """Compress a source, with a line of progress on the terminal.

    Parameters
    ----------
    source, out, bound, variables, n_steps, steps_per_chunk, resume
        See `dask_exa.compression.store.compress`.
    progress : bool, default=True

    Returns
    -------
    Compressed
    """
    with open_stream(source, variables=variables) as stream:
        if stream.n_steps is None and n_steps is None:
            raise ValueError(
                f"source={source!r} goes on until it is stopped; say with n_steps (--steps) how "
                "many steps to compress."
            )
        total = stream.n_steps if n_steps is None else n_steps
        with StepProgress(f"compress {stream.name}", total, is_shown=progress) as line:
            finished = append_steps(
                stream,
                out,
                bound,
                n_steps=n_steps,
                steps_per_chunk=steps_per_chunk,
                resume=resume,
                on_step=lambda writer: line.update(writer.n_steps + writer.n_waiting),
            )
    return Compressed(os.fspath(out), inspect_store(out), not finished)


def as_text(summaries: list[VariableSummary]) -> str:
    """Return a line for each variable: its ratio, and its worst error.

    Examples
    --------
    >>> import tempfile
    >>> from dask_exa.apps.compress import as_text, compress
    >>> from dask_exa.compression import Bound
    >>> out = tempfile.mkdtemp() + "/run.zarr"
    >>> result = compress("vlasov", out, Bound("abs", 1e-6), n_steps=2, progress=False)
    >>> len(as_text(result.summaries).splitlines())
    2
    """
    lines = []
    for one in summaries:
        unit = " dB" if one.bound.kind == "psnr" else ""
        lines.append(
            f"{one.name}: {one.total_ratio:.3g} times smaller, worst error of a block "
            f"{one.worst:.3g}{unit} ({one.bound.kind} {one.bound.value:g}{unit} asked for)"
        )
    return "\n".join(lines)

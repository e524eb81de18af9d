"""Which rows of a block have the smallest keys, and which of all are kept."""

from __future__ import annotations

from typing import Any


def draw_keys(
    sampling: tuple[int, int, int],
    first: int,
    n_rows: int,
    log_weight: Any,
    decay: float,
    capacity: int,
    limits: Any,
    guess: float,
) -> tuple[Any, Any, Any]:
    """Draw the keys of a block of rows and return the smallest ones of every tree.

    The key of a row is ``log(e) - log(weight) - decay * number`` with e exponential, a function
    of (seed, stream, tree, row number) alone. The e of a segment of row numbers are drawn from
    the smallest one on, each with the row that it belongs to, so that rows with larger keys than
    asked for cost nothing. Rows are never read; there is one twin, on the host.

    Parameters
    ----------
    sampling : tuple of int
        Seed, stream and number of trees.
    first, n_rows : int
        The block: numbers ``first`` to ``first + n_rows - 1`` of the stream.
    log_weight : array of shape (n_rows,) or (0,), float64
        Logarithms of the weights; empty for weights of one.
    decay : float
        Growth of the log-weight from one row to the next.
    capacity : int
        Keys that are wanted per tree.
    limits : array of shape (n_trees,), float64
        Larger keys are of no use.
    guess : float
        Where the search starts; the result does not depend on it.

    Returns
    -------
    keys : array of shape (n_trees, min(capacity, n_rows)), float64
        In no particular order; only the first ``counts[i]`` of row i are set.
    rows : array of the same shape, int64
        Their rows in the block.
    counts : array of shape (n_trees,), int64
    """
    from dask_exa.kernels._reservoir_numba import draw_keys as twin

    return twin(sampling, first, n_rows, log_weight, decay, capacity, limits, guess)


def keep_rows(
    kept: tuple[Any, Any, Any], found: tuple[Any, Any, Any], n_kept: int
) -> tuple[Any, Any, Any, Any]:
    """Unite what every tree has kept with what was found in a block, and keep the smallest keys.

    There is one twin, on the host.

    Parameters
    ----------
    kept : tuple of array
        Rows (n_rows, n_features); keys (n_trees, n_before), increasing; the row of each key, by
        its place, of the same shape.
    found : tuple of array
        What `draw_keys` returns, which is overwritten. Of equal keys the earlier row's comes
        first.
    n_kept : int
        Keys to keep per tree.

    Returns
    -------
    rows : array of shape (n_used + n_taken, n_features)
        The rows still in use, in their order; room for the new ones, not set, behind them.
    keys : array of shape (n_trees, n_kept)
    members : array of shape (n_trees, n_kept)
        The row of each key.
    taken : array of shape (n_taken,)
        The rows of the block that are to fill the room, increasing.
    """
    from dask_exa.kernels._reservoir_numba import keep_rows as twin

    return twin(kept, found, n_kept)

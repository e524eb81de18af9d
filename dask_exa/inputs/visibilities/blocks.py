"""A dump whose baselines and channels lie in different places: what has to be sent, and added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dask_exa.inputs.visibilities.votes import CAP, Votes
from dask_exa.kernels.visibilities import Baselines, Fit, fit_visibilities


def fit_in_blocks(
    blocks: Sequence[np.ndarray],
    prior: np.ndarray,
    fit: Fit,
    baselines: Baselines,
    is_used: np.ndarray,
) -> np.ndarray:
    """Return the coefficients of some baselines whose channels lie in several blocks.

    Every block adds its part, a sum over its channels. The sum is what other blocks need.

    Parameters
    ----------
    blocks : sequence of array of shape (n_baselines, n_channels of the block), complex64
        In the order of the channels.
    prior, fit, baselines, is_used
        As for `dask_exa.kernels.visibilities.fit_visibilities`, of all channels.

    Returns
    -------
    array of shape (n_baselines, max_modes), complex64
    """
    parts = [
        fit_visibilities(block, prior, part, baselines, used, CAP).coefficients - prior
        for block, part, used in _sliced(blocks, fit, is_used)
    ]
    return prior + np.sum(parts, axis=0)


def vote_in_blocks(
    blocks: Sequence[np.ndarray],
    coefficients: np.ndarray,
    fit: Fit,
    baselines: Baselines,
    is_used: np.ndarray,
) -> Votes:
    """Return the votes of some baselines whose channels lie in several blocks.

    Votes of other baselines are merged with these by `Votes.merge`.

    Parameters
    ----------
    blocks, fit, baselines, is_used
        As for `fit_in_blocks`.
    coefficients : array of shape (n_baselines, max_modes), complex64
        Of all channels together, from `fit_in_blocks`.

    Returns
    -------
    Votes
        Those of the whole dump but for rounding errors, 1e-4 of a vote.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.datasets import Interferometer
    >>> from dask_exa.inputs.visibilities.dumps import dumps_of
    >>> from dask_exa.inputs.visibilities.field_modes import field_modes, make_fit
    >>> dump = next(dumps_of(Interferometer().advance()))
    >>> field = field_modes(dump.uvw, dump.frequency, radius=0.05)
    >>> fit, _ = make_fit(field, is_used := np.ones(32, bool))
    >>> ones = np.ones(120, np.float32), np.ones(16, bool)
    >>> pairs = Baselines(dump.antenna1, dump.antenna2, *ones)
    >>> blocks = np.split(dump.visibility, 4, axis=1)
    >>> start = np.zeros((120, field.modes.shape[1]), np.complex64)
    >>> found = fit_in_blocks(blocks, start, fit, pairs, is_used)
    >>> vote_in_blocks(blocks, found, fit, pairs, is_used).channels.shape
    (3, 32)
    """
    votes = [
        Votes.of(fit_visibilities(block, coefficients, done, baselines, used, CAP))
        for block, part, used in _sliced(blocks, fit, is_used)
        for done in [part._replace(solver=np.zeros_like(part.solver))]
    ]
    return votes[0].beside(*votes[1:])


def _sliced(
    blocks: Sequence[np.ndarray], fit: Fit, is_used: np.ndarray
) -> list[tuple[np.ndarray, Fit, np.ndarray]]:
    """Return every block with its part of a fit."""
    edges = np.cumsum([0, *(block.shape[1] for block in blocks)])
    if edges[-1] != len(is_used):
        raise ValueError(
            f"blocks have {edges[-1]} channels together, but is_used has {len(is_used)}; pass all "
            "blocks of these baselines."
        )
    found = []
    for block, start, stop in zip(blocks, edges[:-1], edges[1:], strict=True):
        part = fit._replace(
            modes=np.ascontiguousarray(fit.modes[..., start:stop]),
            solver=np.ascontiguousarray(fit.solver[..., start:stop]),
            precision=np.ascontiguousarray(fit.precision[:, start:stop]),
            weight=np.ascontiguousarray(fit.weight[:, start:stop]),
        )
        found.append((block, part, is_used[start:stop]))
    return found

"""Steps that follow the samples when the steps before them move these.

See `dask_exa.summaries.affine` for what can be carried over, and why it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import to_host
from dask_exa._state import NotEnoughSamplesError
from dask_exa.compose import _steps
from dask_exa.summaries import affine
from dask_exa.summaries.affine import Change, Coordinates


class Moved(NamedTuple):
    """How samples have moved since a step learnt from them."""

    change: Change | None = None
    """None: not at all, or nobody knows."""
    known: bool = True


STILL = Moved()


def coordinates(step: Any) -> Coordinates | None:
    """Return where a fitted step puts samples; None where that is no affine map."""
    if not hasattr(step, "_coordinates") or not _steps.is_fitted(step):
        return None
    try:
        return step._coordinates()
    except NotEnoughSamplesError:  # then nothing has come through it either
        return None


def follow(step: Any, before: Coordinates | None, moved: Moved) -> Moved:
    """Return how the outputs of a step have moved.

    Parameters
    ----------
    step : estimator
    before : Coordinates, optional
        Of the step when the steps after it last learnt.
    moved : Moved
        How its inputs have.
    """
    if moved == STILL and not (_steps.learns(step) and getattr(step, "_moves_samples", True)):
        return STILL
    after = coordinates(step)
    if before is None or after is None or not moved.known:
        return Moved(known=False)
    if moved == STILL and _same(before, after):
        return STILL
    return Moved(affine.change(before, after, moved.change))


def carry(step: Any, moved: Moved) -> bool:
    """Let a step follow the samples that it has learnt from; return whether it could."""
    if moved == STILL or not _steps.is_fitted(step) or not _steps.learns(step):
        return True
    change = moved.change
    if change is None or change.n_features != getattr(step, "n_features_in_", None):
        return False
    return hasattr(step, "_carry") and step._carry(change)


def merge(models: Sequence[Any], moved: Sequence[Moved]) -> None:
    """Merge models into the first, each after it has followed its samples.

    Parameters
    ----------
    models : sequence of estimators
        Changed.
    moved : sequence of Moved
        How the samples of each have moved.
    """
    for model, way in zip(models, moved, strict=True):
        if not carry(model, way):
            raise ValueError(
                f"what a {type(model).__name__} has learnt cannot follow its samples to where the "
                "merged steps before it put them; give all pipelines the same steps before it, "
                "fitted and in a sklearn.frozen.FrozenEstimator."
            )
    if _steps.learns(models[0]):
        models[0].merge(*models[1:])


def _same(before: Coordinates, after: Coordinates) -> bool:
    pairs = zip(before, after, strict=True)
    return all(a is b or np.array_equal(to_host(a), to_host(b)) for a, b in pairs)

"""What an estimator knows, and the fitted attributes that are derived from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_exa._samples import Labels


class NotEnoughSamplesError(ValueError, AttributeError):
    """What was learnt so far does not determine this attribute yet.

    An AttributeError too, so that `hasattr` says no and a notebook can show the estimator.
    """


class State:
    """What an estimator knows: a summary, and how the data that made it were laid out.

    A state never changes; what is derived from it is computed once, when first asked for.
    """

    def __init__(
        self,
        summary: Any,
        params: dict[str, Any],
        dtype: np.dtype,
        labels: Labels | None,
    ) -> None:
        self.summary = summary
        self.params = params
        self.dtype = np.dtype(dtype)
        self.labels = labels
        self.earlier_model: Any = None
        """What was derived from a state that was extended to this one; where `follow` was told."""
        self._model: Any = None

    def follow(self, earlier: State) -> None:
        """Keep what was derived from the state that this one extends, as a start for its own."""
        self.earlier_model = earlier._model or earlier.earlier_model

    def model(self, finalize: Any) -> Any:
        """Return ``finalize(self)``, remembered."""
        if self._model is None:
            self._model = finalize(self)
            self.earlier_model = None
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without what can be derived again, in types that skops knows."""
        plain = {"_model": None, "earlier_model": None, "dtype": str(self.dtype)}
        return {**self.__dict__, **plain}

    def __setstate__(self, plain: dict[str, Any]) -> None:
        """Take over what `__getstate__` has returned."""
        self.__dict__.update(plain, dtype=np.dtype(plain["dtype"]))


class Fitted:
    """An attribute that is derived from the state when it is first asked for.

    Parameters
    ----------
    doc : str
    leading : tuple of str, optional
        Dimensions before the features; only for attributes that have a value per feature.
        Labelled data give such attributes back labelled.
    """

    def __init__(self, doc: str, leading: tuple[str, ...] | None = None) -> None:
        self.__doc__ = doc
        self.leading = leading

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, estimator: Any, owner: type | None = None) -> Any:
        if estimator is None:
            return self
        state = estimator.__dict__.get("_state")
        if state is None:
            raise AttributeError(
                f"This {type(estimator).__name__} has no {self.name} before it is fitted."
            )
        value = getattr(estimator._model, self.name.removesuffix("_"))
        if value is None or self.leading is None or state.labels is None:
            return value
        coords = {dim: np.arange(value.shape[i]) for i, dim in enumerate(self.leading)}
        return state.labels.wrap(value, self.leading, **coords).rename(self.name[:-1])

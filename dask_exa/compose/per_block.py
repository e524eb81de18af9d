"""One independent model per block of a field, each where its block is."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from dask_exa._samples import Samples, as_samples
from dask_exa.base import check_names
from dask_exa.compose import _block_models as block_models
from dask_exa.reduction import blocks


def _estimator_has(name: str) -> Any:
    return available_if(lambda self: hasattr(self.estimator, name))


class PerBlock(MetaEstimatorMixin, BaseEstimator):
    """Fit one independent model per block, for what is normal in one place and not in another.

    The chunks of a Dask array, or of a labelled array, are its blocks: the part of the domain of
    an MPI rank, a station of a telescope, a chunk of rows. Every block has a copy of the estimator
    of its own. Its state stays on the worker that has the block; nothing travels to learn, and
    scores come back as one array. At any time `merge_blocks` makes one model of all of them.

    Parameters
    ----------
    estimator : estimator
        With ``partial_fit``; with ``fit`` only, it learns from one chunk per block and call.
        A parameter ``stream`` is set to the number of the block, so that models with samples of
        their own draw them independently of each other.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features. A block may be a part of the samples or of the features.
    block_dims : hashable or sequence of hashable, optional
        Dimensions whose chunks tell blocks apart. Default: all but ``time``, along which chunks
        follow each other in one block. Arrays without names have no ``time``: what is passed to
        one call is one step.

    Attributes
    ----------
    estimators_ : ndarray of estimators, of the shape of the grid of blocks
        Brought here when asked for.
    n_blocks_ : tuple of int
        Blocks along every block dimension.

    See Also
    --------
    dask_exa.anomaly.IsolationForest : What one would have one of per block.

    Examples
    --------
    A detector for every quarter of a field, whose level is another in each:

    >>> import dask.array as da, numpy as np
    >>> from dask_exa.anomaly import IsolationForest
    >>> from dask_exa.compose import PerBlock
    >>> random = np.random.default_rng(0)
    >>> X = random.standard_normal((4000, 2)) + np.repeat([0, 10, 20, 30], 1000)[:, None]
    >>> detectors = PerBlock(IsolationForest(random_state=0))
    >>> detectors = detectors.fit(da.from_array(X, chunks=(1000, 2)))
    >>> wrong_quarter = da.from_array(X[::-1], chunks=(1000, 2))
    >>> bool((detectors.predict(wrong_quarter) == -1).all().compute())
    True
    >>> whole = detectors.merge_blocks()
    >>> whole.n_samples_seen_
    4000
    """

    _models: list[Any]
    n_blocks_: tuple[int, ...]

    def __init__(
        self,
        estimator: Any,
        *,
        sample_dims: Hashable | Sequence[Hashable] | None = None,
        block_dims: Hashable | Sequence[Hashable] | None = None,
    ) -> None:
        self.estimator = estimator
        self.sample_dims = sample_dims
        self.block_dims = block_dims

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from all chunks of every block, forgetting what was learnt before.

        Parameters
        ----------
        X : dask.array.Array or xarray.DataArray
            An array in memory is a single block.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        method = "partial_fit" if hasattr(self.estimator, "partial_fit") else "fit"
        return self._absorb(X, method, fresh=True)

    @_estimator_has("partial_fit")
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more chunks of every block; a call that raises changes nothing.

        Parameters
        ----------
        X : dask.array.Array or xarray.DataArray
            Of the same grid of blocks.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        return self._absorb(X, "partial_fit", fresh=not hasattr(self, "n_blocks_"))

    @_estimator_has("score_samples")
    def score_samples(self, X: Any) -> Any:
        """Return the scores of every sample by the model of its block.

        Parameters
        ----------
        X : array in the form of those that were learnt

        Returns
        -------
        array of shape (sample axes …, block axes …)
            Lazy for Dask, labelled for xarray. The block axes are those feature dimensions that
            are split into several blocks; there are none where only samples are.
        """
        return self._apply(X, "score_samples")

    @_estimator_has("decision_function")
    def decision_function(self, X: Any) -> Any:
        """Return the decisions on every sample by the model of its block; see `score_samples`."""
        return self._apply(X, "decision_function")

    @_estimator_has("predict")
    def predict(self, X: Any) -> Any:
        """Return the verdicts on every sample by the model of its block; see `score_samples`."""
        return self._apply(X, "predict")

    @_estimator_has("merge")
    def merge(self, *others: Self) -> Self:
        """Take over, block by block, what other models have learnt of the same grid of blocks."""
        fitted = [model for model in (self, *others) if hasattr(model, "n_blocks_")]
        for model in fitted[1:]:
            if model.n_blocks_ != fitted[0].n_blocks_:
                raise ValueError(
                    f"cannot merge models of {model.n_blocks_} blocks into models of "
                    f"{fitted[0].n_blocks_}; fit both on the same chunks."
                )
        if fitted:
            self._models = blocks.map_values(
                block_models.merge_models, *(model._models for model in fitted)
            )
            for name in ("n_blocks_", "n_features_in_", "feature_names_in_"):
                if name in vars(fitted[0]):
                    setattr(self, name, getattr(fitted[0], name))
        return self

    @_estimator_has("merge")
    def merge_blocks(self) -> Any:
        """Return one model that has learnt what those of all blocks have.

        Blocks of features must be of one size. Models are merged in a tree, on their workers.
        """
        check_is_fitted(self)
        return blocks.reduce_values(block_models.merge_list, self._models)

    @property
    def estimators_(self) -> np.ndarray:
        """Models of all blocks, as an array of the shape of the grid."""
        if not hasattr(self, "n_blocks_"):
            raise AttributeError("This PerBlock has no estimators_ before it is fitted.")
        found = np.empty(math.prod(self.n_blocks_), dtype=object)
        found[:] = blocks.fetch_values(self._models)
        return found.reshape(self.n_blocks_)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what kinds of data the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = get_tags(self.estimator).input_tags.allow_nan
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn whether anything was learnt."""
        return hasattr(self, "n_blocks_")

    def __getstate__(self) -> dict[str, Any]:
        """Pickle with the models, wherever they are."""
        state = dict(super().__getstate__())
        if "_models" in state:
            state["_models"] = blocks.fetch_values(self._models)
        return state

    def _absorb(self, X: Any, method: str, *, fresh: bool) -> Self:
        samples = self._samples(X, reset=fresh)
        lazy = block_models.as_lazy(samples)
        axes = block_models.block_axes(samples, self.block_dims)
        grid = blocks.count_blocks(lazy, axes)
        models = self._fresh(grid) if fresh else self._of_grid(grid)
        update = functools.partial(
            block_models.learn, n_sample_axes=samples.n_sample_axes, method=method
        )
        self._models = blocks.update_blocks(update, lazy, axes, models)
        self.n_blocks_ = grid
        return self

    def _apply(self, X: Any, method: str) -> Any:
        check_is_fitted(self)
        samples = self._samples(X, reset=False)
        lazy = block_models.as_lazy(samples)
        axes = block_models.block_axes(samples, self.block_dims)
        models = self._of_grid(blocks.count_blocks(lazy, axes))
        answer = block_models.apply(lazy, samples.n_sample_axes, axes, models, method)
        if not samples.is_lazy:
            answer = answer.compute(scheduler="synchronous")
        return block_models.label(answer, lazy, samples, axes)

    def _samples(self, X: Any, *, reset: bool) -> Samples:
        samples = as_samples(X, self.sample_dims)
        if samples.is_lazy or samples.labels is not None:
            check_names(self, samples, reset=reset)
            return samples
        finite = not get_tags(self.estimator).input_tags.allow_nan
        dtypes = [np.float64, np.float32]
        return Samples(validate_data(self, X, reset=reset, dtype=dtypes, ensure_all_finite=finite))

    def _fresh(self, grid: tuple[int, ...]) -> list[Any]:
        models = [clone(self.estimator) for _ in range(math.prod(grid))]
        if "stream" in self.estimator.get_params(deep=False):
            for number, model in enumerate(models):
                model.set_params(stream=number)
        return models

    def _of_grid(self, grid: tuple[int, ...]) -> list[Any]:
        if grid != self.n_blocks_:
            raise ValueError(
                f"X has {grid} blocks, the models {self.n_blocks_}; chunk X as what was learnt."
            )
        return self._models

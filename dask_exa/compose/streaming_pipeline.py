"""scikit-learn's pipeline for data that are seen once, in pieces, anywhere.

`StreamingPipeline` is a subclass of `sklearn.pipeline.Pipeline`, and asks nothing of it that is not
public. A pipeline is what its users index, slice, display, search over and test with `isinstance`;
one that only looked like it would be refused by the tools that they have.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from dask_exa._parameters import check_count
from dask_exa.compose import _coordinates, _routing, _steps
from dask_exa.compose._batches import Batch, batches
from dask_exa.compose._coordinates import STILL
from dask_exa.reduction import groups
from dask_exa.reduction._errors import naming


class StreamingPipeline(Pipeline):
    """Steps that learn from the same batch, one from what the other makes of it, and that merge.

    `sklearn.pipeline.Pipeline` with `partial_fit`, `merge`, `forget`, `save` and `load` through
    all of its steps.

    `fit` is scikit-learn's: every step learns from all that those before it, fitted, make of the
    samples. On a Dask array that is a pass over the chunks for every step; where they fit into
    memory, ``X.persist()`` saves making them again. `partial_fit` reads every chunk once: a step
    learns the batch, transforms it by what it then knows and hands it on.

    **Steps follow the samples.** When a scaler or principal components have learnt more, the
    samples seen before stand elsewhere. What later steps have learnt of them is moved there too,
    exactly for a scaler, by the best linear estimate for a truncated basis (see
    `dask_exa.summaries.affine`). A scaler and principal components that learn from batches, or in
    different places, are therefore those of a fit on all samples, and clusters stay where they
    are when a component changes its sign.

    Parameters
    ----------
    steps : list of (str, estimator)
        "passthrough", None and a `sklearn.frozen.FrozenEstimator` do not learn; a step that has
        `fit` only is refused by `partial_fit`. The last one may be of any kind.
    transform_input : list of str, default=None
        As in scikit-learn; for `fit` only.
    memory : str or joblib.Memory, default=None
        As in scikit-learn, where `fit` keeps fitted steps.
    verbose : bool, default=False
        Print how long each step of `fit` takes.
    batch_size : int, optional
        Most samples of a Dask array that the workers hold together in `partial_fit`, rounded to
        whole chunks; by default a fifth of their memory. A larger array is learnt group after
        group of neighbouring chunks, as a stream of them would be.

    Attributes
    ----------
    named_steps : Bunch
        The steps by name; they are those that were passed, and learn in place.

    See Also
    --------
    dask_exa.compose.StreamingColumnTransformer : Other steps for other columns.

    Notes
    -----
    Steps of other libraries learn and transform as they do: scikit-learn's bring a Dask array into
    memory. An exception leaves all steps as they were, which takes a copy of those of other
    libraries; `fit_transform` and `fit_predict` do not promise that.

    Not every state follows: where a step before is no affine map (quantiles, say), or a step's
    state is bound to where its samples were (half-space trees), `partial_fit` leaves it behind, as
    any loop over the steps does, and `merge` of models that differ there is refused.

    The dimensions that count samples, of labelled arrays, are those of the steps' `sample_dims`. An
    `xarray.Dataset` needs a `dask_exa.preprocessing.FieldStacker` as its first step, and is learnt
    at once.

    Where steps cannot follow, what is learnt depends on where a large array is cut into groups; set
    `batch_size` for the same result on any cluster.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.compose import make_streaming_pipeline
    >>> from dask_exa.decomposition import IncrementalPCA
    >>> from dask_exa.preprocessing import StandardScaler
    >>> X = np.random.default_rng(0).standard_normal((600, 5)) * [1, 2, 3, 4, 5] + 7
    >>> X[:, 1] += X[:, 0]
    >>> X[300:] *= 10
    >>> whole = make_streaming_pipeline(StandardScaler(), IncrementalPCA(2)).fit(X)
    >>> stream = make_streaming_pipeline(StandardScaler(), IncrementalPCA(2))
    >>> for batch in np.array_split(X, 6):
    ...     stream = stream.partial_fit(batch)
    >>> np.allclose(stream.transform(X), whole.transform(X))
    True
    """

    # passed on to the last step as it is, by whatever way metadata go
    __metadata_request__partial_fit: ClassVar = {"classes": UNUSED}

    def __init__(
        self,
        steps: list[tuple[str, Any]],
        *,
        transform_input: Sequence[str] | None = None,
        memory: Any = None,
        verbose: bool = False,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit every step to all that those before it make of the samples.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), labelled array or data frame
        y : array of shape (n_samples,), optional
        **params : dict
            As of `sklearn.pipeline.Pipeline.fit`: ``step__argument=value``, or what steps request
            by metadata routing.

        Returns
        -------
        self
        """
        with _steps.unchanged_on_error([self]):
            super().fit(X, y, **params)
        return self

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **params: Any) -> Self:
        """Let every step learn more samples; every chunk is read once.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), labelled array or data frame
        y : array of shape (n_samples,), optional
        classes : array of shape (n_classes,), optional
            For a classifier as the last step, in the first call.
        **params : dict
            As of `fit`, for the `partial_fit` of the steps.

        Returns
        -------
        self
        """
        _steps.check_chain(self.steps)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size)
        arguments = _routing.routed(self, params, classes)
        first = next((step for step in self._members() if _steps.is_there(step)), None)
        sample_dims = getattr(first, "sample_dims", None)
        with _steps.unchanged_on_error([self]):
            for batch in batches(X, y, arguments, sample_dims, self.batch_size):
                self._learn(batch)
        return self

    def merge(self, *others: Self) -> Self:
        """Take over what the steps of other pipelines have learnt, each where its samples now are.

        Parameters
        ----------
        *others : StreamingPipeline
            Of the same steps. They stay as they are; unfitted ones change nothing.

        Returns
        -------
        self
        """
        for other in others:
            self._check_mergeable(other)
        with _steps.unchanged_on_error([self]):
            moved = [STILL] * (1 + len(others))
            for i, (name, step) in enumerate(self.steps):
                models = [step, *(_steps.duplicate(other.steps[i][1]) for other in others)]
                if not _steps.is_there(step):
                    continue
                with naming(f"step {name!r}"):
                    before = [_coordinates.coordinates(model) for model in models]
                    _coordinates.merge(models, moved)
                moved = [
                    _coordinates.follow(step, place, way)
                    for place, way in zip(before, moved, strict=True)
                ]
        return self

    def __or__(self, other: Self) -> Self:
        """Return a new pipeline that has learnt what both have: ``(a | b)``."""
        if not isinstance(other, StreamingPipeline):
            return NotImplemented
        return self._duplicate().merge(other)

    def forget(self, factor: float) -> Self:
        """Scale the weight of all that every step has learnt.

        Parameters
        ----------
        factor : float in (0, 1]
        """
        _steps.forget(self, self.steps, factor)
        return self

    def save(self, path: Any) -> None:
        """Write parameters and state of all steps to a zarr group, as every estimator does.

        Parameters
        ----------
        path : str or path-like
        """
        from dask_exa import _checkpoint

        check_is_fitted(self)
        _checkpoint.save(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Return the pipeline that `save` wrote, ready for more `partial_fit`."""
        from dask_exa import _checkpoint

        return _checkpoint.load(cls, path)

    def get_metadata_routing(self) -> Any:
        """Return scikit-learn's routing of metadata, and that of `partial_fit`."""
        return _routing.add_partial_fit(super().get_metadata_routing())

    def _learn(self, batch: Batch) -> None:
        """Let every step learn a batch, as what those before it, learnt, make of it."""
        X, moved = batch.X, STILL
        last = max((i for i, step in enumerate(self._members()) if _steps.learns(step)), default=0)
        for i, (name, step) in enumerate(self.steps[: last + 1]):
            if not _steps.is_there(step):
                continue
            arguments = batch.routed.get(name, {})
            with naming(f"step {name!r}"):
                before = None if i == last else _coordinates.coordinates(step)
                _coordinates.carry(step, moved)
                if _steps.learns(step):
                    step.partial_fit(X, batch.y, **arguments.get("partial_fit", {}))
                if i == last:
                    return
                X = groups.held(step.transform(X, **arguments.get("transform", {})))
                moved = _coordinates.follow(step, before, moved)

    def _check_mergeable(self, other: Any) -> None:
        if not isinstance(other, StreamingPipeline):
            raise TypeError(
                f"cannot merge a {type(other).__name__} into a StreamingPipeline; pass pipelines "
                "of the same steps."
            )
        ours, theirs = (
            [(name, type(step).__name__) for name, step in pipeline.steps]
            for pipeline in (self, other)
        )
        if ours != theirs:
            raise ValueError(
                f"cannot merge a pipeline of the steps {theirs} into one of {ours}; pass pipelines "
                "of the same steps."
            )
        for name, step in self.steps:
            _steps.check_has(name, step, "merge")

    def _members(self) -> list[Any]:
        return [step for _, step in self.steps]

    def _duplicate(self) -> Self:
        duplicate = copy.copy(self)
        duplicate.steps = [(name, _steps.duplicate(step)) for name, step in self.steps]
        return duplicate


def make_streaming_pipeline(
    *steps: Any, memory: Any = None, verbose: bool = False, batch_size: int | None = None
) -> StreamingPipeline:
    """Return a `StreamingPipeline` whose steps are named after their classes.

    Parameters
    ----------
    *steps : estimators
    memory, verbose, batch_size
        As of `StreamingPipeline`.

    Examples
    --------
    >>> from dask_exa.compose import make_streaming_pipeline
    >>> from dask_exa.decomposition import IncrementalPCA
    >>> list(make_streaming_pipeline("passthrough", IncrementalPCA(2)).named_steps)
    ['passthrough', 'incrementalpca']
    """
    named = make_pipeline(*steps).steps
    return StreamingPipeline(named, memory=memory, verbose=verbose, batch_size=batch_size)

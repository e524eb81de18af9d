"""Online isolation forests: histograms that learn every sample and forget it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from dask_exa._samples import Samples
from dask_exa._state import State
from dask_exa.anomaly import _online_forests
from dask_exa.anomaly._detector import AnomalyDetector
from dask_exa.anomaly._online_forests import OnlineModel
from dask_exa.summaries import Summary, online


class OnlineIsolationForest(AnomalyDetector):
    """Anomalies are what lies where few of the latest samples lie, in histograms that adapt.

    Every tree counts the samples of a sliding window in boxes that are cut in two at random where
    samples come in, and made one again where they have become too few. Samples are learnt one by
    one, in their order: whatever batches they come in, and whatever the chunks of a Dask array
    are, the trees are the same to the last bit. Chunks are learnt one after the other where they
    are made, the state going from one to the next; more workers do not learn faster. For learning
    side by side give every worker a model of its own, or take
    `IsolationForest(forgetting_factor=…)`, which forgets as well and merges exactly.

    **What `merge` is here.** Such a forest cannot be computed from forests of parts of the data.
    `merge` *unites*: of all trees of all models it keeps `n_estimators`, at random, about as many
    of each. A score is then by the mean of the depths that the models would give. That comes
    close to one forest where all models have seen samples of the same law. It is wrong where they
    have not: to a tree that has seen one class, the samples of another are anomalies, and the
    union flags what is normal for some models only, the more models the more. Learning more heals
    it: after a merge every tree goes on learning all that comes, while it forgets what it has
    learnt itself, and after `window_size` more samples all trees know the same.

    `forget(factor)` makes every tree forget the oldest samples of its window and keep a share of
    `factor`.

    Parameters
    ----------
    n_estimators : int, default=100
        Number of trees, of a union as well.
    max_leaf_samples : int, default=32
        Samples at which a tree begins to split.
    window_size : int, default=2048
        Samples that are known. One more makes the trees forget the oldest.
    growth_criterion : {"adaptive", "fixed"}, default="adaptive"
        Whether a leaf of depth k splits at ``max_leaf_samples * 2**k`` samples, so that dense
        regions are not cut ever finer, or at `max_leaf_samples`.
    subsample : float in (0, 1], default=1.0
        Share of the samples that each tree learns.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of samples that `predict` flags, among those of the window; "auto" puts the
        `offset_` at -0.5. May be changed at any time.
    random_state : int, RandomState or None, default=None
        Decides where the trees cut.
    stream : int, default=0
        Number of the stream of samples, for instance the MPI rank. Models that are to be united
        cut independently of each other if their streams, or their seeds, differ.
    nan : {"score", "raise"}, default="score"
        ``score`` lets NaN and infinite values pass, in learning and scoring alike: NaN widens no
        box and goes the way of most samples, infinity counts as the largest number of float32.
        ``raise`` refuses them, which costs a look at every value.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    offset_ : float
        ``decision_function = score_samples - offset_``.
    n_samples_seen_ : int

    Notes
    -----
    `score_samples` is ``-2 ** (-mean depth / log2(n / max_leaf_samples))`` with n the samples that
    a tree knows; a leaf of m samples adds ``log2(m / max_leaf_samples)`` to its depth. A cut takes
    a feature at random among those that vary in the box, and the samples of the box as uniform in
    it. Depths are at most ``log2(window_size / max_leaf_samples)``. Samples have no weights.

    The state has the window in float32, and 8 bytes per feature for every one of the
    ``n_estimators * window_size / max_leaf_samples`` possible leaves.

    References
    ----------
    F. Leveni, G. Weigert Cassales, B. Pfahringer, A. Bifet, G. Boracchi, "Online isolation
    forest", ICML 2024.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((5000, 3))
    >>> whole = OnlineIsolationForest(random_state=0).fit(X)
    >>> stream = OnlineIsolationForest(random_state=0)
    >>> for batch in np.array_split(X, 30):
    ...     stream = stream.partial_fit(batch)
    >>> bool(np.all(whole.score_samples(X) == stream.score_samples(X)))
    True
    >>> stream.predict([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])
    array([ 1, -1])
    >>> stream.partial_fit(X[:2048] + [9.0, -9.0, 9.0]).predict([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])
    array([-1,  1])
    """

    _state_params = (
        "n_estimators",
        "max_leaf_samples",
        "window_size",
        "growth_criterion",
        "subsample",
    )

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        max_leaf_samples: int = 32,
        window_size: int = 2048,
        growth_criterion: str = "adaptive",
        subsample: float = 1.0,
        contamination: str | float = "auto",
        random_state: Any = None,
        stream: int = 0,
        nan: str = "score",
        sample_dims: Any = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_leaf_samples = max_leaf_samples
        self.window_size = window_size
        self.growth_criterion = growth_criterion
        self.subsample = subsample
        self.contamination = contamination
        self.random_state = random_state
        self.stream = stream
        self.nan = nan
        self.sample_dims = sample_dims

    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override]  # no weights
        """Learn the samples of `X` in their order, forgetting what was learnt before.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            Never modified.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        return super().fit(X)

    def partial_fit(  # type: ignore[override]  # no weights
        self, X: Any, y: Any = None, check_input: bool = True
    ) -> Self:
        """Learn more samples, in their order.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            Any number of samples, a single one too. Never modified.
        y : None
            Ignored.
        check_input : bool, default=True
            Kept for scikit-learn; input is always checked.

        Returns
        -------
        self
        """
        return super().partial_fit(X)

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        _online_forests.check_parameters(self)
        return _online_forests.learn(self, samples, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return online.unite(summaries, self.n_estimators)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return online.forget(summary, factor, _online_forests.growth(self))

    def _finalize(self, state: State) -> OnlineModel:
        return OnlineModel(state.summary, self.max_leaf_samples)

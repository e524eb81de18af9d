"""Half-space trees: cells that nobody had to learn, and what falls into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.anomaly import _half_spaces
from dask_exa.anomaly._detector import AnomalyDetector
from dask_exa.anomaly._half_spaces import HalfSpaceModel
from dask_exa.summaries import Summary, mass


class HalfSpaceTrees(AnomalyDetector):
    """Anomalies are what falls into cells that were nearly empty in the last window.

    Every tree cuts space into ``2 ** max_depth`` cells at random, before any data; learning is
    counting. The state is the counts of two windows of the stream, so that it follows a drift,
    costs the same for every row, and merges exactly: chunks of a Dask array and pieces of a stream
    give the counts of one fit, and models of ranks that run side by side add up window by window.

    For an exact merge, models must cut alike: give all of them the same int as `random_state` and
    the same `feature_ranges`. Models that are still warming up merge as sets of rows, and are
    counted in the cells of any model that is not; two models that found different ranges, or
    seeds, do not merge. With ``random_state=None``, only copies of one model do.

    Parameters
    ----------
    n_estimators : int, default=25
        Number of trees.
    max_depth : int, default=12
        Cuts on every way through a tree, at most 16.
    window_size : int or None, default=4096
        Rows of a window, counted in every stream by itself. Scores are by the last complete one,
        or by what there is before one is. None counts everything and never forgets: for data
        that do not drift.
    feature_ranges : pair (low, high), optional
        Expected values, each a number or one for every feature; cells reach beyond. By default
        the values of the first `n_warmup` rows.
    n_warmup : int, default=1024
        Rows that the ranges are taken from where they are not given. Until there are so many,
        rows are kept, and scores are by the ranges of those that there are.
    score_by : {"log", "mass"}, default="log"
        Mean over the trees of the density of the cell that a sample is in, relative to an even
        spread: the logarithm to base 2, or as it is, as published.
    size_limit : float in [0, 1), default=0.1
        Cells of at most this share of a window are not divided any further when scoring.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of samples that `predict` flags, among a sample of 512 rows of the last window or so;
        "auto" flags scores below Tukey's fence of that sample, ``q1 - 1.5 (q3 - q1)`` in the
        logarithm. May be changed at any time.
    random_state : int, RandomState or None, default=None
        Decides how the trees cut.
    stream : int, default=0
        Number of the stream of samples, for instance the MPI rank: it keeps the samples of models
        apart that are to be merged. Of no influence on scores.
    nan : {"score", "raise"}, default="score"
        ``score`` lets NaN and infinite values pass, in learning and scoring alike: NaN counts as
        larger than every number, so it is abnormal where it is rare and normal where it is not.
        ``raise`` refuses them, which costs a look at every value.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    feature_ranges_ : array of shape (2, n_features)
        Smallest and largest expected value.
    masses_ : array of shape (n_estimators, n_leaves)
        What the window that scores are by weighs in every leaf.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    n_samples_seen_ : int

    Notes
    -----
    A cell at depth k with mass m of a window's M has the density ``2**k m / M``; `score_samples`
    is its mean, or the mean of ``log2((m + 1/2) / (M + 1/2)) + k``. For how space is cut, see
    `dask_exa.kernels.grow_half_spaces`. Sums of whole weights are exact, to the
    last bit on any chunks and workers; of others but for rounding. A feature that does not vary
    in the warm-up is never cut: give `feature_ranges` if it will. The state has at most
    ``16 * n_estimators * 2 ** max_depth`` bytes, and a sample of 512 rows.

    References
    ----------
    S. C. Tan, K. M. Ting, T. F. Liu, "Fast anomaly detection for streaming data", IJCAI 2011.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((9000, 3))
    >>> whole = HalfSpaceTrees(random_state=0).fit(X)
    >>> stream = HalfSpaceTrees(random_state=0)
    >>> for batch in np.array_split(X, 30):
    ...     stream = stream.partial_fit(batch)
    >>> bool(np.all(whole.score_samples(X) == stream.score_samples(X)))
    True
    >>> def rank(i):
    ...     model = HalfSpaceTrees(random_state=0, feature_ranges=(-4, 4), stream=i)
    ...     return model.fit(X[i::2])
    >>> (rank(0) | rank(1)).predict([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])
    array([ 1, -1])
    """

    feature_ranges_ = Fitted("Smallest and largest expected value of every feature.", ("bound",))
    masses_ = Fitted("What the window that scores are by weighs in every leaf.")

    _state_params = ("n_estimators", "max_depth", "window_size", "score_by", "size_limit")

    def __init__(
        self,
        *,
        n_estimators: int = 25,
        max_depth: int = 12,
        window_size: int | None = 4096,
        feature_ranges: Any = None,
        n_warmup: int = 1024,
        score_by: str = "log",
        size_limit: float = 0.1,
        contamination: str | float = "auto",
        random_state: Any = None,
        stream: int = 0,
        nan: str = "score",
        sample_dims: Any = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.window_size = window_size
        self.feature_ranges = feature_ranges
        self.n_warmup = n_warmup
        self.score_by = score_by
        self.size_limit = size_limit
        self.contamination = contamination
        self.random_state = random_state
        self.stream = stream
        self.nan = nan
        self.sample_dims = sample_dims

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        _half_spaces.check_parameters(self)
        return _half_spaces.learn(self, samples, sample_weight, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return mass.merge(summaries, self.window_size)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return mass.forget(summary, factor)

    def _finalize(self, state: State) -> HalfSpaceModel:
        return HalfSpaceModel(self, state.summary)

"""GaussianMixture: a pass of EM beside scikit-learn's, and the quality of streams and merges."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _labelled import load
from _table import Table
from sklearn.mixture import GaussianMixture as Peer
from sklearn.preprocessing import StandardScaler

from dask_exa._threads import thread_share
from dask_exa.cluster import GaussianMixture
from dask_exa.summaries import mixture
from dask_exa.summaries.gaussians import TYPES, Gaussians, from_covariances

N, D, K = 200_000, 32, 32
REAL = ("thyroid", "shuttle", "annthyroid", "mammography", "satellite", "cover")


def blobs(
    n_samples: int = N, n_features: int = D, n_components: int = K, dtype: Any = np.float64
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return samples, which component each is of, and the means."""
    rng = np.random.default_rng(0)
    means = 2 * rng.standard_normal((n_components, n_features))
    labels = rng.integers(n_components, size=n_samples)
    X = means[labels] + rng.standard_normal((n_samples, n_features))
    return X.astype(dtype), labels, means


def mixture_pass(repeats: int) -> None:
    """Run one E-step and M-step from the same parameters, one thread."""
    table = Table(f"A pass of EM, {N} x {D}, k={K}, one thread (goal: 3 for diag)",
                  "dtype", "covariances", "ours (CPU s)", "scikit-learn (CPU s)", "ratio",
                  "log-likelihood - theirs")  # fmt: skip
    for dtype in (np.float64, np.float32):
        X, _, means = blobs(dtype=dtype)
        for form in TYPES:
            start = _start(form, means)
            ours, peer = _our_pass(X, start), _peer_pass(X, start)
            with thread_share(1):
                ours()
                pairs = [(_cpu(ours), _cpu(peer)) for _ in range(repeats)]
                difference = ours() - peer()
            medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
            ratio = statistics.median(theirs / own for own, theirs in pairs)
            table.row(np.dtype(dtype), form, *medians, ratio, f"{difference:+.1e}")
    table.show()


def mixture_fit(repeats: int) -> None:
    """Fit to the default tolerance from each one's own start."""
    table = Table("A fit, 50 000 x 16, k=16, one thread: CPU s, passes, mean log-likelihood",
                  "covariances", "ours", "scikit-learn", "ratio")  # fmt: skip
    X, _, _ = blobs(50_000, 16, 16)
    for form in TYPES:
        models = [cls(16, covariance_type=form, random_state=0) for cls in (GaussianMixture, Peer)]
        with thread_share(1):
            pairs = [[_cpu(partial(model.fit, X)) for model in models] for _ in range(repeats)]
        medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
        cells = [
            f"{seconds:.2f}, {model.n_iter_}, {model.score(X):.4f}"
            for seconds, model in zip(medians, models, strict=True)
        ]
        table.row(form, *cells, statistics.median(theirs / own for own, theirs in pairs))
    table.show()


def mixture_streams(repeats: int) -> None:
    """Learn the same samples as a stream, on ranks, and on ranks that saw other clusters each."""
    table = Table("Mean log-likelihood relative to a fit, 20 000 x 8, k=8 (means of 5 seeds)",
                  "covariances", "batches of 50", "of 500", "of 5000", "4 ranks",
                  "8 ranks, a cluster each",
                  "the same, and a step")  # fmt: skip
    X, labels, _ = blobs(20_000, 8, 8)
    for form in TYPES:
        found = []
        for seed in range(5):
            params: dict[str, Any] = {"covariance_type": form, "random_state": seed}
            best = GaussianMixture(8, **params).fit(X).score(X)
            scores = [_stream(X, size, params).score(X) for size in (50, 500, 5000)]
            scores.append(_merged([X[i::4] for i in range(4)], params).score(X))
            dealt = _merged([X[labels == i] for i in range(8)], params)
            scores += [dealt.score(X), dealt.partial_fit(X).score(X)]
            found.append(np.array(scores) - best)
        table.row(form, *[f"{value:+.4f}" for value in np.mean(found, axis=0)])
    table.show()


def mixture_real(repeats: int) -> None:
    """Learn real data, scaled: mean log-likelihood on all rows, diag, k=5."""
    options: dict[str, Any] = {"covariance_type": "diag", "max_iter": 300, "reg_covar": 1e-3}
    table = Table("Mean log-likelihood, diag, k=5, best of 3 starts (up to 20 000 shuffled rows)",
                  "set", "k=1", "scikit-learn", "fit", "20 batches", "4 ranks")  # fmt: skip
    for name in REAL:
        X = StandardScaler().fit_transform(load(name)[0].astype(np.float64))
        X = X[np.random.default_rng(0).permutation(len(X))[:20_000]]
        params = {**options, "n_init": 3, "random_state": 0}
        models = [
            Peer(1, **options).fit(X),
            Peer(5, **params).fit(X),
            GaussianMixture(5, **params).fit(X),
            _stream(X, -(-len(X) // 20), params, 5),
            _merged([X[i::4] for i in range(4)], params, 5),
        ]
        table.row(name, *[f"{model.score(X):.3f}" for model in models])
    table.show()


def _start(form: str, means: np.ndarray) -> Gaussians:
    k, d = means.shape
    units = {"full": np.stack([np.eye(d)] * k), "tied": np.eye(d), "diag": np.ones((k, d)),
             "spherical": np.ones(k)}  # fmt: skip
    return from_covariances(form, np.full(k, 1 / k), means, units[form])


def _our_pass(X: np.ndarray, start: Gaussians) -> Callable[[], float]:
    def run() -> float:
        found = mixture.summarize(X, None, start)
        mixture.maximize(found, 1e-6)
        return found.log_likelihood / len(X)

    return run


def _peer_pass(X: np.ndarray, start: Gaussians) -> Callable[[], float]:
    """Return scikit-learn's own two steps, without the checks and the start of its `fit`."""
    given = {"weights": start.weights, "means": start.means, "precisions": start.precisions}
    given = {f"{name}_init": value.astype(X.dtype) for name, value in given.items()}
    peer = Peer(start.weights.size, covariance_type=start.covariance_type, max_iter=1, **given)
    peer.fit(X[:1000])

    def run() -> float:
        for name in ("weights", "means", "precisions_cholesky"):
            setattr(peer, f"{name}_", getattr(start, name).astype(X.dtype))
        log_likelihood, log_shares = peer._e_step(X)
        peer._m_step(X, log_shares)
        return float(log_likelihood)

    return run


def _stream(X: np.ndarray, size: int, params: dict[str, Any], k: int = 8) -> GaussianMixture:
    model = GaussianMixture(k, **params)
    for begin in range(0, len(X), size):
        model.partial_fit(X[begin : begin + size])
    return model


def _merged(parts: list[np.ndarray], params: dict[str, Any], k: int = 8) -> GaussianMixture:
    return GaussianMixture(k, **params).merge(*(GaussianMixture(k, **params).fit(X) for X in parts))


def _cpu(function: Callable[[], Any]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


ON_REAL_DATA = ("mixture_real",)
TABLES: dict[str, Callable[[int], None]] = {
    function.__name__: function
    for function in (mixture_pass, mixture_fit, mixture_streams, mixture_real)
}

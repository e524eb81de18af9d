"""Tails by peaks over threshold: a generalised Pareto law of the excesses, and what it foretells.

The excess y of a value over a high level has, for almost any law of the values, the survival
function ``(1 + ξ y / σ) ** (-1 / ξ)`` (Balkema, de Haan, Pickands). With ``θ = ξ / σ`` its
likelihood given k excesses needs them only in ``S(θ) = Σ log(1 + θ y)``::

    log L = k log(θ / ξ) - (1 + 1/ξ) S(θ)        greatest at ξ = S(θ) / k    (Grimshaw)

so that the maximum likelihood is a search in one variable, which cannot fail to converge.

**Probabilities** are not read off the best parameters, which would promise too much after few
values, but averaged over all parameters by how well they explain the excesses: the probability
that the next value exceeds z, with prior ``dξ dσ/σ``. For each θ the integral over ξ is closed::

    P(y > z | θ) = (1 + log(1 + θ z) / S(θ)) ** -(k - 1)
    weight of θ  = |θ / S(θ)| ** (k - 1) * exp(-S(θ)) dθ

which leaves one sum over θ. At θ = 0, where the law is exponential, it is the classical
``(1 + z / Σy) ** -(k - 1)``. ξ is kept in [-1, 2], and weighed by a normal law of standard
deviation ½ about 0, which decides where there are few excesses. Of an excess that is only known
to be at least y, ``log(1 + θ y)`` enters every S but that of the exponential, and it is not one of
the k.

References
----------
S. D. Grimshaw, "Computing maximum likelihood estimates for the generalized Pareto distribution",
Technometrics 35(2), 1993. J. Zhang, M. A. Stephens, "A new and efficient estimation method for the
generalized Pareto distribution", Technometrics 51(3), 2009 (averages over θ). A. Siffer, P.-A.
Fouque, A. Termier, C. Largouët, "Anomaly detection in streams with extreme value theory", KDD 2017.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

LEAST_EXCESSES = 3
"""Of fewer no law can be learnt."""

_SHAPES = (-1.0, 2.0)
_SHAPE_SD = 0.5
_N_NODES = 64
_NEGLIGIBLE = 18.0
"""Parameters whose log-likelihood is this far below the best one's do not count."""
_STEPS = np.concatenate(
    [
        np.linspace(0.0, 0.9, 45, endpoint=False),
        1 - np.geomspace(0.1, 1e-6, 45),
        1 + np.geomspace(1e-6, 1, 60),
        np.geomspace(2.0, 1e6, 90)[1:],
    ]
)
"""Where the survival function is tabulated, in units of the largest excess, near which a tail
that ends has its end."""


class Pareto(NamedTuple):
    """A generalised Pareto law of excesses and the survival function that it foretells."""

    shape: float
    """ξ of maximum likelihood, in [-1, 2]: below 0 the tail ends, above it is a power law."""
    scale: float
    """σ of maximum likelihood, in the units of the excesses."""
    largest: float
    log_survival: np.ndarray
    """At excesses of `_STEPS * largest`."""

    def survival(self, excess: np.ndarray) -> np.ndarray:
        """Return the probability that the next excess is at least as large as these."""
        return np.exp(np.interp(excess / self.largest, _STEPS, self.log_survival))

    def quantile(self, probability: float) -> float:
        """Return the excess that the next one exceeds with this probability; may be infinite."""
        wanted = np.log(probability)
        if wanted < self.log_survival[-1]:
            return np.inf
        return float(np.interp(-wanted, -self.log_survival, _STEPS) * self.largest)


def fit(
    excesses: np.ndarray,
    weights: np.ndarray | None = None,
    censored: np.ndarray | None = None,
) -> Pareto:
    """Return the generalised Pareto law of some excesses.

    Parameters
    ----------
    excesses : array of shape (n_excesses,)
        Positive.
    weights : array of shape (n_excesses,), optional
        Numbers of repetitions.
    censored : array of shape (n_excesses,), optional
        Which excesses are only known to be at least as large; without them, there are at least
        `LEAST_EXCESSES`.

    Examples
    --------
    >>> import numpy as np
    >>> law = fit(-np.log1p(-np.linspace(0, 1, 2000, endpoint=False)[1:]))  # exponential
    >>> abs(law.shape) < 0.01, round(law.scale, 1)
    (True, 1.0)
    >>> round(law.quantile(1e-3), 1)
    6.9
    """
    largest = float(excesses.max())
    y = excesses / largest
    weights = np.ones(y.size) if weights is None else weights
    known = weights if censored is None else weights * ~censored
    sample = _Excesses(y, weights, known, float(known.sum()))
    nodes, sums = _posterior(sample)
    shape, scale = _likeliest(sample, nodes, sums.likelihood)
    return Pareto(shape, scale * largest, largest, _predictive(nodes, sums, sample.n_known))


class _Excesses(NamedTuple):
    """Excesses of which the largest is 1."""

    y: np.ndarray
    weights: np.ndarray
    known: np.ndarray
    """Weights, 0 where the excess may be larger."""
    n_known: float
    """Sum of the known weights."""


class _Sums(NamedTuple):
    """What the excesses say about every θ."""

    total: np.ndarray
    """S(θ)."""
    ratio: np.ndarray
    """θ / S(θ), which is finite at 0."""
    likelihood: np.ndarray
    """Logarithm of the likelihood, at the best ξ."""
    weight: np.ndarray
    """Logarithm of the weight of θ, per step in log(θ + 1)."""


def _sums(nodes: np.ndarray, sample: _Excesses) -> _Sums:
    # nodes are log(θ + 1), so that θ > -1: no excess, of which the largest is 1, is impossible
    theta = np.expm1(nodes)
    logs = np.log1p(np.multiply.outer(theta, sample.y))
    total = logs @ sample.weights
    near = np.abs(theta) < 1e-8
    ratio = np.where(near, 1 / (sample.weights @ sample.y), theta / np.where(near, 1.0, total))
    shape = total / sample.n_known
    likelihood = sample.n_known * np.log(ratio) - logs @ sample.known
    weight = likelihood - np.log(ratio) + nodes - 0.5 * (shape / _SHAPE_SD) ** 2
    impossible = (shape < _SHAPES[0]) | (shape > _SHAPES[1])
    likelihood[impossible] = weight[impossible] = -np.inf
    return _Sums(total, ratio, likelihood, weight)


def _posterior(sample: _Excesses) -> tuple[np.ndarray, _Sums]:
    """Return nodes in log(θ + 1) that cover all that is likely: a coarse net, then a fine one."""
    low, high = np.log(1e-5), np.log1p(50 * sample.weights.sum() / (sample.weights @ sample.y))
    nodes = np.linspace(low, high, _N_NODES)
    sums = _sums(nodes, sample)
    likely = np.flatnonzero(sums.weight > sums.weight.max() - _NEGLIGIBLE)
    first, last = max(likely[0] - 1, 0), min(likely[-1] + 1, _N_NODES - 1)
    nodes = np.linspace(nodes[first], nodes[last], _N_NODES)
    return nodes, _sums(nodes, sample)


def _likeliest(sample: _Excesses, nodes: np.ndarray, likelihood: np.ndarray) -> tuple[float, float]:
    """Return ξ and σ of maximum likelihood, between the nodes beside the best one."""

    def loss(node: float) -> float:
        return -float(_sums(np.array([node]), sample).likelihood[0])

    best = int(np.argmax(likelihood))
    beside = [i for i in (best - 1, best, best + 1) if 0 <= i < nodes.size]
    possible = nodes[[i for i in beside if np.isfinite(likelihood[i])]]
    bounds = (possible[0], possible[-1])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    best_sums = _sums(np.array([found.x]), sample)
    shape = float(best_sums.total[0]) / sample.n_known
    return shape, 1.0 / (sample.n_known * float(best_sums.ratio[0]))


def _predictive(nodes: np.ndarray, sums: _Sums, count: float) -> np.ndarray:
    """Return the logarithm of the survival function at all steps of the table."""
    weight = np.exp(sums.weight - sums.weight.max())
    weight /= weight.sum()
    theta, used = np.expm1(nodes), weight > 1e-12
    theta, ratio, weight = theta[used], sums.ratio[used], weight[used]
    z = _STEPS[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.log1p(np.maximum(theta * z, -1.0))
        # log(1 + θz) / S; beyond the end of a tail that ends, infinity
        share = np.where(np.abs(theta) < 1e-8, z * ratio, inside * (ratio / theta))
        survival = (1 + share) ** (1 - count) @ weight
        return np.maximum(np.log(survival), -690.0)

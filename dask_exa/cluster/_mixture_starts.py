"""Where the components of a mixture start, from a sample of what is to be learnt."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_exa import kernels
from dask_exa._samples import Samples
from dask_exa.cluster._lloyd import lloyd
from dask_exa.cluster._seeding import plus_plus
from dask_exa.kernels import Attracted
from dask_exa.reduction.broadcast import Rounds
from dask_exa.summaries import mixture
from dask_exa.summaries.gaussians import Gaussians, from_precisions

INITS = ("kmeans", "k-means++", "random", "random_from_data")
GIVEN = ("weights_init", "means_init", "precisions_init")
_KMEANS_ITERATIONS = 300
_KMEANS_TOL = 1e-4
_KMEANS_STARTS = 4
_SYMMETRY = 1e-8


def start(params: Any, rows: np.ndarray, weight: np.ndarray, seed: int) -> Gaussians:
    """Return the mixture that EM starts from.

    Parameters
    ----------
    params : GaussianMixture
        Read only; what it gives of weights, means and precisions is taken as it is.
    rows : array of shape (n_rows, n_features), float64
    weight : array of shape (n_rows,), float64
        Above zero.
    seed : int
    """
    if is_given(params):
        weights, means = (_given(params, name) for name in ("weights_init", "means_init"))
    else:
        shares = _shares(params, rows, weight, np.random.RandomState(seed)) * weight[:, None]
        found = mixture.maximize(
            mixture.attribute(rows, shares, params.covariance_type), params.reg_covar
        )
        weights = _given(params, "weights_init", found.weights)
        means = _given(params, "means_init", found.means)
        if params.precisions_init is None:
            return found._replace(weights=weights, means=means)
    precisions = _given(params, "precisions_init")
    return from_precisions(params.covariance_type, weights, means, precisions)


def is_given(params: Any) -> bool:
    """Whether the parameters say all of where to start."""
    return all(getattr(params, name) is not None for name in GIVEN)


def is_partly_given(params: Any) -> bool:
    """Whether the parameters say some of where to start."""
    return any(getattr(params, name) is not None for name in GIVEN)


def check_given(params: Any, n_features: int) -> None:
    """Raise ValueError for weights, means or precisions that are none of this mixture."""
    k, d = params.n_components, n_features
    forms = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}
    shapes = {
        "weights_init": (k,),
        "means_init": (k, d),
        "precisions_init": forms[params.covariance_type],
    }
    for name, shape in shapes.items():
        value = _given(params, name)
        if value is None:
            continue
        if value.shape != shape:
            raise ValueError(
                f"{name} has shape {value.shape}; for n_components={k}, {d} features and "
                f"covariance_type={params.covariance_type!r} it must have {shape}."
            )
        if not np.isfinite(value).all():
            raise ValueError(f"{name} contains NaN or infinity; pass finite numbers.")
    weights = _given(params, "weights_init")
    if weights is not None and (weights.min() <= 0 or not np.isclose(weights.sum(), 1)):
        raise ValueError(
            f"weights_init={weights} must be above 0 and add up to 1; divide them by their sum, "
            "and leave out components of weight 0."
        )
    if params.precisions_init is not None:
        _check_precisions(_given(params, "precisions_init"), params.covariance_type)


def _check_precisions(precisions: np.ndarray, covariance_type: str) -> None:
    if covariance_type in ("diag", "spherical"):
        positive = bool((precisions > 0).all())
    else:
        turned = np.swapaxes(precisions, -1, -2)
        scale = np.abs(precisions).max()
        positive = np.allclose(precisions, turned, rtol=0, atol=_SYMMETRY * scale)
        positive = positive and bool((np.linalg.eigvalsh(precisions) > 0).all())
    if not positive:
        raise ValueError(
            f"precisions_init must be {covariance_type} inverse covariances, symmetric and "
            "positive definite; invert covariances that are."
        )


def _given(params: Any, name: str, otherwise: Any = None) -> Any:
    value = getattr(params, name)
    return otherwise if value is None else np.asarray(value, dtype=np.float64)


def _shares(
    params: Any, rows: np.ndarray, weight: np.ndarray, random: np.random.RandomState
) -> np.ndarray:
    """Return the share of every component in every row, (n_rows, n_components)."""
    k = params.n_components
    if params.init_params == "random":
        shares = random.uniform(size=(rows.shape[0], k))
        return shares / shares.sum(axis=1, keepdims=True)
    if params.init_params == "random_from_data":
        centers = rows[random.choice(rows.shape[0], size=k, replace=False)]
    elif params.init_params == "k-means++":
        centers = plus_plus(rows, k, weight, random)
    else:
        centers = _clustered(rows, weight, k, random)
    centers = centers[np.lexsort(centers.T[::-1])]  # whatever start they are of
    labels, _ = kernels.nearest_centers(rows, centers)
    return np.eye(k)[labels]


def _clustered(
    rows: np.ndarray, weight: np.ndarray, n_clusters: int, random: np.random.RandomState
) -> np.ndarray:
    """Return the centres of the best of a few k-means."""
    mean = np.average(rows, axis=0, weights=weight)
    variance = np.average((rows - mean) ** 2, axis=0, weights=weight).mean()
    rounds = Rounds(Samples(rows), weight)
    options = {"tol": _KMEANS_TOL * variance, "max_iter": _KMEANS_ITERATIONS}
    starts = [plus_plus(rows, n_clusters, weight, random) for _ in range(_KMEANS_STARTS)]
    found = [lloyd(rounds, start, **options) for start in starts]
    return min(found, key=_inertia)[0]


def _inertia(found: tuple[np.ndarray, Attracted, int]) -> float:
    return found[1].inertia

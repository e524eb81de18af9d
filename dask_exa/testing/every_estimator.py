"""scikit-learn's checks over every public estimator of dask-exa, from wherever it is installed.

::

    pytest --pyargs dask_exa.testing.every_estimator
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.tree import DecisionTreeClassifier

from dask_exa.anomaly import IsolationForest, StreamingThreshold, SubspaceDetector
from dask_exa.cluster import Birch, KMeans, MiniBatchKMeans
from dask_exa.compose import (
    Ensemble,
    FederatedAverage,
    PerBlock,
    StreamingColumnTransformer,
    StreamingPipeline,
)
from dask_exa.compression import Bound, FieldCompressor
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler
from dask_exa.testing.estimator_checks import examples_of, parametrize_with_every_check

ARGUMENTS: dict[type, dict[str, Any]] = {
    Birch: {"n_clusters": 1},  # the checks' samples make one or two subclusters
    Ensemble: {"estimator": DecisionTreeClassifier(random_state=0)},
    FederatedAverage: {"estimator": SGDClassifier(random_state=0)},
    FieldCompressor: {"bound": Bound("rel", 1e-3)},
    PerBlock: {"estimator": IsolationForest(n_estimators=10, random_state=0)},
    StreamingColumnTransformer: {
        "transformers": [("scale", StandardScaler(), [0])],
        "remainder": "passthrough",
    },
    StreamingPipeline: {"steps": [("scale", StandardScaler()), ("reduce", IncrementalPCA(1))]},
    SubspaceDetector: {"confidence": 0.9},  # none of the checks' samples is beyond 99 %
}
"""What some estimators cannot do without, or need for samples as small as those of the checks."""

_SHUFFLED = "check_sample_weight_equivalence_on_dense_data"
_START = {_SHUFFLED: "a start is drawn by the numbers of the samples, which the check shuffles"}
EXPECTED_FAILURES: dict[type, dict[str, str]] = {
    Birch: {_SHUFFLED: "subclusters come in the order of the samples, which the check shuffles"},
    KMeans: _START,
    MiniBatchKMeans: _START,
    StreamingColumnTransformer: dict.fromkeys(
        (
            "check_estimator_sparse_array",
            "check_estimator_sparse_matrix",
            "check_estimators_empty_data_messages",
            "check_fit1d",
            "check_fit2d_predict1d",
            "check_transformer_data_not_an_array",
        ),
        "scikit-learn's ColumnTransformer, which it is, fails it",
    ),
    StreamingPipeline: dict.fromkeys(
        ("check_dont_overwrite_parameters", "check_estimators_overwrite_params"),
        "scikit-learn's Pipeline, which it is, fails it",
    ),
    StreamingThreshold: {"check_fit1d": "a series of scores has one dimension"},
}
"""The checks that an estimator fails on purpose, with the reason."""


def instances() -> list[Any]:
    """Return one of each estimator, and every way in which they learn."""
    return [
        *examples_of("dask_exa", ARGUMENTS),
        IncrementalPCA(1, solver="gram"),
        IncrementalPCA(1, solver="qr", whiten=True),
        IncrementalPCA(0.9),
    ]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@parametrize_with_every_check(
    instances(), lambda estimator: EXPECTED_FAILURES.get(type(estimator), {})
)
def test_scikit_learn_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    """Every estimator does what scikit-learn asks of every estimator."""
    check(estimator)

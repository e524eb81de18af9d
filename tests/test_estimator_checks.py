"""Every public estimator of the package passes scikit-learn's own checks."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

import dask_exa
from dask_exa.anomaly import (
    FieldDetector,
    FieldMonitor,
    IsolationForest,
    StreamingThreshold,
    SubspaceDetector,
)
from dask_exa.base import MergeableEstimator
from dask_exa.compose import PerBlock
from dask_exa.decomposition import IncrementalPCA

FOLDERS = ("decomposition", "anomaly", "cluster", "preprocessing", "compose")
# They take the steps of a stream, xarray.Dataset, where scikit-learn's checks pass arrays.
OF_STEPS = {FieldDetector, FieldMonitor}
ARGUMENTS = {
    PerBlock: {"estimator": IsolationForest(n_estimators=10, random_state=0)},
    SubspaceDetector: {"confidence": 0.9},  # none of the checks' samples is beyond 99 %
}


def public_estimators():
    """Return the estimators that the folders of estimators publish."""
    found = set()
    present = {module.name for module in pkgutil.iter_modules(dask_exa.__path__)}
    for folder in present.intersection(FOLDERS):
        module = importlib.import_module(f"dask_exa.{folder}")
        public = [getattr(module, name) for name in getattr(module, "__all__", ())]
        found.update(
            cls for cls in public if inspect.isclass(cls) and issubclass(cls, BaseEstimator)
        )
    return sorted(found, key=lambda cls: cls.__name__)


def instances():
    """One of each with default parameters, and every way in which they learn."""
    return [
        *(cls(**ARGUMENTS.get(cls, {})) for cls in public_estimators() if cls not in OF_STEPS),
        IncrementalPCA(1, solver="gram"),
        IncrementalPCA(1, solver="qr", whiten=True),
        IncrementalPCA(0.9),
    ]


def expected_failures(estimator):
    """Return the checks that an estimator fails on purpose, with the reason."""
    if isinstance(estimator, StreamingThreshold):
        return {"check_fit1d": "a series of scores has one dimension"}
    return {}


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@parametrize_with_checks(instances(), expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_public_estimators_are_found():
    assert IncrementalPCA in public_estimators()


@pytest.mark.parametrize("cls", public_estimators())
def test_estimators_merge(cls):
    if cls is FieldDetector:
        pytest.skip("watches one stream; its parts merge")
    assert issubclass(cls, MergeableEstimator) or cls in (FieldMonitor, PerBlock)


@pytest.mark.parametrize("cls", sorted(OF_STEPS, key=lambda cls: cls.__name__))
def test_what_takes_steps_says_so(cls):
    with pytest.raises(TypeError, match="Dataset"):
        cls().observe(np.zeros((4, 3)))

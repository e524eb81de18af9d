"""Every public estimator of the package passes scikit-learn's own checks, without exception."""

import importlib
import inspect
import pkgutil

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

import dask_exa
from dask_exa.base import MergeableEstimator
from dask_exa.decomposition import IncrementalPCA

FOLDERS = ("decomposition", "anomaly", "cluster", "preprocessing", "compose")


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
        *(cls() for cls in public_estimators()),
        IncrementalPCA(1, solver="gram"),
        IncrementalPCA(1, solver="qr", whiten=True),
        IncrementalPCA(0.9),
    ]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@parametrize_with_checks(instances())
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_public_estimators_are_found():
    assert IncrementalPCA in public_estimators()


@pytest.mark.parametrize("cls", public_estimators())
def test_estimators_merge(cls):
    assert issubclass(cls, MergeableEstimator)

"""Every public estimator of the package passes scikit-learn's own checks."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags

import dask_exa.compose
from dask_exa.anomaly import FieldDetector, FieldMonitor
from dask_exa.base import MergeableEstimator
from dask_exa.compression import FieldCompressor
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs.amr import LeafFeatures
from dask_exa.inputs.velocity_space import TensorProjection, VelocitySpaceFeatures
from dask_exa.inputs.visibilities import BaselineFeatures, SkyResidual
from dask_exa.testing.estimator_checks import (
    CHECKS_WITHOUT_DATA,
    examples_of,
    parametrize_with_every_check,
    public_estimators,
)

# What an estimator needs for the checks, and those that it fails on purpose, are there.
from dask_exa.testing.every_estimator import ARGUMENTS, test_scikit_learn_checks

PUBLIC = public_estimators("dask_exa")
OF_STEPS = {FieldDetector, FieldMonitor}
LEARN_NOTHING = {BaselineFeatures, LeafFeatures, TensorProjection, VelocitySpaceFeatures}
OF_ONE_STREAM = {FieldDetector, SkyResidual}  # whose parts merge
WITHOUT_MATRICES = [
    type(estimator)
    for estimator in examples_of("dask_exa", ARGUMENTS)
    if not get_tags(estimator).input_tags.two_d_array
]


def checked_pairs():
    (mark,) = [mark for mark in test_scikit_learn_checks.pytestmark if mark.name == "parametrize"]
    return [getattr(pair, "values", pair) for pair in mark.args[1]]


def test_no_public_estimator_is_left_out():
    checked = {type(estimator) for estimator, _ in checked_pairs()}
    assert checked == {*PUBLIC} >= {IncrementalPCA, *OF_STEPS}
    folders = {"anomaly", "cluster", "compose", "compression", "decomposition", "inputs"}
    assert {cls.__module__.split(".")[1] for cls in PUBLIC} == {*folders, "preprocessing"}


@pytest.mark.parametrize("cls", WITHOUT_MATRICES, ids=lambda cls: cls.__name__)
def test_what_takes_no_matrices_is_checked_without_data(cls):
    checks = [check for estimator, check in checked_pairs() if type(estimator) is cls]
    assert len(checks) == len(CHECKS_WITHOUT_DATA)


class Broken(BaseEstimator):
    """Takes no matrices, and does more in its constructor than to store parameters."""

    def __init__(self, size=1):
        self.size = size
        self.shape = (size,)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def test_checks_without_data_can_fail():
    failed = set()
    for estimator, check in parametrize_with_every_check([Broken()]).args[1]:
        try:
            check(estimator)
        except Exception:
            failed.add(check.func)
    assert "check_no_attributes_set_in_init" in {check.__name__ for check in failed}


def test_checks_run_where_the_package_is_installed(tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs"]
    command += ["dask_exa.testing.every_estimator", "-k", "FieldMonitor", "-W", "error"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert f"{len(CHECKS_WITHOUT_DATA)} passed" in run.stdout


@pytest.mark.parametrize("cls", PUBLIC)
def test_estimators_merge(cls):
    if cls in OF_ONE_STREAM:
        pytest.skip("watches one stream; its parts merge")
    if cls in LEARN_NOTHING:
        pytest.skip("learns nothing")
    of_others = {getattr(dask_exa.compose, name) for name in dask_exa.compose.__all__}
    assert issubclass(cls, MergeableEstimator) or cls in {FieldCompressor, FieldMonitor, *of_others}


@pytest.mark.parametrize("cls", sorted(OF_STEPS, key=lambda cls: cls.__name__))
def test_what_takes_steps_says_so(cls):
    with pytest.raises(TypeError, match="Dataset"):
        cls().observe(np.zeros((4, 3)))

"""Every detector holds the contract: its scores do not depend on how the samples came."""

from dask_exa.anomaly import (
    HalfSpaceTrees,
    IsolationForest,
    OnlineIsolationForest,
    SubspaceDetector,
)
from dask_exa.testing.detectors import DetectorContract


class TestIsolationForest(DetectorContract):
    def make(self, **params):
        small = {"n_estimators": 25, "max_samples": 64, "random_state": 3}
        return IsolationForest(**{**small, **params})


class TestObliqueForest(TestIsolationForest):
    def make(self, **params):
        return super().make(extended=True, score_by="path+density", **params)


class TestHalfSpaceTrees(DetectorContract):
    def make(self, **params):
        small = {"n_estimators": 9, "max_depth": 7, "window_size": 700, "n_warmup": 100}
        return HalfSpaceTrees(**{**small, "random_state": 3, **params})


class TestOnlineIsolationForest(DetectorContract):
    def make(self, **params):
        small = {"n_estimators": 10, "max_leaf_samples": 8, "window_size": 500}
        return OnlineIsolationForest(**{**small, "random_state": 3, **params})


class TestSubspaceDetector(DetectorContract):
    rtol = 1e-8

    def make(self, **params):
        return SubspaceDetector(3, **params)

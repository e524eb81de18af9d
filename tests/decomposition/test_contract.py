"""IncrementalPCA holds the contract of mergeable estimators, by every solver."""

from types import MappingProxyType

import dask.array as da
import numpy as np

from dask_exa._samples import is_dask
from dask_exa.decomposition import IncrementalPCA
from dask_exa.testing.contracts import MergeableEstimatorContract


class TestScatter(MergeableEstimatorContract):
    def make(self):
        return IncrementalPCA(3)


class TestScatterFloat32(TestScatter):
    rtol = 1e-6

    def samples(self):
        return super().samples().astype(np.float32)


class TestGram(MergeableEstimatorContract):
    rtol = 1e-8
    atol = MappingProxyType({"truncation_error_": 1e-7})

    def make(self):
        return IncrementalPCA(3, solver="gram", oversampling=3, batch_size=9)


class TestQr(TestGram):
    def make(self):
        return IncrementalPCA(3, solver="qr", oversampling=3, batch_size=9)


class TestGramFloat32(TestGram):
    rtol = 1e-5
    atol = MappingProxyType({"truncation_error_": 1e-4})

    def samples(self):
        return super().samples().astype(np.float32)


class TestWhitening(MergeableEstimatorContract):
    def make(self):
        return IncrementalPCA(3, whiten=True)


class TestShareOfTheVariance(MergeableEstimatorContract):
    def make(self):
        return IncrementalPCA(0.9)


class TestTolerance(MergeableEstimatorContract):
    def make(self):
        return IncrementalPCA(tol=0.2)


class TestColumns(TestGram):
    """Samples come as Dask arrays whose features are split."""

    def make(self):
        return IncrementalPCA(3, layout="columns", oversampling=3, batch_size=9)

    def present(self, X):
        if is_dask(X):
            return X.rechunk({1: 2}) if X.ndim == 2 else X
        return da.from_array(X, chunks=(30, 2) if X.ndim == 2 else -1)

    def bad_calls(self, X):
        calls = super().bad_calls(X)
        # refused by every other layout: see test_bad_input.py
        del calls["no samples"], calls["no samples in any chunk"]
        return calls


class TestColumnsByQr(TestColumns):
    def make(self):
        return IncrementalPCA(3, layout="both", solver="qr", oversampling=3, batch_size=9)

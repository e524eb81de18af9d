"""While samples are few, a mixture holds the contract of mergeable estimators exactly."""

import numpy as np

from dask_exa.cluster import GaussianMixture
from dask_exa.testing.contracts import MergeableEstimatorContract


class TestFull(MergeableEstimatorContract):
    """What waits to be learnt is sorted, so that not even the rounding errors differ."""

    form = "full"

    def make(self):
        return GaussianMixture(2, covariance_type=self.form, reg_covar=1e-3, random_state=0)


class TestDiagFloat32(TestFull):
    form = "diag"

    def samples(self):
        return super().samples().astype(np.float32)

"""The scalers hold the contract of mergeable estimators."""

import pickle

import numpy as np
import pytest

from dask_exa.preprocessing import (
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from dask_exa.testing.contracts import MergeableEstimatorContract


class TestStandardScaler(MergeableEstimatorContract):
    def make(self):
        return StandardScaler()


class TestStandardScalerFloat32(TestStandardScaler):
    def samples(self):
        return super().samples().astype(np.float32)


class TestMinMaxScaler(MergeableEstimatorContract):
    rtol = 0.0

    def make(self):
        return MinMaxScaler((-1, 2), clip=True)


class TestMinMaxScalerFloat32(TestMinMaxScaler):
    def samples(self):
        return super().samples().astype(np.float32)


class TestRobustScaler(MergeableEstimatorContract):
    """Exact, as the sketch keeps all samples."""

    def make(self):
        return RobustScaler(quantile_range=(10.0, 80.0), capacity=256)

    def test_state_does_not_grow_with_the_number_of_samples(self):
        X = self.samples()
        sizes = [len(pickle.dumps(self.fitted(np.tile(X, (n, 1))))) for n in (40, 80)]
        assert max(sizes) <= 8 * 256 * (X.shape[1] + 1) + 3000


class TestQuantileTransformer(TestRobustScaler):
    def make(self):
        return QuantileTransformer(n_quantiles=30, output_distribution="normal", capacity=256)


@pytest.mark.parametrize("cls", [RobustScaler, QuantileTransformer])
def test_quantiles_resume_to_the_last_bit_after_thinning(cls, tmp_path):
    X = np.random.default_rng(0).standard_normal((900, 3))
    stream = cls(capacity=64)
    for i, batch in enumerate(np.array_split(X, 9)):
        if i == 5:
            stream.save(tmp_path / "checkpoint")
            resumed = cls.load(tmp_path / "checkpoint")
        if i >= 5:
            resumed.partial_fit(batch)
        stream.partial_fit(batch)
    assert np.array_equal(resumed.transform(X), stream.transform(X))
    assert resumed.rank_error_ == stream.rank_error_ > 0

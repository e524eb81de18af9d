"""Scalers and representations of fields, learnt in one pass and merged like every estimator."""

from dask_exa.preprocessing.field_stacker import FieldStacker
from dask_exa.preprocessing.min_max_scaler import MinMaxScaler
from dask_exa.preprocessing.patch_extractor import PatchExtractor
from dask_exa.preprocessing.quantile_transformer import QuantileTransformer
from dask_exa.preprocessing.robust_scaler import RobustScaler
from dask_exa.preprocessing.spectral_features import SpectralFeatures
from dask_exa.preprocessing.standard_scaler import StandardScaler

__all__ = [
    "FieldStacker",
    "MinMaxScaler",
    "PatchExtractor",
    "QuantileTransformer",
    "RobustScaler",
    "SpectralFeatures",
    "StandardScaler",
]

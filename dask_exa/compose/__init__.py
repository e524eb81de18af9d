"""Estimators made of estimators."""

from dask_exa.compose.ensemble import Ensemble
from dask_exa.compose.federated_average import FederatedAverage
from dask_exa.compose.per_block import PerBlock
from dask_exa.compose.streaming_column_transformer import StreamingColumnTransformer
from dask_exa.compose.streaming_pipeline import StreamingPipeline, make_streaming_pipeline

__all__ = [
    "Ensemble",
    "FederatedAverage",
    "PerBlock",
    "StreamingColumnTransformer",
    "StreamingPipeline",
    "make_streaming_pipeline",
]

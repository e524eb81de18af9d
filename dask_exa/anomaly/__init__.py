"""Anomaly detectors whose fitted state merges."""

from dask_exa.anomaly.field_detector import FieldDetector
from dask_exa.anomaly.field_monitor import FieldMonitor
from dask_exa.anomaly.half_space_trees import HalfSpaceTrees
from dask_exa.anomaly.isolation_forest import IsolationForest
from dask_exa.anomaly.online_isolation_forest import OnlineIsolationForest
from dask_exa.anomaly.streaming_threshold import StreamingThreshold
from dask_exa.anomaly.subspace_detector import SubspaceDetector

__all__ = [
    "FieldDetector",
    "FieldMonitor",
    "HalfSpaceTrees",
    "IsolationForest",
    "OnlineIsolationForest",
    "StreamingThreshold",
    "SubspaceDetector",
]

"""Anomaly detectors whose fitted state merges."""

from dask_exa.anomaly.isolation_forest import IsolationForest

__all__ = ["IsolationForest"]

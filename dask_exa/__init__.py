"""Estimators whose fitted state can be merged, for data too big to store."""

__version__ = "0.1.0"

"""Estimators made of estimators."""

from dask_exa.compose.per_block import PerBlock

__all__ = ["PerBlock"]

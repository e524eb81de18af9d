"""Scalers and representations of fields, learnt in one pass and merged like every estimator."""

__all__: list[str] = []

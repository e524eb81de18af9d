"""Clusterings whose fitted state merges."""

__all__: list[str] = []

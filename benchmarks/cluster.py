"""Clusterings, scalers and pipelines against their peers and goals.

Run with: python benchmarks/cluster.py [TABLE ...]; --help lists the tables.
Peers: scikit-learn and dask-ml; faiss and DataSketches too where they are installed. Real data:
../shared/data.
"""

from __future__ import annotations

import _birch
import _fields
import _gaussian_mixture
import _kmeans
import _minibatch_kmeans
import _pipeline
import _sketch
from _table import run_tables

MODULES = (
    *(_minibatch_kmeans, _kmeans, _gaussian_mixture, _birch),
    *(_sketch, _fields, _pipeline),
)
TABLES = {name: table for module in MODULES for name, table in module.TABLES.items()}
REAL = {name for module in MODULES for name in getattr(module, "ON_REAL_DATA", ())}

if __name__ == "__main__":
    run_tables(__doc__, TABLES, REAL)

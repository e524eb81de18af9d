"""Compression of the codes' data: ratios at equal error, and speeds.

Run with: python benchmarks/compression.py [TABLE ...]; --help lists the tables.
Peers: SZ3, zfp, BitRound with Zstandard and Pcodec, scikit-learn's IncrementalPCA, tensorly's
Tucker. Real data: ../shared/data.
"""

from __future__ import annotations

import _compression_ratios
from _table import run_tables

TOPICS = (_compression_ratios,)
TABLES = {name: table for topic in TOPICS for name, table in topic.TABLES.items()}
ON_REAL_DATA = {name for topic in TOPICS for name in topic.ON_REAL_DATA}

if __name__ == "__main__":
    run_tables(__doc__, TABLES, ON_REAL_DATA)

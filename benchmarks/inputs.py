"""Representations of the codes' data against their peers and goals.

Run with: python benchmarks/inputs.py [TABLE ...]; --help lists the tables.
Peers: yt and AOFlagger, where they are installed. Real data: ../shared/data.
"""

from __future__ import annotations

import _images
import _octree
import _velocity_space
import _visibilities
from _table import run_tables

TOPICS = (_octree, _visibilities, _images, _velocity_space)
TABLES = {name: table for topic in TOPICS for name, table in topic.TABLES.items()}
ON_REAL_DATA = {name for topic in TOPICS for name in getattr(topic, "ON_REAL_DATA", ())}

if __name__ == "__main__":
    run_tables(__doc__, TABLES, ON_REAL_DATA)

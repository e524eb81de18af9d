"""The package as a thing that is installed and imported."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dask_exa

ROOT = Path(__file__).resolve().parents[1]
BASE = "dask.array, sklearn.base"  # the last one ends the base in the log
IMPORT_SECONDS = 0.3
HEAVY = {"matplotlib", "numba", "torch", "bokeh", "zarr", "h5py", "distributed", "rich", "click"}


@pytest.fixture(scope="module")
def import_logs():
    """Three logs, {module: cumulative seconds}, of what `import dask_exa` adds to its base."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {BASE}; import dask_exa"]
    logs = []
    for _ in range(3):
        text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
        rows = re.findall(r"^import time: +\d+ \| +(\d+) \| +(\S+)$", text, re.MULTILINE)
        end_of_base = [name for _, name in rows].index(BASE.split()[-1])
        logs.append(
            {name: int(microseconds) / 1e6 for microseconds, name in rows[end_of_base + 1 :]}
        )
    return logs


def test_version_is_that_of_the_metadata():
    installed = importlib.metadata.version("dask-exa")
    assert dask_exa.__version__ == installed, "run `make install` after a change of version"


def test_import_loads_nothing_heavy(import_logs):
    assert not {name.partition(".")[0] for name in import_logs[0]} & HEAVY


def test_import_adds_little_time(import_logs):
    assert min(log["dask_exa"] for log in import_logs) <= IMPORT_SECONDS


PAGES = [
    "README.md",
    "docs/adaptive-meshes.md",
    "docs/anomaly-detection.md",
    "docs/clustering-and-pipelines.md",
    "docs/compression.md",
    "docs/crystals.md",
    "docs/data-of-codes.md",
    "docs/interference.md",
    "docs/in-situ.md",
    "docs/in-situ-launching.md",
    "docs/in-situ-live-page.md",
    "docs/interoperability.md",
    "docs/plasma-in-phase-space.md",
    "docs/visibilities.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {})


def lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + project["optional-dependencies"]["dev"]
    return dict(re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", text).groups() for text in texts)


def pins(path):
    lines = [line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines()]
    return {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, _, version in (line.partition("==") for line in lines if line)
    }


def test_lowest_versions_are_the_declared_ones():
    lowest = pins("ci/lowest.txt")
    for name, bound in lower_bounds().items():
        assert lowest[name] == bound, f"{name}: pyproject.toml and ci/lowest.txt differ"


@pytest.mark.parametrize("path", ["ci/constraints.txt", "ci/lowest.txt"])
def test_pins_are_published_versions(path):
    assert all(
        re.fullmatch(r"[\d.]+(\.?(post|rc)\d+)?", version) for version in pins(path).values()
    )


def test_constraints_cover_what_is_declared():
    assert set(lower_bounds()) <= set(pins("ci/constraints.txt"))

"""Imports run downwards only, and the house rules that can be read off the files."""

import ast
import configparser
import graphlib
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "dask_exa"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMPORTED_AS = {"scikit-learn": "sklearn", "pyyaml": "yaml"}

# docs/design.md draws these floors. A module imports from its own floor or from one below.
FLOORS = [
    set(),  # _array and the other private modules beside dask_exa/__init__.py
    {"kernels"},
    {"summaries"},
    {"reduction"},
    {"base", "_checkpoint"},
    {"decomposition", "anomaly", "cluster", "preprocessing", "compose", "inputs", "datasets"},
    {"insitu", "compression", "inference", "training", "ensemble"},
    {"surrogate", "inverse"},
    {"report", "apps", "cli", "testing"},
    {""},  # dask_exa/__init__.py, which only publishes names
]
FLOOR = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}

# What an extra brings, as it is imported: inside a function, and in one module only.
EXTRAS = {
    "gpu": {"cupy", "cupyx"},
    "mpi": {"mpi4py", "dask_mpi"},
    "hpc": {"dask_jobqueue"},
    "radio": {"daskms", "casacore", "ducc0"},
    "torch": {"torch"},
    "sbi": {"sbi"},
    "ml": {"dask_ml"},
    "deisa": {"deisa"},
    "dashboard": {"bokeh"},
    "compression": {"pcodec", "pysz", "zfpy"},
}
PURE = {"kernels", "summaries"}
MAX_LINES = 400


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


class ImportVisitor(ast.NodeVisitor):
    """Collect (imported name, is it imported when the module is) of one module."""

    def __init__(self, package, known):
        self.package, self.known = package, known
        self.found, self.depth = set(), 0

    def add(self, name):
        name = self.package + name if name.startswith(".") else name
        self.found.add((name, self.depth == 0))

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node):
        above = self.package.split(".")[: len(self.package.split(".")) - node.level + 1]
        start = ".".join(above) if node.level else ""
        origin = ".".join(part for part in (start, node.module) if part)
        for alias in node.names:
            inner = f"{origin}.{alias.name}"
            if (origin, alias.name) != (PACKAGE, "__version__"):  # a constant, not a dependency
                self.add(inner if inner in self.known else origin)

    def visit_Call(self, node):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        if called == "import_module" and node.args and isinstance(node.args[0], ast.Constant):
            self.add(node.args[0].value)
        self.generic_visit(node)

    def deferred(self, nodes):
        self.depth += 1
        for node in nodes:
            self.visit(node)
        self.depth -= 1

    def visit_FunctionDef(self, node):
        self.deferred(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 (a name that ast looks for)

    def visit_If(self, node):
        test = ast.unparse(node.test)
        if test in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            self.deferred(node.body)
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)


def read_imports(source, name, is_package, known):
    visitor = ImportVisitor(name if is_package else name.rpartition(".")[0], known)
    visitor.visit(ast.parse(source))
    return visitor.found


@cache
def imports_of(name):
    path = MODULES[name]
    return read_imports(path.read_text(), name, path.stem == "__init__", MODULES)


def inside(name):
    """Modules of this package that a module imports, wherever in its text it does so."""
    return {found for found, _ in imports_of(name) if found.partition(".")[0] == PACKAGE}


def folder_of(name):
    return [*name.split("."), ""][1]


def floor_of(name):
    folder = folder_of(name)
    return FLOOR.get(folder, 0) if folder.startswith("_") else FLOOR[folder]


def upward_imports(imports):
    """Return the pairs (importer, imported) that go up a floor."""
    return [
        (name, other)
        for name, others in imports.items()
        for other in sorted(others)
        if floor_of(other) > floor_of(name)
    ]


def top_level(name):
    return {found.partition(".")[0] for found, _ in imports_of(name)}


@pytest.mark.parametrize("name", MODULES)
def test_module_has_a_floor(name):
    known = folder_of(name).startswith("_") or folder_of(name) in FLOOR
    assert known, f"put {name} on a floor, here and in docs/design.md"


def test_imports_run_downwards():
    assert not upward_imports({name: inside(name) for name in MODULES})


def test_imports_have_no_cycle():
    graph = {name: inside(name) - {name} for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("name", [name for name in MODULES if folder_of(name) in PURE])
def test_algorithms_know_neither_dask_nor_sklearn(name):
    assert not top_level(name) & {"dask", "distributed", "sklearn", "xarray"}


@pytest.mark.parametrize("package", sorted(set().union(*EXTRAS.values())))
def test_extra_is_imported_lazily_and_once(package):
    users = {name for name in MODULES if package in top_level(name)}
    eager = {
        name
        for name in users
        if any(now and found.partition(".")[0] == package for found, now in imports_of(name))
    }
    assert not eager, f"import {package} inside the function that needs it"
    if package in EXTRAS["gpu"]:  # every kernel has a twin that needs it
        users -= {name for name in users if folder_of(name) == "kernels"}
    assert len(users) <= 1, f"{package} is imported in {sorted(users)}; one module is enough"


def distribution(requirement):
    return re.match(r"[\w-]+", requirement).group()


@pytest.mark.parametrize("name", MODULES)
def test_imports_are_declared(name):
    requirements = list(PROJECT["dependencies"])
    if name.startswith(f"{PACKAGE}.testing"):  # for people who write tests
        requirements += PROJECT["optional-dependencies"]["dev"]
    names = {distribution(requirement) for requirement in requirements}
    declared = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}
    undeclared = top_level(name) - declared - set().union(*EXTRAS.values())
    undeclared -= {PACKAGE, *sys.stdlib_module_names}
    assert not undeclared, "add what they come from to the dependencies in pyproject.toml"


def test_every_extra_is_known():
    extras = PROJECT["optional-dependencies"]
    public = set(extras) - {"all", "dev", "docs"}
    assert public == set(EXTRAS)
    (everything,) = extras["all"]
    assert set(re.search(r"\[(.*)\]", everything).group(1).split(",")) == public


PYTHON_FILES = [
    path for folder in (PACKAGE, "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
]


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_reads_on_a_few_screens(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{lines} lines; split it by the question each part answers"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_named_for_what_it_holds(path):
    names = {part.strip("_") for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_marks_are_described():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    marks = settings["tool:pytest"]["markers"].strip().splitlines()
    assert {"slow", "distributed", "gpu", "mpi", "slurm", "data"} == {
        mark.partition(":")[0] for mark in marks
    }


# The rules above must be able to fail.
SOURCE = """
import dask.array as da
from dask_exa.base import Estimator
from dask_exa import __version__, decomposition
from . import sibling
from ..report import page
if TYPE_CHECKING:
    import torch
def late():
    import cupy
    import_module("sbi")
    import_module(".lazy", __package__)
"""


def test_reader_sees_every_kind_of_import():
    known = {"dask_exa.decomposition", "dask_exa.summaries.sibling"}
    found = read_imports(SOURCE, "dask_exa.summaries.moments", False, known)
    assert found == {
        ("dask.array", True),
        ("dask_exa.base", True),
        ("dask_exa.decomposition", True),
        ("dask_exa.summaries.sibling", True),
        ("dask_exa.report", True),
        ("torch", False),
        ("cupy", False),
        ("sbi", False),
        ("dask_exa.summaries.lazy", False),
    }


def test_upward_import_is_found():
    imports = {"dask_exa.summaries.svd": {"dask_exa.base"}, "dask_exa.base": {"dask_exa.reduction"}}
    assert upward_imports(imports) == [("dask_exa.summaries.svd", "dask_exa.base")]

"""The CUDA source of every GPU twin compiles where there is a compiler, GPU or not."""

import importlib
import pkgutil
import shutil
import subprocess

import pytest

from dask_exa import kernels

TWINS = [
    module.name
    for module in pkgutil.iter_modules(kernels.__path__)
    if module.name.endswith("_cupy")
]


def test_every_family_with_a_gpu_twin_is_found():
    assert {"_center_cupy", "_paths_cupy"} <= set(TWINS)


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_source_compiles(name, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc on the PATH (the CUDA toolkit)")
    twin = importlib.import_module(f"dask_exa.kernels.{name}")
    uses = ", ".join(f"(void*){instance}" for instance in twin.INSTANCES.values())
    source = tmp_path / f"{name}.cu"
    source.write_text(f"{twin.SOURCE}\nvoid* instances[] = {{{uses}}};\n")
    command = [nvcc, "--std=c++17", "-Werror", "all-warnings", "-ptx", source.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = source.with_suffix(".ptx").read_text()
    assert text.count(".entry") == len(twin.INSTANCES)

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from dask_exa.apps.compress import compress
from dask_exa.apps.inspect_store import inspect
from dask_exa.cli import main
from dask_exa.compression import Bound
from dask_exa.compression.inspection import inspect_store

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An HDF5 file of ten steps, and the store of it."""
    folder = tmp_path_factory.mktemp("run")
    y, x = np.meshgrid(np.arange(24.0), np.arange(32.0), indexing="ij")
    steps = [np.sin(0.3 * x + 0.2 * i) * np.cos(0.2 * y) for i in range(10)]
    with h5py.File(folder / "run.h5", "w") as file:
        file["u"] = np.array(steps, "f4")
    result = command("compress", folder / "run.h5", folder / "run.zarr", "--rel", 1e-3)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_command_says_what_was_achieved(run):
    folder, output = run
    (summary,) = inspect_store(folder / "run.zarr")
    assert f"u: {summary.total_ratio:.3g} times smaller" in output
    assert summary.total_ratio > 8
    assert output.splitlines()[-1] == str(folder / "run.zarr")


def test_fresh_interpreter_reads_the_store(run, tmp_path):
    """As it is where the package is installed: only the entry point leads to the codec."""
    folder, _ = run
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = project["entry-points"]["zarr.codecs"]
    installed = tmp_path / "dask_exa-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: dask-exa\nVersion: 0.1.0\n")
    lines = [f"{name} = {place}" for name, place in entries.items()]
    (installed / "entry_points.txt").write_text("\n".join(["[zarr.codecs]", *lines]))
    script = (
        "import sys, numpy as np, xarray\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"np.save({str(tmp_path / 'u.npy')!r}, xarray.open_zarr({str(folder / 'run.zarr')!r}).u)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
    with h5py.File(folder / "run.h5") as file:
        expected = file["u"][:]
    error = np.abs(np.load(tmp_path / "u.npy") - expected)
    assert 0 < error.max() <= 1e-3 * np.ptp(expected)


def test_page_compares_with_the_source(run):
    folder, _ = run
    result = command("inspect", folder / "run.zarr", "--source", folder / "run.h5")
    assert result.exit_code == 0, result.output
    page = (folder / "run.html").read_text()
    assert str(folder / "run.html") in result.output
    text = re.sub(r'src="data:[^"]*"', "", page)
    for title in ("Ratio and error of every step", "Original, decoded field and difference of u"):
        assert title in text
    before, after = map(float, re.search(r"is (\S+) before and (\S+) after", text).groups())
    # of the planes along x and y: k² = 0.3² + 0.2², up to the edges of the box
    assert before == pytest.approx(after, rel=1e-2)
    assert before > 0.02
    assert "coded by" in text
    assert "enstrophy" in text


def test_page_without_a_source_has_the_decoded_field(run, tmp_path, monkeypatch):
    folder, _ = run
    monkeypatch.chdir(tmp_path)
    result = command("inspect", folder / "run.zarr", "--out", "page.html")
    assert result.output.splitlines()[-1] == "page.html"
    text = (tmp_path / "page.html").read_text()
    assert "not given (--source)" in text
    assert "Power spectrum of u" in text


def test_page_of_visibilities_measures_the_error_in_noise(tmp_path):
    out = tmp_path / "vis.zarr"
    compress("interferometer", out, Bound("abs", 0.05), n_steps=2, progress=False)
    inspect(out)
    text = (tmp_path / "vis.html").read_text()
    share = float(re.search(r"the error is (\S+) of it", text).group(1))
    larger = float(re.search(r"makes the noise (\S+) % larger", text).group(1))
    assert larger == pytest.approx(100 * (np.hypot(1, share) - 1), rel=0.02)
    assert 0 < share < 1


def test_source_of_another_run_is_told(run, tmp_path):
    folder, _ = run
    with h5py.File(tmp_path / "short.h5", "w") as file:
        file["u"] = np.zeros((3, 24, 32), "f4")
    result = command("inspect", folder / "run.zarr", "--source", tmp_path / "short.h5")
    assert result.exit_code == 1
    assert "pass the source that it was made from" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "0 bounds are given"),
        (("--rel", 1e-3, "--abs", 1), "2 bounds are given"),
        (("--rel", -1), "must be a number of at least 0"),
    ],
)
def test_bound_is_asked_for(run, tmp_path, options, message):
    folder, _ = run
    result = command("compress", folder / "run.h5", tmp_path / "a.zarr", *options)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "a.zarr").exists()


def test_other_options_and_errors(run, tmp_path):
    folder, _ = run
    out = tmp_path / "a.zarr"
    endless = command("compress", "tokam2d", out, "--abs", 1)
    assert "--steps" in endless.output
    first = command("compress", folder / "run.h5", out, "--psnr", 70, "--steps", 4,
                    "--steps-per-chunk", 3, "--variable", "u")  # fmt: skip
    assert first.exit_code == 0, first.output
    again = command("compress", folder / "run.h5", out, "--psnr", 70)
    assert again.exit_code == 1
    assert "--resume" in again.output
    more = command("compress", folder / "run.h5", out, "--psnr", 70, "--resume")
    assert more.exit_code == 0, more.output
    assert xr.open_zarr(out).sizes["time"] == 10
    no_store = command("inspect", tmp_path)
    assert "not a compressed store" in no_store.output


def test_real_turbulence_within_the_bound(shared_data, tmp_path):
    source = shared_data / "tokam2d/sol/simulation_fields.h5"
    result = command("compress", source, tmp_path / "sol.zarr", "--rel", 1e-3, "--steps", 48)
    assert result.exit_code == 0, result.output
    stored = xr.open_zarr(tmp_path / "sol.zarr")
    with h5py.File(source) as file:
        for name in ("density", "potential"):
            blocks = file[name][:48].reshape(3, -1)
            error = np.abs(stored[name].values.reshape(3, -1) - blocks).max(axis=1)
            assert (error <= 1e-3 * np.ptp(blocks, axis=1)).all()
    ratios = {one.name: one.total_ratio for one in inspect_store(tmp_path / "sol.zarr")}
    assert ratios["density"] > 7  # SZ3 alone: 5
    assert ratios["potential"] > 25


def test_adaptive_mesh_is_compared_where_a_step_has_values(tmp_path):
    out = tmp_path / "blast.zarr"
    compress("amr-blast", out, Bound("rel", 1e-3), n_steps=4, progress=False)
    stored = xr.open_zarr(out)
    assert stored.n_oct.values.min() < stored.sizes["oct"]
    inspect(out, source="amr-blast")
    text = (tmp_path / "blast.html").read_text()
    assert "difference of rho" in text
    assert "Power spectra" not in text


def test_ctrl_c_leaves_a_store_and_exits_with_130(run, tmp_path, monkeypatch):
    folder, _ = run

    def update(line, n_steps, details=""):
        if n_steps == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("dask_exa.apps.compress.StepProgress.update", update)
    result = command("compress", folder / "run.h5", tmp_path / "a.zarr", "--abs", 0)
    assert result.exit_code == 130
    with h5py.File(folder / "run.h5") as file:
        np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a.zarr").u, file["u"][:3])

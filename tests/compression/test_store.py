import numpy as np
import pytest
import xarray as xr

from dask_exa.compression import Bound, FieldCompressor
from dask_exa.compression._folder import published
from dask_exa.compression.inspection import inspect_store
from dask_exa.compression.store import compress, export, is_store, load_bases, open_store
from dask_exa.inputs import open_stream
from tests.compression.steps import BOUND, as_stream, check_same, make_step


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tokam2d", {"shape": (32, 32), "rk4_steps_per_frame": 2}),
        ("interferometer", {}),
        ("crystal", {"shape": (5, 5, 5)}),
        ("vlasov", {}),
    ],
)
def test_simulations_come_back_with_all_that_is_theirs(tmp_path, name, options):
    out = tmp_path / "run.zarr"
    assert compress(open_stream(name, **options), out, BOUND, n_steps=5, steps_per_chunk=2)
    steps = [step for step, _ in zip(open_stream(name, **options), range(5), strict=False)]
    check_same(out, steps)


@pytest.mark.parametrize(
    "bound", [Bound("abs", 0.01), Bound("rel", 1e-3), Bound("l2", 1e-2), Bound("psnr", 60.0)]
)
def test_every_bound_holds_in_every_block(tmp_path, bound):
    steps = [make_step(i) for i in range(8)]
    compress(as_stream(steps), tmp_path / "a", bound, steps_per_chunk=4)
    found = xr.open_zarr(tmp_path / "a").u.values
    (summary,) = inspect_store(tmp_path / "a")
    achieved = []
    for first in (0, 4):
        block = np.stack([step.u.values for step in steps[first : first + 4]])
        error = found[first : first + 4] - block
        rms = np.sqrt(np.mean(error**2))
        achieved.append(
            {
                "abs": np.abs(error).max(),
                "rel": np.abs(error).max() / np.ptp(block),
                "l2": np.linalg.norm(error) / np.linalg.norm(block),
                "psnr": 20 * np.log10(np.ptp(block) / rms),
            }[bound.kind]
        )
    if bound.kind == "psnr":
        assert min(achieved) >= bound.value
        assert summary.worst == pytest.approx(min(achieved))
    else:
        assert max(achieved) <= bound.value
        assert summary.worst == pytest.approx(max(achieved))


def test_bound_of_zero_and_what_is_not_finite_are_exact(tmp_path):
    steps = [make_step(i) for i in range(3)]
    steps[1].u[3, 4:7] = np.nan
    steps[2].u[5] = -np.inf
    for value in (0.0, 1e-3):
        out = tmp_path / str(value)
        compress(as_stream(steps), out, Bound("abs", value))
        found = xr.open_zarr(out).u.values
        expected = np.stack([step.u.values for step in steps])
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(found[~finite], expected[~finite])
        assert np.abs(found[finite] - expected[finite]).max() <= value


def test_fields_are_split_where_they_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr("dask_exa.compression._step_arrays.CHUNK_BYTES", 2**10)
    steps = [make_step(i) for i in range(3)]
    compress(as_stream(steps), tmp_path / "a", BOUND)
    metadata = published(tmp_path / "a")["u"]
    chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    assert np.prod(chunk) * 8 <= 2**10
    assert len(list((tmp_path / "a/u").glob("c.*"))) > 3
    check_same(tmp_path / "a", steps)


def test_coordinates_that_begin_to_change_late_are_kept(tmp_path):
    def step(i):
        changes = {
            "level": ("y", np.full(12, 2 + (i > 6), "u1")),
            "label": "early" if i < 5 else "late",
            "flag": ("x", np.arange(16) > i // 4),
            "date": np.datetime64("2026-01-01T00:00:00", "ns") + np.timedelta64(i, "h"),
            "fixed": ("x", np.array(list("abcdefghijklmnop"))),
        }
        found = make_step(i, coords=changes)
        return found.assign_attrs(injected="spike" if i == 7 else "")

    steps = [step(i) for i in range(10)]
    compress(as_stream(steps), tmp_path / "a", BOUND, n_steps=6, steps_per_chunk=2)
    compress(as_stream(steps), tmp_path / "a", BOUND, resume=True)
    check_same(tmp_path / "a", steps)
    stored = xr.open_zarr(tmp_path / "a")
    assert stored.level.dims == ("time", "y")
    assert stored.fixed.dims == ("x",)
    assert stored.attrs == {"model": "waves", "injected": ""}


@pytest.mark.parametrize("n_together", [1, 3, 8])
def test_steps_that_grow_and_shrink_are_kept(tmp_path, n_together):
    rng = np.random.default_rng(0)
    steps = [
        xr.Dataset(
            {"rho": (("oct", "y"), rng.random((n, 4))), "flag": (("oct",), np.ones(n, "i4"))},
            {"time": 0.1 * i, "timestep": i, "level": ("oct", rng.integers(1, 9, n).astype("u1"))},
        )
        for i, n in enumerate([5, 5, 7, 3, 60, 60, 70, 2, 64])
    ]
    compress(as_stream(steps), tmp_path / "a", BOUND, n_steps=5, steps_per_chunk=n_together)
    compress(as_stream(steps), tmp_path / "a", BOUND, resume=True)
    stored = xr.open_zarr(tmp_path / "a").load()
    assert stored.n_oct.values.tolist() == [step.sizes["oct"] for step in steps]
    assert stored.rho.shape == (9, 70, 4)
    for i, step in enumerate(steps):
        n = step.sizes["oct"]
        assert np.abs(stored.rho[i, :n].values - step.rho.values).max() <= 1e-3
        assert np.isnan(stored.rho[i, n:]).all()
        np.testing.assert_array_equal(stored.level[i, :n], step.level)
        np.testing.assert_array_equal(stored.flag[i, :n], 1)
        assert not stored.flag[i, n:].any()
    rho = next(one for one in inspect_store(tmp_path / "a") if one.name == "rho")
    np.testing.assert_allclose(rho.mass[:, 0], [float(step.rho.sum()) for step in steps])


def test_export_needs_no_codec_of_ours(tmp_path):
    steps = [make_step(i) for i in range(5)]
    compress(as_stream(steps), tmp_path / "a", BOUND, steps_per_chunk=2)
    export(tmp_path / "a", tmp_path / "plain")
    assert all("dask_exa" not in path.read_text() for path in tmp_path.glob("plain/**/zarr.json"))
    found, expected = xr.open_zarr(tmp_path / "plain"), xr.open_zarr(tmp_path / "a")
    xr.testing.assert_identical(found.load(), expected.load())
    with pytest.raises(FileExistsError, match="exists"):
        export(tmp_path / "a", tmp_path / "plain")
    with pytest.raises(FileNotFoundError, match="not a compressed store"):
        export(tmp_path / "plain", tmp_path / "other")


def test_bases_are_learnt_kept_once_and_loaded(tmp_path):
    rng = np.random.default_rng(0)
    modes = np.linalg.qr(rng.normal(size=(64 * 48, 3)))[0].T

    def step(i):
        values = 10 * (rng.normal(size=3) @ modes).reshape(64, 48)
        return xr.Dataset({"u": (("y", "x"), values)}, {"time": float(i), "timestep": i})

    steps = [step(i) for i in range(30)]
    compressor = FieldCompressor(BOUND, transforms=("basis",), n_modes=3, n_learning_steps=6)
    compress(as_stream(steps), tmp_path / "a", BOUND, steps_per_chunk=1, compressor=compressor)
    check_same(tmp_path / "a", steps)
    (summary,) = inspect_store(tmp_path / "a")
    assert len(summary.bases) == 1
    assert list(load_bases(tmp_path / "a")) == ["u"]
    assert load_bases(tmp_path / "a")["u"].name == next(iter(summary.bases))
    assert summary.total_ratio < summary.raw / summary.coded
    with pytest.raises(ValueError, match="compressor has bound"):
        compress(as_stream(steps), tmp_path / "b", Bound("rel", 0.1), compressor=compressor)


def test_inspection_says_what_was_measured(tmp_path):
    steps = [make_step(i) for i in range(7)]
    compress(as_stream(steps), tmp_path / "a", BOUND, steps_per_chunk=3)
    found = xr.open_zarr(tmp_path / "a").u.values
    before = np.stack([step.u.values for step in steps])
    (summary,) = inspect_store(tmp_path / "a")
    axes = (1, 2)
    np.testing.assert_allclose(summary.max_error, np.abs(found - before).max(axis=axes))
    l2 = np.sqrt(((found - before) ** 2).sum(axis=axes) / (before**2).sum(axis=axes))
    np.testing.assert_allclose(summary.l2_error, l2)
    np.testing.assert_allclose(summary.mass[:, 0], before.sum(axis=axes), atol=1e-12)
    np.testing.assert_allclose(summary.mass[:, 1], found.sum(axis=axes), atol=1e-12)
    np.testing.assert_allclose(summary.energy[:, 0], (before**2).sum(axis=axes))
    np.testing.assert_allclose(summary.energy[:, 1], (found**2).sum(axis=axes))
    sizes = [path.stat().st_size for path in sorted((tmp_path / "a/u").glob("c.*"))]
    assert summary.coded == sum(sizes)
    np.testing.assert_allclose(summary.ratio[:3], 3 * 12 * 16 * 8 / sizes[0])
    assert (summary.name, summary.units, summary.bound) == ("u", "n_0", BOUND)


def test_what_cannot_be_stored_says_why(tmp_path):
    steps = [make_step(i) for i in range(3)]
    other = steps[0].assign(u=steps[0].u.astype("f4"))
    with pytest.raises(ValueError, match="has float32 values of 2 dimensions for 'u'"):
        compress(as_stream([*steps, other]), tmp_path / "a", BOUND)
    check_same(tmp_path / "a", steps)
    for changed, has in (
        (make_step(3, coords={"z": 1.0}), "has a"),
        (steps[0].drop_vars("x"), "has no"),
    ):
        with pytest.raises(ValueError, match=f"step 3 {has} coordinate"):
            compress(as_stream([*steps, changed]), tmp_path / has, BOUND)
        check_same(tmp_path / has, steps)
    moved = make_step(3).assign_coords(x=np.linspace(0, 2, 16))
    with pytest.raises(ValueError, match="one axis for all steps"):
        compress(as_stream([*steps, moved]), tmp_path / "b", BOUND)
    check_same(tmp_path / "b", steps)
    with pytest.raises(ValueError, match="no numeric variables"):
        compress(as_stream([steps[0].drop_vars("u")]), tmp_path / "c", BOUND)
    assert not (tmp_path / "c").exists()


def test_folders_that_are_there_are_left_alone(tmp_path):
    steps = [make_step(i) for i in range(3)]
    compress(as_stream(steps), tmp_path / "a", BOUND)
    with pytest.raises(FileExistsError, match="--resume"):
        compress(as_stream(steps), tmp_path / "a", BOUND)
    with pytest.raises(ValueError, match="has been written within"):
        compress(as_stream(steps), tmp_path / "a", Bound("rel", 1e-2), resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no store"):
        compress(as_stream(steps), tmp_path / "other", BOUND, resume=True)
    assert is_store(tmp_path / "a")
    assert not is_store(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        open_store(tmp_path / "other")


def test_streams_read_a_store(tmp_path):
    steps = [make_step(i) for i in range(5)]
    compress(as_stream(steps), tmp_path / "a", BOUND, steps_per_chunk=2)
    with open_stream(tmp_path / "a") as stream:
        assert len(stream) == 5
        for step, expected in zip(stream, steps, strict=True):
            assert np.abs(step.u.values - expected.u.values).max() <= 1e-3
            assert step.time == expected.time

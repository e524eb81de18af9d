import base64
import json

import numpy as np
import pytest
import zarr

from dask_exa.compression import Basis, Bound, encode_block
from dask_exa.compression import zarr_codec as module
from dask_exa.compression.zarr_codec import BlockCodec, Part, join_parts, split_parts

ABS = Bound("abs", 1e-3)


def waves(*shape, seed=0):
    grid = np.meshgrid(*(np.linspace(0, 3, size) for size in shape), indexing="ij")
    rng = np.random.default_rng(seed)
    return sum(np.sin((i + 1.5) * axis + rng.random()) for i, axis in enumerate(grid))


def coded_array(store, values, chunks, bound=ABS):
    return zarr.create_array(
        store, data=values, chunks=chunks, serializer=BlockCodec(bound), compressors=None
    )


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16", "i2", "u1", "i8"])
@pytest.mark.parametrize(
    ("shape", "chunks"), [((7,), (3,)), ((20, 33), (8, 33)), ((5, 6, 7), (2, 4, 7))]
)
def test_arrays_keep_the_bound_through_zarr(tmp_path, dtype, shape, chunks):
    values = (20 * waves(*shape)).astype(dtype)
    if values.dtype.kind == "c":
        values = values * np.exp(1j * np.arange(shape[-1])).astype(dtype)
    coded_array(tmp_path / "a", values, chunks, Bound("abs", 0.01))
    found = zarr.open_array(tmp_path / "a", mode="r")
    assert found.dtype == values.dtype
    assert found.shape == shape
    assert np.abs(found[:] - values).max() <= 0.01
    np.testing.assert_array_equal(found[1], found[:][1])
    np.testing.assert_array_equal(found[1:4:2, ...], found[:][1:4:2])
    np.testing.assert_array_equal(found.oindex[np.array([0, 3])], found[:][[0, 3]])


def test_values_that_are_not_finite_are_exact(tmp_path):
    values = waves(40, 40)
    values[3, 4], values[5, 6], values[7] = np.nan, -np.inf, np.inf
    found = coded_array(tmp_path / "a", values, (16, 16))[:]
    finite = np.isfinite(values)
    np.testing.assert_array_equal(found[~finite], values[~finite])
    assert np.abs(found[finite] - values[finite]).max() <= 1e-3


def test_only_the_chunks_asked_for_are_decoded(tmp_path, monkeypatch):
    array = coded_array(tmp_path / "a", waves(40, 30), (10, 30))
    module._decode_kept.cache_clear()
    decoded = []
    decode = module.decode_block
    monkeypatch.setattr(
        module, "decode_block", lambda data, **rest: decoded.append(1) or decode(data, **rest)
    )
    array[12:15]
    assert len(decoded) == 1
    array[16]  # kept: the next step of a chunk costs nothing
    assert len(decoded) == 1
    array[19:21]
    assert len(decoded) == 2


def test_a_part_of_a_chunk_can_be_written(tmp_path):
    values = waves(12, 12)
    array = coded_array(tmp_path / "a", values, (12, 12))
    array[3, 4:6] = 7.0
    assert np.abs(array[3, 4:6] - 7).max() <= 1e-3
    values[3, 4:6] = 7
    assert np.abs(array[:] - values).max() <= 2e-3  # a second loss, of what was decoded


@pytest.mark.parametrize("bound", [ABS, Bound("rel", 0.0), Bound("psnr", float("inf"))])
def test_metadata_are_json_and_come_back(bound):
    codec = BlockCodec(bound, (("a1", "AAAA"),))
    written = json.loads(json.dumps(codec.to_dict(), allow_nan=False))
    assert BlockCodec.from_dict(written) == codec
    with pytest.raises(ValueError, match="bound"):
        BlockCodec.from_dict({"name": "dask_exa"})


def test_chunks_that_are_cut_off_or_foreign_say_so():
    data = join_parts([Part("", 2, b"abc"), Part("b7", 1, b"")])
    assert [part.n_rows for part in split_parts(data)] == [2, 1]
    first = len(join_parts([Part("", 2, b"abc")]))
    assert len(split_parts(data[:first])) == 1
    for size in set(range(1, len(data))) - {first}:
        with pytest.raises(ValueError, match="cut off"):
            split_parts(data[:size])
    with pytest.raises(ValueError, match="something else"):
        split_parts(b"x" * 40)


def learnt_basis(shape=(6, 8, 8)):
    rng = np.random.default_rng(1)
    modes = np.linalg.qr(rng.normal(size=(64, 4)))[0].T
    coefficients = rng.normal(size=(shape[0], 4)) * [8, 4, 2, 1]
    return Basis(np.zeros(64), modes, (8, 8)), (coefficients @ modes).reshape(shape)


def put_in_basis(folder, *, inline):
    """Write an array whose one chunk is coded in a basis, as a compressed store has it."""
    basis, values = learnt_basis()
    data = encode_block(values, ABS, transforms=("patch-klt", "basis"), basis=basis)
    assert basis.name.encode() in data[:200]
    text = ((basis.name, base64.b64encode(basis.to_bytes()).decode()),) if inline else ()
    zarr.create_array(
        folder,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        serializer=BlockCodec(ABS, text),
        compressors=None,
        chunk_key_encoding={"name": "default", "separator": "/" if inline else "."},
    )
    path = folder / ("c/0/0/0" if inline else "c.0.0.0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(join_parts([Part(basis.name, len(values), data)]))
    if not inline:
        (folder / "basis").mkdir()
        (folder / "basis" / basis.name).write_bytes(basis.to_bytes())
    return values, folder / "basis" / basis.name


@pytest.mark.parametrize("inline", [True, False])
def test_basis_is_found_in_the_metadata_or_below_the_array(tmp_path, inline):
    values, _ = put_in_basis(tmp_path / "group" / "field", inline=inline)
    found = zarr.open_array(tmp_path / "group" / "field", mode="r")[:]
    assert np.abs(found - values).max() <= 1e-3


def test_basis_that_is_lost_or_another_one_says_so(tmp_path):
    _, path = put_in_basis(tmp_path / "field", inline=False)
    array = zarr.open_array(tmp_path / "field", mode="r")
    other = Basis(np.ones(64), np.eye(64)[:2], (8, 8))
    path.write_bytes(other.to_bytes())
    with pytest.raises(ValueError, match="contents of"):
        array[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match="copy the whole store"):
        array[0]


def test_chunk_of_another_shape_says_so(tmp_path):
    array = coded_array(tmp_path / "a", waves(8, 8), (8, 8))
    path = tmp_path / "a/c/0/0"
    path.write_bytes(join_parts([Part("", 8, encode_block(waves(8), ABS))]))
    with pytest.raises(ValueError, match="dimensions"):
        array[:]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="cut off"):
        array[:]

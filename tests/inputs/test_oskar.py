"""OSKAR's binary visibilities against files written here, and against OSKAR's Measurement Set."""

import contextlib
import pickle
import struct
import zipfile

import numpy as np
import pytest

from dask_exa.inputs import oskar
from dask_exa.inputs.measurement_set import open_measurement_set

N_STEPS, N_STATIONS, N_CHANNELS = 5, 4, 6
STEPS_PER_BLOCK, CHANNELS_PER_BLOCK = 2, 4
_TYPES = {"S1": 1, "<i4": 2, "<f4": 4, "<f8": 8, "<c8": 36, "<c16": 40}


def record(group, tag, values, kind, index=0, matrix=False):
    """A record with a checksum (which nobody checks)."""
    payload = np.asarray(values, dtype=kind).tobytes() + b"\0\0\0\0"
    width, code = np.dtype(kind).itemsize, _TYPES[kind] + 64 * matrix
    header = (b"T", b"B", b"G", width, 64, code, group, tag, index, len(payload))
    return struct.pack("<ccc5Biq", *header) + payload


def values_of(kind="<c8", matrix=False):
    """Visibilities (time, channel, baseline[, polarisation]) and station coordinates."""
    random = np.random.default_rng(7)
    shape = (N_STEPS, N_CHANNELS, N_STATIONS * (N_STATIONS - 1) // 2, *(4,) * matrix)
    parts = random.normal(size=(2, *shape))
    return (parts[0] + 1j * parts[1]).astype(kind), random.normal(size=(3, N_STEPS, N_STATIONS))


def pieces(kind="<c8", matrix=False, more=()):
    """The bytes of a file, record by record."""
    visibilities, stations = values_of(kind, matrix)
    yield b"OSKARBIN\0\2" + bytes(54)
    yield record(1, 1, np.frombuffer(b"2026\0", "S1"), "S1")
    for tag, values, dtype in (
        (8, [N_STEPS], "<i4"),
        (10, [N_CHANNELS], "<i4"),
        (11, [N_STATIONS], "<i4"),
        (22, [20.0, -30.0], "<f8"),
        (23, [140e6], "<f8"),
        (24, [1e5], "<f8"),
        (26, [60000.0], "<f8"),
        (27, [8.0], "<f8"),
        *more,
    ):
        yield record(11, tag, values, dtype)
    index = 0
    for step in range(0, N_STEPS, STEPS_PER_BLOCK):
        for channel in range(0, N_CHANNELS, CHANNELS_PER_BLOCK):
            steps = slice(step, min(step + STEPS_PER_BLOCK, N_STEPS))
            channels = slice(channel, min(channel + CHANNELS_PER_BLOCK, N_CHANNELS))
            block = visibilities[steps, channels]
            sizes = [step, channel, *block.shape[:3], N_STATIONS]
            yield record(12, 1, sizes, "<i4", index)
            yield record(12, 3, block, kind, index, matrix)
            for tag, axis in zip((7, 8, 9), stations, strict=True):
                yield record(12, tag, axis[steps], "<f8", index)
            index += 1


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.vis"
    path.write_bytes(b"".join(pieces()))
    return path


@pytest.mark.parametrize("kind", ["<c8", "<c16"])
@pytest.mark.parametrize("matrix", [False, True])
def test_reads_what_was_written(tmp_path, kind, matrix):
    path = tmp_path / "any.name"
    path.write_bytes(b"".join(pieces(kind, matrix)))
    visibilities, stations = values_of(kind, matrix)
    found = oskar.open_oskar(path)
    assert found.visibility.dims == ("time", "baseline", "frequency", "polarisation")[: 3 + matrix]
    assert found.visibility.dtype == np.dtype(kind)
    assert np.array_equal(found.visibility, np.swapaxes(visibilities, 1, 2))
    first, second = found.antenna1.values, found.antenna2.values
    uvw = np.moveaxis(stations[..., first] - stations[..., second], 0, 2)
    assert np.array_equal(found.uvw, uvw)
    assert np.array_equal(found.frequency, 140e6 + 1e5 * np.arange(N_CHANNELS))
    assert np.array_equal(found.time, 60000 * 86400 + 8 * (np.arange(N_STEPS) + 0.5))
    assert np.isclose(np.degrees(found.declination), -30)


def test_any_part_is_that_of_the_whole(path):
    array = oskar._read(str(path)).arrays["visibility"]
    array = pickle.loads(pickle.dumps(array))
    whole = array[...]
    for key in (
        np.s_[3],
        np.s_[1:4, 2, ::2],
        np.s_[::-1, -1:, 3:5],
        np.s_[..., 5],
        np.s_[2:, ..., 1:],
        np.s_[0, 5, 2],
    ):
        assert np.array_equal(array[key], whole[key])


def test_is_a_stream_of_dumps(path):
    visibilities, _ = values_of()
    with oskar.open_visibilities(str(path)) as stream:
        steps = list(stream)
        assert [float(step.time) % 86400 for step in steps] == [4, 12, 20, 28, 36]
        assert [int(step.timestep) for step in steps] == list(range(N_STEPS))
        for step, values in zip(steps, visibilities, strict=True):
            assert step.visibility.dims == ("baseline", "frequency")
            assert np.array_equal(step.visibility, values.T)
        assert next(stream.read(3)).identical(steps[3])
    with oskar.open_visibilities(str(path), chunks={"frequency": 2}) as stream:
        lazy = next(iter(stream))
        assert lazy.visibility.chunks == ((6,), (2, 2, 2))
        assert lazy.compute().identical(steps[0])
    assert stream.faults == ()


def test_every_truncation_gives_whole_steps_or_says_why(tmp_path):
    """Steps count when all their channels are there; no cut makes wrong numbers."""
    whole = b"".join(pieces())
    visibilities, _ = values_of()
    path = tmp_path / "cut.vis"
    counts = []
    for n_bytes in (*range(0, len(whole), 97), len(whole)):
        path.write_bytes(whole[:n_bytes])
        with contextlib.suppress(ValueError):
            stream = None
            stream = oskar.open_visibilities(str(path))
        if stream is None:
            counts.append(0)
            continue
        steps = list(stream)
        assert (n_bytes < len(whole)) == bool(stream.faults)
        counts.append(len(steps))
        for step, values in zip(steps, visibilities, strict=False):
            assert np.array_equal(step.visibility, values.T)
    assert set(counts) == {0, 2, 4, 5}
    assert counts == sorted(counts)


def test_recognises_content_not_names(path, tmp_path):
    other = tmp_path / "other.vis"
    other.write_bytes(b"OSKARXXX")
    assert oskar.recognise(str(path))
    assert not oskar.recognise(str(other))
    assert not oskar.recognise(str(tmp_path))
    assert not oskar.recognise(str(tmp_path / "nothing.vis"))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "bad.vis"
    for content, message in (
        (b"\x89HDF", "starts with"),
        (b"OSKARBIN\0\1" + bytes(54), "format version 1"),
        (b"OSKARBIN\0\2" + bytes(54), "no complete header"),
        (b"".join(list(pieces())[:4]), r"not \[11, 22"),
        (b"".join(list(pieces())[:10]), "before its first block"),
        (b"".join(list(pieces())[:11]), "no complete cross"),
        (b"".join(list(pieces())[:13]), "before its first block"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            oskar.open_oskar(path)


def test_drift_scan_has_no_phase_centre(tmp_path):
    path = tmp_path / "drift.vis"
    place = [(tag, [1.0], "<f8") for tag in (29, 30)]
    place += [(tag, np.arange(4.0), "<f8") for tag in (32, 33, 34)]
    path.write_bytes(b"".join(pieces(more=[*place, (21, [1], "<i4")])))
    assert np.isnan(oskar.open_oskar(path).right_ascension)
    with pytest.raises(ValueError, match="is a drift scan"):
        oskar.read_array(path)


def test_array_needs_its_place(path, tmp_path):
    with pytest.raises(ValueError, match=r"not \[29, 30, 32, 33, 34\]"):
        oskar.read_array(path)
    other = tmp_path / "placed.vis"
    place = [(29, [30.0], "<f8"), (30, [0.0], "<f8")]
    offsets = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1.0]])
    place += [(tag, column, "<f8") for tag, column in zip((32, 33, 34), offsets.T, strict=True)]
    other.write_bytes(b"".join(pieces(more=place)))
    found = oskar.read_array(other)
    # on the equator the pole is north; 30 degrees east of Greenwich, east leans back
    np.testing.assert_allclose(found["stations"][0], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(found["stations"][1], [np.sqrt(3) / 2, 0, 0.5], atol=1e-15)
    assert (found["longitude"], found["start"], found["n_channels"]) == (30.0, 60000.0, 6)
    assert "elements" not in found


def test_damaged_block_is_named(tmp_path):
    parts = list(pieces())
    parts[11] = record(12, 3, np.zeros(5), "<c8")
    path = tmp_path / "bad.vis"
    path.write_bytes(b"".join(parts))
    with pytest.raises(ValueError, match=r"group 12, tag 3, block 0 has 40 bytes"):
        oskar.open_oskar(path).visibility.compute()


def test_equals_the_measurement_set_to_the_last_bit(shared_data, tmp_path):
    pytest.importorskip("daskms", reason="needs dask-ms: pip install 'dask-exa[radio]'")
    with zipfile.ZipFile(shared_data / "ska" / "low16_ms.zip") as archive:
        archive.extractall(tmp_path)
    table = open_measurement_set(tmp_path / "low16.ms").load()
    binary = oskar.open_oskar(shared_data / "ska" / "low16.vis").load()
    assert binary.visibility.shape == (20, 120, 16)
    assert np.array_equal(binary.visibility, table.visibility)
    for name in ("antenna1", "antenna2", "frequency", "time", "right_ascension", "declination"):
        assert np.array_equal(binary[name], table[name])
    np.testing.assert_allclose(binary.uvw, table.uvw, atol=2e-4)  # float32 in the binary, metres
    assert not table.flag.any()

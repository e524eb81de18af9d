"""Measurement Sets written here with casacore: rows in any order, missing, flagged, repeated."""

import builtins
import pickle

import numpy as np
import pytest

from dask_exa.inputs import measurement_set

TIMES, FREQUENCY = 5e9 + 8.0 * np.arange(4), 140e6 + 1e5 * np.arange(3)
N_ANTENNAS = 3
PAIRS = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
MISSING = (2, (0, 2))
BASELINES = [(p, q) for p, q in PAIRS if p != q]


def rows_of(n_correlations):
    """Rows in another order than that of time, without one of them."""
    random = np.random.default_rng(1)
    rows = []
    for time in range(len(TIMES)):
        for pair in PAIRS:
            parts = random.normal(size=(2, len(FREQUENCY), n_correlations))
            row = {
                "pair": pair,
                "time": time,
                "DATA": (parts[0] + 1j * parts[1]).astype(np.complex64),
                "UVW": random.normal(size=3),
                "FLAG": random.random(parts.shape[1:]) < 0.2,
                "WEIGHT": random.random(n_correlations).astype(np.float32),
                "FLAG_ROW": (time, pair) == (3, (1, 2)),
            }
            if (time, pair) != MISSING:
                rows.append(row)
    return [rows[i] for i in random.permutation(len(rows))]


def write(path, rows, n_correlations, *, fields=1, spectrum=False):
    """Write a Measurement Set; the rows once for every field."""
    tables = pytest.importorskip("casacore.tables", reason="pip install 'dask-exa[radio]'")
    pytest.importorskip("daskms", reason="pip install 'dask-exa[radio]'")
    columns = [tables.makearrcoldesc("DATA", 0j, ndim=2, valuetype="complex")]
    if spectrum:
        columns.append(tables.makearrcoldesc("WEIGHT_SPECTRUM", 0.0, ndim=2, valuetype="float"))
    with tables.default_ms(str(path), tables.maketabdesc(columns)) as main:
        main.addrows(fields * len(rows))
        for number in range(fields * len(rows)):
            row = rows[number % len(rows)]
            main.putcell("TIME", number, TIMES[row["time"]])
            main.putcell("FIELD_ID", number, number // len(rows))
            for name, antenna in zip(("ANTENNA1", "ANTENNA2"), row["pair"], strict=True):
                main.putcell(name, number, antenna)
            for name in ("DATA", "UVW", "FLAG", "WEIGHT", "FLAG_ROW"):
                main.putcell(name, number, row[name])
            if spectrum:
                main.putcell("WEIGHT_SPECTRUM", number, np.abs(row["DATA"]).astype(np.float32))
    subtables = {
        "ANTENNA": [{"NAME": str(i)} for i in range(N_ANTENNAS)],
        "DATA_DESCRIPTION": [{"SPECTRAL_WINDOW_ID": 1}],
        # the first one has another number of channels
        "SPECTRAL_WINDOW": [{"CHAN_FREQ": np.array([1.0])}, {"CHAN_FREQ": FREQUENCY}],
        "FIELD": [{"PHASE_DIR": np.array([[0.1 * (1 + i), -0.5]])} for i in range(fields)],
    }
    for name, values in subtables.items():
        with tables.table(f"{path}::{name}", readonly=False, ack=False) as table:
            table.addrows(len(values))
            for number, cells in enumerate(values):
                for column, value in cells.items():
                    table.putcell(column, number, value)
    return path


def expected(rows, name, n_correlations, fill):
    """The column as an array (time, baseline, frequency, polarisation)."""
    shape = (len(TIMES), len(BASELINES), len(FREQUENCY), n_correlations)
    values = np.full(shape, fill, np.asarray(rows[0][name]).dtype)
    for row in rows:
        if row["pair"] in BASELINES:
            value = row[name] | row["FLAG_ROW"] if name == "FLAG" else row[name]
            values[row["time"], BASELINES.index(row["pair"])] = value
    return values[..., 0] if n_correlations == 1 else values


@pytest.mark.parametrize("n_correlations", [1, 4])
def test_rows_become_times_and_baselines(tmp_path, n_correlations):
    rows = rows_of(n_correlations)
    path = write(tmp_path / "run.ms", rows, n_correlations)
    assert measurement_set.recognise(str(path))
    found = measurement_set.open_measurement_set(path)
    names = ("time", "baseline", "frequency", "polarisation")
    assert found.visibility.dims == names[: 3 + (n_correlations > 1)]
    found = found.load()
    assert np.array_equal(found.time, TIMES)
    assert np.array_equal(found.frequency, FREQUENCY)
    assert list(zip(found.antenna1.values, found.antenna2.values, strict=True)) == BASELINES
    assert (float(found.right_ascension), float(found.declination)) == (0.1, -0.5)
    data = expected(rows, "DATA", n_correlations, np.nan)
    assert np.array_equal(found.visibility, data, equal_nan=True)
    assert np.array_equal(found.flag, expected(rows, "FLAG", n_correlations, True))
    assert np.array_equal(found.weight, expected(rows, "WEIGHT", n_correlations, 0))
    assert found.weight.dtype == np.float32
    gap = {"time": MISSING[0], "baseline": BASELINES.index(MISSING[1])}
    assert found.flag[gap].all()
    assert not found.uvw[gap].any()
    by_place = {(row["time"], row["pair"]): row["UVW"] for row in rows}
    assert np.array_equal(found.uvw[3, 2], by_place[3, (1, 2)])


def test_is_a_stream_of_dumps(tmp_path):
    path = str(write(tmp_path / "run.ms", rows_of(4), 4))
    whole = measurement_set.open_measurement_set(path).load()
    with measurement_set.open_visibilities(path) as stream:
        assert stream.variables == ("visibility", "flag", "weight")
        for i, step in enumerate(stream):
            for name in (*stream.variables, "uvw"):
                assert np.array_equal(step[name], whole[name][i], equal_nan=True)
        assert i == 3
    with measurement_set.open_visibilities(path, chunks=-1, variables=["visibility"]) as stream:
        (chunk,) = {step.visibility.chunks for step in stream}
    assert chunk == ((3,), (3,), (4,))


def test_autocorrelations_are_kept_when_asked_for(tmp_path):
    rows = rows_of(1)
    path = write(tmp_path / "run.ms", rows, 1)
    found = measurement_set.open_measurement_set(path, autocorrelations=True)
    assert list(zip(found.antenna1.values, found.antenna2.values, strict=True)) == PAIRS
    only = write(tmp_path / "auto.ms", [row for row in rows if row["pair"] == (1, 1)], 1)
    with pytest.raises(ValueError, match=r"no rows of two antennas among 4.*autocorrelations=True"):
        measurement_set.open_measurement_set(only)


def test_weights_of_channels_come_before_weights_of_rows(tmp_path):
    path = write(tmp_path / "run.ms", rows_of(1), 1, spectrum=True)
    found = measurement_set.open_measurement_set(path).load()
    there = np.isfinite(found.visibility)
    assert np.array_equal(found.weight.values[there], np.abs(found.visibility.values[there]))


def test_fields_have_to_be_chosen(tmp_path):
    path = write(tmp_path / "run.ms", rows_of(1), 1, fields=2)
    with pytest.raises(ValueError, match=r"field 0, data_description 0: 23 rows; field 1"):
        measurement_set.open_measurement_set(path)
    found = measurement_set.open_measurement_set(path, field=1)
    assert float(found.right_ascension) == 0.2
    with pytest.raises(ValueError, match="has 0 sets of rows with field=2"):
        measurement_set.open_measurement_set(path, field=2)


def test_bad_tables_are_named(tmp_path):
    rows = rows_of(1)
    path = write(tmp_path / "run.ms", rows, 1)
    with pytest.raises(ValueError, match=r"column='CORRECTED_DATA' is not in .*it has DATA, FLAG"):
        measurement_set.open_measurement_set(path, column="CORRECTED_DATA")
    twice = write(tmp_path / "twice.ms", [*rows, rows[5]], 1)
    with pytest.raises(ValueError, match="several rows of one baseline"):
        measurement_set.open_measurement_set(twice)
    empty = write(tmp_path / "empty.ms", [], 1)
    with pytest.raises(ValueError, match="no rows"):
        measurement_set.open_measurement_set(empty)


@pytest.mark.parametrize("damaged", ["table.dat", "SPECTRAL_WINDOW/table.dat", "table.f0"])
def test_half_written_tables_are_named(tmp_path, damaged):
    path = write(tmp_path / "run.ms", rows_of(1), 1)
    with open(path / damaged, "r+b") as file:
        file.truncate(file.seek(0, 2) // 3)
    with pytest.raises(OSError, match=r"run.ms' is a Measurement Set that cannot be read"):
        measurement_set.open_measurement_set(path).compute(scheduler="synchronous")


def test_arrays_can_be_sent_to_other_processes(tmp_path):
    path = str(write(tmp_path / "run.ms", rows_of(4), 4))
    array = measurement_set._read(path).arrays["visibility"]
    whole = array[...]
    array = pickle.loads(pickle.dumps(array))
    for key in (np.s_[1], np.s_[1:3, 2], np.s_[0, 1:, ::2], np.s_[..., 3], np.s_[::-1, 0, 1]):
        assert np.array_equal(array[key], whole[key], equal_nan=True)


def test_missing_extra_is_named(tmp_path, monkeypatch):
    original = builtins.__import__

    def without_daskms(name, *args, **kwargs):
        if name == "daskms":
            raise ImportError("No module named 'daskms'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_daskms)
    with pytest.raises(ImportError, match=r"pip install 'dask-exa\[radio\]'"):
        measurement_set.open_measurement_set(tmp_path)


def test_recognises_content_not_names(tmp_path):
    assert not measurement_set.recognise(str(tmp_path))
    assert not measurement_set.recognise(str(tmp_path / "nothing.ms"))

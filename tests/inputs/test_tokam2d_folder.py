"""The folder of a run of Tokam2D, while it is going on and when it has ended."""

import itertools
import threading

import h5py
import numpy as np
import pytest

from dask_exa.inputs import open_stream, step_files, tokam2d_folder
from dask_exa.inputs.tokam2d_folder import open_folder, recognise

SHAPE = (4, 6)
FIELDS = ("density", "potential")


def values(number):
    density = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
    return {"density": density, "potential": 2 * density, "time": np.float32(64.0 * number)}


def write_frame(folder, number, names=(*FIELDS, "time")):
    path = folder / f"fields_{number:05d}.h5"
    with h5py.File(path, "a") as file:
        for name in names:
            file[name] = values(number)[name]
    return path


def join(folder, numbers):
    """Do what the code does at the end: erase the frames, then write all of them."""
    for path in folder.glob("fields_*.h5"):
        path.unlink()
    frames = [values(number) for number in numbers]
    with h5py.File(folder / "simulation_fields.h5", "w") as file:
        for name in (*FIELDS, "time"):
            file[name] = np.stack([frame[name] for frame in frames])
        file["y"], file["x"] = np.arange(4.0), np.arange(6.0)


@pytest.fixture
def looked(monkeypatch):
    """Set whenever the stream has looked into the folder in vain and begins to wait."""
    event, pause = threading.Event(), step_files._pause

    def note_and_pause(seconds):
        event.set()
        pause(seconds)

    monkeypatch.setattr(step_files, "_pause", note_and_pause)
    return event


def in_background(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def check(step, number):
    assert int(step.timestep) == number
    assert float(step.time) == 64.0 * number
    for name in FIELDS:
        np.testing.assert_array_equal(step[name], values(number)[name])
        assert step[name].dims == ("y", "x")


def test_frames_come_as_they_are_written_and_the_joined_file_ends_them(tmp_path, looked):
    write_frame(tmp_path, 0)
    assert recognise(str(tmp_path))
    stream = open_folder(str(tmp_path), timeout=30)
    assert stream.n_steps is None
    assert (stream.sizes, stream.variables) == ({"y": 4, "x": 6}, FIELDS)

    def simulate():
        for number in (1, 2, 3):
            assert looked.wait(30)
            looked.clear()
            write_frame(tmp_path, number)
        assert looked.wait(30)
        join(tmp_path, range(6))  # two more frames than anybody has seen

    writer = in_background(simulate)
    steps = list(stream)
    writer.join()
    assert len(steps) == 6
    for number, step in enumerate(steps):
        check(step, number)
    assert stream.faults == []
    assert [int(step.timestep) for step in stream.read(4)] == [4, 5]  # once more, from the end


def test_a_run_that_has_only_begun_is_waited_for(tmp_path, looked):
    (tmp_path / "simulation.log").touch()
    assert recognise(str(tmp_path))

    def simulate():
        assert looked.wait(30)
        write_frame(tmp_path, 0)

    writer = in_background(simulate)
    stream = open_stream(tmp_path, timeout=30)
    writer.join()
    check(next(iter(stream)), 0)


def test_a_run_that_is_being_joined_is_waited_for(tmp_path, looked):
    (tmp_path / "simulation.log").touch()

    def simulate():
        assert looked.wait(30)
        join(tmp_path, range(2))

    writer = in_background(simulate)
    stream = open_stream(tmp_path, timeout=30)
    writer.join()
    assert len(stream) == 2


def test_half_a_frame_is_waited_for(tmp_path, looked):
    write_frame(tmp_path, 0)
    path = write_frame(tmp_path, 1, ["density"])

    def simulate():
        assert looked.wait(30)
        with h5py.File(path, "a") as file:
            file["potential"], file["time"] = values(1)["potential"], values(1)["time"]

    writer = in_background(simulate)
    stream = open_folder(str(tmp_path), timeout=30)
    steps = list(itertools.islice(stream, 2))
    writer.join()
    check(steps[1], 1)
    assert stream.faults == []


@pytest.mark.parametrize("damage", ["cut", "empty", "half", "flat"])
def test_a_frame_that_stays_damaged_is_left_out_with_a_note(tmp_path, damage):
    for number in (0, 1, 2):
        path = write_frame(tmp_path, number)
        if number == 1 and damage == "cut":
            path.write_bytes(path.read_bytes()[:900])
        elif number == 1 and damage == "empty":
            path.write_bytes(b"")
        elif number == 1:
            with h5py.File(path, "a") as file:
                del file["potential"]
                if damage == "flat":
                    file["potential"] = np.zeros(3)
    with open_folder(str(tmp_path), timeout=0.2) as stream:
        assert [int(step.timestep) for step in stream] == [0, 2]
        assert [int(step.timestep) for step in stream] == [0, 2]
    (note,) = stream.faults
    assert note.startswith("fields_00001.h5 was left out")
    if damage == "half":
        assert "no 'potential' yet; it has density, time" in note


def test_a_run_that_dies_ends_the_stream_after_the_time_out(tmp_path):
    write_frame(tmp_path, 0)
    write_frame(tmp_path, 1, ["density"])
    stream = open_folder(str(tmp_path), timeout=0.2)
    assert [int(step.timestep) for step in stream] == [0]
    assert "fields_00001.h5" in stream.faults[0]


def test_frames_left_out_are_not_read_again_from_the_joined_file(tmp_path, looked):
    for number in (0, 1, 2):
        write_frame(tmp_path, number)
    (tmp_path / "fields_00001.h5").write_bytes(b"")
    stream = open_folder(str(tmp_path), timeout=10)

    def simulate():
        assert looked.wait(30)
        join(tmp_path, range(4))

    writer = in_background(simulate)
    assert [int(step.timestep) for step in stream] == [0, 2, 3]
    writer.join()


def test_a_run_that_has_ended_is_its_joined_file(tmp_path):
    join(tmp_path, range(3))
    assert recognise(str(tmp_path))
    with open_folder(str(tmp_path), chunks={"y": 2}) as stream:
        assert len(stream) == 3
        check(list(stream)[2].compute(), 2)


def test_positions_and_time_step_come_from_the_parameters(shared_data, tmp_path):
    original = shared_data / "tokam2d" / "sol"
    (tmp_path / "user_inputs.h5").write_bytes((original / "user_inputs.h5").read_bytes())
    with h5py.File(original / "simulation_fields.h5") as file:
        with h5py.File(tmp_path / "fields_00000.h5", "w") as frame:
            for name in (*FIELDS, "time"):
                frame[name] = file[name][0]
        x = file["x"][:]
    with open_folder(str(tmp_path), timeout=0) as stream:
        (step,) = stream
    np.testing.assert_allclose(step.x, x)
    assert float(step.dt) == 1.0
    assert step.density.attrs["units"] == "n_0"
    (tmp_path / "user_inputs.h5").write_bytes(b"half of it")
    with open_folder(str(tmp_path), timeout=0) as stream:
        assert "x" not in next(iter(stream)).coords


def test_variables_and_chunks(tmp_path):
    write_frame(tmp_path, 0)
    with open_folder(str(tmp_path), chunks={"x": 3}, variables=["potential"], timeout=0) as stream:
        (step,) = stream
    assert list(step.data_vars) == ["potential"]
    assert step.potential.chunksizes["x"] == (3, 3)


def test_what_is_wrong_is_told(tmp_path):
    assert not recognise(str(tmp_path))
    write_frame(tmp_path, 0, ["density"])
    with pytest.raises(ValueError, match=r"no complete file.*no 'potential' yet.*fields_00000.h5"):
        open_folder(str(tmp_path), timeout=0)
    with pytest.raises(ValueError, match="vorticity"):
        open_folder(str(tmp_path), variables=["vorticity"])
    with pytest.raises(ValueError, match="timeout=-1"):
        open_folder(str(tmp_path), timeout=-1)
    assert tokam2d_folder.TIMEOUT == 60

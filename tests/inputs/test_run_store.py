"""Checkpoints of runs: resumed to the last bit, never half written, refused to other models."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import zarr
from sklearn.decomposition import IncrementalPCA as SklearnPCA

from dask_exa.anomaly import FieldDetector
from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.field_detector import Finding
from dask_exa.compose import make_streaming_pipeline
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import open_stream
from dask_exa.preprocessing import FieldStacker, StandardScaler
from tests.inputs.streams import LentStream, assert_same_bits, make_steps, stream_of

QUIET = {"progress": False}
pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")


def columns():
    return IncrementalPCA(3, sample_dims="time", layout="columns")


def pipeline():
    return make_streaming_pipeline(FieldStacker("time"), StandardScaler(), IncrementalPCA(3))


def mixed():
    return make_streaming_pipeline(StandardScaler(), SklearnPCA(3))


MODELS = {"rows": lambda: IncrementalPCA(3), "columns": columns, "pipeline": pipeline}
MODELS |= {"scikit-learn": lambda: SklearnPCA(3), "mixed pipeline": mixed}


def last(model):
    return model[-1] if hasattr(model, "steps") else model


def lazy(steps):
    stream = stream_of(steps)
    stream.read = lambda start=0: (step.chunk({"y": 3, "x": 4}) for step in steps[start:])
    return stream


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("window", [1, 4])
def test_resumes_to_the_last_bit(make, window, tmp_path):
    if window == 1 and make in (MODELS["scikit-learn"], mixed):
        pytest.skip("scikit-learn's IncrementalPCA starts with as many samples as components")
    steps = make_steps(19)
    source = lazy if make is columns else stream_of
    whole, parts = make(), make()
    source(steps).run(whole, window=window, **QUIET)
    path = tmp_path / "run.zarr"
    for n_steps in (6, 7, None):
        parts = make()  # as a new process would
        run = source(steps).run(parts, window=window, n_steps=n_steps, checkpoint=path, **QUIET)
        assert run.timesteps == list(range(10, 10 + (n_steps or 19)))
    assert_same_bits(last(parts), last(whole))
    assert os.listdir(tmp_path) == ["run.zarr"]
    assert zarr.open_group(path, mode="r").metadata.zarr_format == 3


def test_finished_run_is_not_run_again(tmp_path):
    steps, path = make_steps(8), tmp_path / "run.zarr"
    stream_of(steps).run(IncrementalPCA(2), checkpoint=path, **QUIET)
    model, seen = IncrementalPCA(2), []
    options = {"checkpoint": path, "on_step": lambda step, run: seen.append(step)}
    assert stream_of(steps).run(model, **options, **QUIET).n_steps == 8
    assert (seen, model.n_samples_seen_) == ([], 8)
    stream_of(steps).run(model, resume=False, **options, **QUIET)
    assert (len(seen), model.n_samples_seen_) == (8, 16)


def test_detector_goes_on_where_it_was(tmp_path, shared_data):
    path = shared_data / "tokam2d/sol_crash/simulation_fields.h5"

    def watch(n_steps, checkpoint):
        with open_stream(path) as stream:
            model, detector = {"density": IncrementalPCA(2)}, FieldDetector()
            options = {"window": 3, "checkpoint": checkpoint}
            return stream.run(model, detector=detector, n_steps=n_steps, **options, **QUIET)

    whole = watch(None, None)
    watch(31, tmp_path / "run.zarr")
    resumed = watch(None, tmp_path / "run.zarr")
    assert len(whole.alarms) > 3
    assert resumed.alarms == whole.alarms
    assert resumed.timesteps == whole.timesteps == list(range(33))
    assert list(resumed.skipped) == [33]


class Scripted:
    """A detector with one alarm."""

    def __repr__(self):
        return "Scripted()"

    def observe(self, step):
        t = int(step.timestep)
        alarms = [Alarm(t, np.float32(2), "odd", block=((0, 1), (2, 3)))] if t == 12 else []
        return Finding(alarms, 0.5, 0.9)


def test_alarms_and_what_was_left_out_are_kept(tmp_path):
    steps, path = make_steps(8), tmp_path / "run.zarr"
    steps[1].density[:] = np.nan
    for n_steps in (4, 8):
        options = {"n_steps": n_steps, "checkpoint": path, "detector": Scripted()}
        run = stream_of(steps).run(IncrementalPCA(2), **options, **QUIET)
    assert run.alarms == [Alarm(12, 2.0, "odd", block=((0, 1), (2, 3)))]
    assert run.skipped == {11: "density has 48 of 48 values that are not finite"}
    assert run.position == 8


def test_running_simulation_that_starts_again_is_not_learnt_twice(tmp_path):
    steps, path = make_steps(9), tmp_path / "run.zarr"
    first, second, alone = IncrementalPCA(2), IncrementalPCA(2), IncrementalPCA(2)
    LentStream(steps[:5]).run(first, checkpoint=path, **QUIET)
    # it goes on from a restart file of its own, two steps before it was stopped
    run = LentStream(steps[3:]).run(second, checkpoint=path, **QUIET)
    stream_of(steps).run(alone, **QUIET)
    assert run.timesteps == list(range(10, 19))
    assert_same_bits(second, alone)


def test_abort_leaves_a_checkpoint_of_the_steps_before(tmp_path):
    steps, path = make_steps(8), tmp_path / "run.zarr"
    steps[5].density[:] = np.nan
    options = {"checkpoint": path, "checkpoint_every": 3, "on_fault": "abort"}
    with pytest.raises(ValueError, match="NaN"):
        stream_of(steps).run(IncrementalPCA(2), **options, **QUIET)
    resumed, alone = IncrementalPCA(2), IncrementalPCA(2)
    run = stream_of(steps).run(resumed, n_steps=5, checkpoint=path, **QUIET)
    stream_of(steps[:5]).run(alone, **QUIET)
    assert run.n_steps == 5
    assert_same_bits(resumed, alone)


def test_error_of_the_source_leaves_a_checkpoint_too(tmp_path):
    steps, path = make_steps(4), tmp_path / "run.zarr"
    stream = stream_of(steps)

    def read(start):
        yield from steps
        raise OSError("the disk is gone")

    stream.read = read
    with pytest.raises(OSError, match="the disk is gone"):
        stream.run(IncrementalPCA(2), checkpoint=path, **QUIET)
    assert stream_of(steps).run(IncrementalPCA(2), checkpoint=path, n_steps=4, **QUIET).n_steps == 4


@pytest.mark.parametrize("after", [0, 3, 8, 15])
def test_full_disk_leaves_the_earlier_checkpoint(after, tmp_path, monkeypatch):
    steps, path = make_steps(8), tmp_path / "run.zarr"
    stream_of(steps).run(pipeline(), n_steps=4, checkpoint=path, **QUIET)
    create, left = zarr.storage.LocalStore.set, [after]

    async def failing(store, key, value, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await create(store, key, value, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage.LocalStore, "set", failing)
        options = {"checkpoint": path, "checkpoint_every": 2}
        with pytest.raises(OSError, match="No space left") as raised:
            stream_of(steps).run(pipeline(), **options, **QUIET)
    assert "The checkpoint before it could not be written" in raised.value.__notes__[0]
    resumed, alone = pipeline(), pipeline()
    stream_of(steps).run(resumed, checkpoint=path, **QUIET)
    stream_of(steps).run(alone, **QUIET)
    assert_same_bits(resumed[-1], alone[-1])


CHILD = """
import sys
import numpy as np
from dask_exa.decomposition import IncrementalPCA
from tests.inputs.streams import make_steps, stream_of
def tell(step, run):
    print(run.n_steps, flush=True)
options = {"checkpoint": sys.argv[1], "checkpoint_every": 1, "progress": False}
stream_of(make_steps(5000)).run(IncrementalPCA(3), on_step=tell, log=sys.argv[2], **options)
"""


@pytest.mark.parametrize("n_steps", [3, 11])
def test_kill_leaves_a_checkpoint_that_goes_on(n_steps, tmp_path):
    path, log = tmp_path / "run.zarr", tmp_path / "steps.jsonl"
    command = [sys.executable, "-c", CHILD, str(path), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) == n_steps:
                child.send_signal(signal.SIGKILL)
                break
        child.wait(timeout=30)
    assert child.returncode == -signal.SIGKILL
    steps, resumed, alone = make_steps(5000), IncrementalPCA(3), IncrementalPCA(3)
    seen = []
    options = {"checkpoint": path, "log": log, "n_steps": 40}
    run = stream_of(steps).run(resumed, on_step=lambda s, r: seen.append(s), **options, **QUIET)
    assert run.n_steps == 40
    assert len(seen) <= 40 - (n_steps - 1)
    stream_of(steps).run(alone, n_steps=40, **QUIET)
    assert_same_bits(resumed, alone)


@pytest.mark.parametrize(
    ("model", "window", "message"),
    [
        (lambda: IncrementalPCA(3), 1, r"IncrementalPCA\(n_components=2\).*n_components=3"),
        (lambda: SklearnPCA(2), 1, "has models=.* is asked for; pass the same ones"),
        (lambda: {"density": IncrementalPCA(2)}, 1, "has models=.*model.*density"),
        (lambda: IncrementalPCA(2), 2, "has window=1, but window=2 is asked for"),
    ],
)
def test_checkpoint_of_another_run_is_refused(model, window, message, tmp_path):
    path = tmp_path / "run.zarr"
    stream_of(make_steps(4)).run(IncrementalPCA(2), checkpoint=path, **QUIET)
    fresh = model()
    with pytest.raises(ValueError, match=message):
        stream_of(make_steps(4)).run(fresh, window=window, checkpoint=path, **QUIET)
    assert not hasattr(fresh, "n_samples_seen_")


@pytest.mark.parametrize("resume", [True, False])
def test_what_is_not_a_checkpoint_is_not_replaced(resume, tmp_path):
    (tmp_path / "thesis.tex").write_text("the only copy")
    with pytest.raises(FileExistsError, match="is not of a run over a stream; choose another"):
        stream_of(make_steps(4)).run(IncrementalPCA(2), checkpoint=tmp_path, resume=resume, **QUIET)
    assert os.listdir(tmp_path) == ["thesis.tex"]

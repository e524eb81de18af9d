"""Learning a stream gives what the same models give on the same steps in memory."""

import os
import signal

import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import IncrementalPCA as SklearnPCA
from sklearn.decomposition import MiniBatchNMF

from dask_exa.anomaly import FieldDetector, FieldMonitor
from dask_exa.apps.cluster import Scatter
from dask_exa.compose import make_streaming_pipeline
from dask_exa.datasets import Injection
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import open_stream
from dask_exa.preprocessing import FieldStacker, StandardScaler
from tests.inputs.streams import LentStream, assert_same_bits, make_steps, matrix, stream_of

QUIET = {"progress": False}
TOKAM = {"shape": (24, 24), "rk4_steps_per_frame": 2}


def batches(steps, window, name="density"):
    X = matrix(steps, name)
    return [X[i : i + window] for i in range(0, len(X), window)]


@pytest.mark.parametrize("window", [1, 4, 5, 20])
@pytest.mark.parametrize("kind", [stream_of, LentStream])
def test_windows_are_learnt_in_order_and_the_rest_too(kind, window):
    steps = make_steps(12)
    model, alone = IncrementalPCA(3), IncrementalPCA(3)
    run = kind(steps).run(model, window=window, **QUIET)
    for batch in batches(steps, window):
        alone.partial_fit(batch)
    assert run.timesteps == list(range(10, 22))
    assert (run.n_steps, run.position, run.skipped, run.stop_reason) == (12, 12, {}, None)
    for name in ("components_", "mean_", "singular_values_"):
        ours = np.asarray(getattr(model, name))
        np.testing.assert_array_equal(
            ours.reshape(getattr(alone, name).shape), getattr(alone, name)
        )
    assert model.components_.dims == ("component", "y", "x")


def test_estimators_of_scikit_learn_get_rows():
    steps = make_steps(12)
    model, alone = SklearnPCA(3), SklearnPCA(3)
    stream_of(steps).run(model, window=5, **QUIET)
    for batch in batches(steps, 5):
        alone.partial_fit(batch)
    assert_same_bits(model, alone)


def test_pipeline_with_a_step_of_scikit_learn_gets_rows():
    steps = make_steps(12)
    model = make_streaming_pipeline(StandardScaler(), SklearnPCA(2))
    stream_of(steps).run(model, window=6, **QUIET)
    assert model[-1].n_samples_seen_ == 12
    np.testing.assert_allclose(model[0].mean_, matrix(steps).mean(axis=0))


def test_every_variable_has_its_model():
    steps = make_steps(9, names=("density", "potential"))
    models = {"potential": IncrementalPCA(2), "density": IncrementalPCA(3)}
    run = stream_of(steps).run(models, **QUIET)
    assert run.n_steps == 9
    for name, model in models.items():
        alone = IncrementalPCA(model.n_components, sample_dims="time")
        for step in steps:
            alone.partial_fit(step[name])
        assert_same_bits(model, alone)


def test_data_sets_go_to_pipelines_that_stack_them():
    steps = make_steps(8, names=("density", "potential"))
    model = make_streaming_pipeline(FieldStacker("time"), IncrementalPCA(2))
    stream_of(steps).run(model, window=3, **QUIET)
    both = np.hstack([matrix(steps), matrix(steps, "potential")])
    np.testing.assert_allclose(model[-1].mean_.values, both.mean(axis=0), rtol=1e-12, atol=1e-12)


def test_points_may_be_the_samples():
    steps = make_steps(5, names=("density", "potential"))
    model = make_streaming_pipeline(FieldStacker(("y", "x")), StandardScaler())
    stream_of(steps).run(model, **QUIET)
    expected = [matrix(steps).mean(), matrix(steps, "potential").mean()]
    np.testing.assert_allclose(model[-1].mean_.values, expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"window=2 joins steps along 'time'.*leave window=1"):
        stream_of(steps).run(model, window=2, **QUIET)


def test_models_side_by_side_see_each_step_once():
    steps = make_steps(10)
    observer, pca = FieldMonitor(), IncrementalPCA(2)
    alone = FieldMonitor()
    run = stream_of(steps).run([pca, observer], window=4, **QUIET)
    alarms = [alarm for step in steps for alarm in alone.observe(step).alarms]
    assert run.alarms == alarms
    assert observer.state.time == alone.state.time
    assert pca.n_samples_seen_ == 10


def test_file_and_simulation_give_the_same_bits(tmp_path):
    with open_stream("tokam2d-hw", **TOKAM) as stream:
        live = {name: IncrementalPCA(3) for name in stream.variables}
        stream.run(live, n_steps=10, **QUIET)
        steps = [step for step, _ in zip(stream, range(10), strict=False)]
    path = tmp_path / "run.zarr"
    stored = [step.drop_attrs().drop_vars(["timestep", "dt"], errors="ignore") for step in steps]
    xr.concat(stored, "time", coords="minimal").to_zarr(path, consolidated=False)
    with open_stream(path) as stream:
        later = {name: IncrementalPCA(3) for name in stream.variables}
        run = stream.run(later, **QUIET)
    assert run.n_steps == 10
    for name, model in live.items():
        assert_same_bits(model, later[name])


@pytest.mark.parametrize("window", [1, 3])
def test_chunks_of_files_and_of_a_simulation_on_workers_give_the_same_bits(
    client, shared_data, window
):
    path = shared_data / "tokam2d/sol/simulation_fields.h5"
    chunks = {"y": 64, "x": 64}

    def learn(stream, n_steps=9):
        model = IncrementalPCA(3, sample_dims="time", layout="columns")
        run = stream.run(model, variables="density", window=window, n_steps=n_steps, **QUIET)
        assert run.n_steps == n_steps
        return model

    with open_stream(path, chunks) as stream:
        posthoc = learn(stream)
    with open_stream(path) as stream:
        scatter, read = Scatter(client, chunks), stream.read
        stream.read = lambda start: map(scatter, read(start))
        insitu = learn(stream)
        del stream.read
        memory = IncrementalPCA(3)
        stream.run(memory, variables="density", window=window, n_steps=9, **QUIET)
    assert_same_bits(posthoc, insitu)
    np.testing.assert_allclose(posthoc.singular_values_, memory.singular_values_, rtol=1e-9)


def test_alarm_stops_the_stream():
    fault = Injection(timestep=5, kind="nonphysical")
    with open_stream("tokam2d-sol", shape=(32, 32), rk4_steps_per_frame=2, inject=fault) as stream:
        model = IncrementalPCA(2)
        run = stream.run(
            model,
            variables="density",
            detector=FieldDetector(),
            stop_on_alarm=True,
            n_steps=20,
            **QUIET,
        )
    assert run.timesteps == [1, 2, 3, 4, 5]
    assert [alarm.step for alarm in run.alarms] == [5]
    assert run.stop_reason.startswith("alarm at step 5: density must be positive")
    assert stream.stop_reason == run.stop_reason
    assert model.n_samples_seen_ == 5


def test_stop_ends_the_iteration_and_the_next_one_starts_anew():
    stream = stream_of(make_steps(6))
    seen = []
    for step in stream:
        seen.append(step.timestep.item())
        if len(seen) == 2:
            stream.stop("enough")
    assert (seen, stream.stop_reason) == ([10, 11], "enough")
    assert len(list(stream)) == 6
    assert stream.stop_reason is None


def test_callback_may_stop_and_sees_what_was_learnt():
    stream, seen = stream_of(make_steps(8)), []

    def on_step(step, run):
        seen.append((int(step.timestep), run.n_steps))
        if run.n_steps == 3:
            stream.stop("three are enough")

    run = stream.run(IncrementalPCA(2), on_step=on_step, **QUIET)
    assert seen == [(10, 1), (11, 2), (12, 3)]
    assert repr(run).startswith("<Run: 3 steps learnt, stopped: three are enough in ")


def test_signal_ends_the_run_between_two_steps():
    def interrupt(step, run):
        if run.n_steps == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    model = IncrementalPCA(2)
    run = stream_of(make_steps(9)).run(model, on_step=interrupt, **QUIET)
    assert (run.n_steps, model.n_samples_seen_, run.stop_reason) == (4, 4, "signal")


@pytest.mark.parametrize("window", [1, 4])
def test_steps_that_are_not_finite_are_left_out(window):
    steps = make_steps(12)
    steps[0].density[1, 2] = np.nan
    steps[5].density[:] = np.inf
    model, alone = IncrementalPCA(3), IncrementalPCA(3)
    run = stream_of(steps).run(model, window=window, **QUIET)
    # windows fill up again, so that a replay of the steps that were learnt has the same ones
    stream_of(steps[1:5] + steps[6:]).run(alone, window=window, **QUIET)
    assert_same_bits(model, alone)
    assert run.skipped == {
        10: "density has 1 of 48 values that are not finite",
        15: "density has 48 of 48 values that are not finite",
    }
    assert run.timesteps == [11, 12, 13, 14, 16, 17, 18, 19, 20, 21]


def test_step_is_left_out_by_all_models_or_by_none():
    steps = make_steps(6, names=("density", "potential"))
    steps[3].potential[0, 0] = np.nan
    models = {"density": MiniBatchNMF(2, random_state=0), "potential": IncrementalPCA(1)}
    for step in steps:
        step.density[:] = abs(step.density)
    stream_of(steps).run(models, **QUIET)
    alone = MiniBatchNMF(2, random_state=0)
    for step in steps[:3] + steps[4:]:
        alone.partial_fit(step.density.values.reshape(1, -1))
    np.testing.assert_array_equal(models["density"].components_, alone.components_)
    assert models["potential"].n_samples_seen_ == 5


def test_abort_raises_at_the_step():
    steps = make_steps(6)
    steps[3].density[0, 0] = np.nan
    model = IncrementalPCA(1)
    with pytest.raises(ValueError, match="NaN") as raised:
        stream_of(steps).run(model, on_fault="abort", **QUIET)
    assert raised.value.__notes__ == ["It was raised while step 13 was learnt."]
    assert model.n_samples_seen_ == 3


def test_mistakes_are_raised_and_not_skipped():
    with pytest.raises(ValueError, match="n_components=4 must be") as raised:
        stream_of(make_steps(6)).run(SklearnPCA(4), **QUIET)
    assert "step 10" in raised.value.__notes__[0]


def test_running_simulation_lends_its_steps_and_may_go_at_the_end():
    steps = make_steps(12)
    stream, model = LentStream(steps), IncrementalPCA(3)
    run = stream.run(model, window=4, n_steps=10, **QUIET)
    alone = IncrementalPCA(3)
    stream_of(steps[:10]).run(alone, window=4, **QUIET)
    assert_same_bits(model, alone)
    assert stream.finished
    assert run.n_steps == 10


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (IncrementalPCA(2), ValueError, "learns one variable, and the stream has density, pot"),
        ({"flux": IncrementalPCA(2)}, ValueError, r"model names \['flux'\]; the stream of made"),
        ({}, ValueError, "model names no variables"),
        ([], ValueError, r"model=\[\] is empty"),
        (object(), TypeError, "has neither partial_fit nor observe"),
        (IncrementalPCA, TypeError, "has neither partial_fit nor observe"),
    ],
)
def test_models_that_do_not_fit_are_named(model, error, message):
    stream = stream_of(make_steps(2, names=("density", "potential")))
    with pytest.raises(error, match=message):
        stream.run(model, **QUIET)


def test_one_model_cannot_learn_every_step_twice():
    model = IncrementalPCA(2)
    with pytest.raises(ValueError, match="one estimator twice"):
        stream_of(make_steps(2)).run([model, model], **QUIET)


@pytest.mark.parametrize(
    "options", [{"window": 0}, {"checkpoint_every": 0}, {"on_fault": "ignore"}, {"variables": "q"}]
)
def test_wrong_options_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        stream_of(make_steps(2)).run(IncrementalPCA(2), **QUIET, **options)


def test_progress_is_shown_on_standard_error(capsys):
    steps = make_steps(4)
    steps[1].density[:] = np.nan
    stream_of(steps).run(IncrementalPCA(2))
    shown = capsys.readouterr()
    assert "step 11 is left out: density has 48 of 48" in " ".join(shown.err.split())
    assert shown.out == ""

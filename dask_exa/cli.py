"""The command line: arguments in, a use case of `dask_exa.apps` called, exit codes out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click

from dask_exa import __version__

MODELS = ("sol", "hw", "mhw")
INJECTIONS = ("nan", "nonphysical", "spike")


class _Commands(click.Group):
    """Errors that a user can mend are one sentence; a traceback only on request."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (ValueError, TypeError, OSError, FloatingPointError, ImportError) as error:
            if context.params["traceback"]:
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dask-exa")
@click.option("--traceback", is_flag=True, help="Show where in the code an error came from.")
def main(traceback: bool) -> None:
    """Learn from data that are too big to store, while they are made.

    Results go into a folder: report.html for people, summary.json for programs, coefficients.zarr
    and basis.zarr with what was learnt, checkpoint.zarr to go on from. Their paths are printed.
    Ctrl-C finishes the step, writes all of them and exits with code 130.
    """


_out = click.option("--out", type=click.Path(file_okay=False), help="Folder of the results.")
_components = click.option(
    "--components",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Components of the PCA.",
)
_resume = click.option("--resume", is_flag=True, help="Go on from the checkpoint in the folder.")


def _cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose a cluster, which the command gets as one argument."""

    @click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Dask scheduler: an address such as tcp://host:8786, or a scheduler file; or slurm, "
        "for workers that are jobs of SLURM and end with this command.",
    )
    @click.option("--jobs", type=click.IntRange(1), help="Jobs, with --cluster slurm. Default: 2.")
    @click.option("--partition", help="Of the jobs, with --cluster slurm.")
    @functools.wraps(command)
    def call(cluster: str | None, jobs: int | None, partition: str | None, **others: Any) -> None:
        chosen: Any = cluster
        if cluster == "slurm":
            from dask_exa.apps.slurm import SlurmJobs

            chosen = SlurmJobs(jobs or SlurmJobs().n_jobs, partition)
        elif jobs or partition:
            raise click.UsageError("--jobs and --partition need --cluster slurm.")
        command(cluster=chosen, **others)

    return call


_detect = click.option(
    "--detect", is_flag=True, help="Look for anomalies, and print and draw the alarms."
)
_stop_on_alarm = click.option(
    "--stop-on-alarm", is_flag=True, help="End the run at the first alarm; with --detect."
)


def _together(*options: Any) -> Any:
    """Return one decorator for several options."""
    return lambda command: functools.reduce(lambda f, option: option(f), reversed(options), command)


_learning = _together(
    click.option(
        "--pipeline",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Python file that defines `pipeline`: an estimator with partial_fit, transform and "
        "inverse_transform. Default: IncrementalPCA.",
    ),
    _components,
    click.option(
        "--variable",
        "variables",
        multiple=True,
        metavar="NAME",
        help="Variable to learn; repeatable.",
    ),
    click.option("--steps", type=click.IntRange(1), help="Stop after so many steps."),
    click.option(
        "--checkpoint-every",
        type=click.IntRange(1),
        default=32,
        show_default=True,
        metavar="STEPS",
        help="Steps from one checkpoint to the next.",
    ),
)
_detecting = _together(
    _detect,
    click.option(
        "--false-alarm-rate",
        type=click.FloatRange(0, 0.5, min_open=True),
        default=1e-3,
        show_default=True,
        help="Share of normal steps that may raise an alarm by their score.",
    ),
    click.option(
        "--dt",
        type=click.FloatRange(0, min_open=True),
        help="Time step of the solver, for the checks that need it; default: what comes with the "
        "steps.",
    ),
    _stop_on_alarm,
)


class _InjectionType(click.ParamType):
    """What to do to which frame, such as nonphysical@120."""

    name = "KIND@STEP"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[str, int]:
        kind, _, step = str(value).partition("@")
        if kind not in INJECTIONS or not step.isdigit() or int(step) < 1:
            self.fail(
                f"{value!r} is not KIND@STEP with a KIND of {', '.join(INJECTIONS)} and a STEP of "
                "at least 1, such as nonphysical@120."
            )
        return kind, int(step)


@main.command()
@_out
@click.option(
    "--steps",
    type=click.IntRange(1),
    help="Frames. Default: 64, or 8 more than the last injection.",
)
@click.option(
    "--size", type=click.IntRange(8), default=128, show_default=True, help="Points along a side."
)
@click.option(
    "--model",
    type=click.Choice(MODELS),
    default="sol",
    show_default=True,
    help="Scrape-off layer, Hasegawa-Wakatani or modified Hasegawa-Wakatani.",
)
@_components
@click.option(
    "--inject",
    type=_InjectionType(),
    multiple=True,
    help="Corrupt a patch of a frame, such as nonphysical@120, look for anomalies and stop at the "
    f"first alarm. Kinds: {', '.join(INJECTIONS)}; repeatable.",
)
@_detect
@_stop_on_alarm
@_resume
@_cluster
def demo(out: str | None, **arguments: Any) -> None:
    """Simulate plasma turbulence on a cluster and learn it while it runs.

    The fields of the built-in simulation Tokam2D are split into four blocks on two workers; each
    block keeps its own part of the basis of a PCA. Default folder: out/demo.
    """
    from dask_exa.apps.demo import demo as run_demo

    renamed = {"n_steps": arguments.pop("steps"), "n_components": arguments.pop("components")}
    _finish(run_demo(out or "out/demo", **renamed, **arguments))


@main.command()
@click.argument("source")
@_out
@_learning
@_detecting
@_resume
@_cluster
def watch(source: str, out: str | None, **arguments: Any) -> None:
    """Learn the steps of SOURCE while they come.

    SOURCE is what Tokam2D, Dyablo, PyGyro, Gysela, DAMASK, GooseFFT or OSKAR write, a Measurement
    Set, any HDF5, NetCDF or zarr, or the name of a built-in simulation: tokam2d, tokam2d-sol,
    tokam2d-hw, tokam2d-mhw, vlasov, vlasov-landau, amr-blast, crystal, interferometer. The first
    axis is time, unless another one is named so. Default folder: out.
    """
    from dask_exa.apps.watch import watch as run_watch

    renamed = {"n_steps": arguments.pop("steps"), "n_components": arguments.pop("components")}
    arguments["variables"] = arguments["variables"] or None
    _finish(run_watch(source, out or "out", **renamed, **arguments))


@main.command(context_settings={"allow_interspersed_args": False})  # they are the simulation's
@click.option(
    "--ranks", type=click.IntRange(1), default=2, show_default=True, help="Ranks to start."
)
@click.option(
    "--launcher",
    metavar="COMMAND",
    help="What starts the ranks, such as 'srun -n {ranks}'. Default: mpiexec -n {ranks}.",
)
@click.option(
    "--analytics",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Python script that reads the stream. Default: learn it as `watch` does.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Analytics workers of the scheduler that is started.",
)
@_cluster
@click.option(
    "--interface",
    metavar="NAME",
    help="Network interface of the scheduler that is started, such as ib0, for ranks on other "
    "machines.",
)
@click.option(
    "--stream",
    "stream_name",
    default="simulation",
    show_default=True,
    metavar="NAME",
    help="Name that the ranks give to their stream.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for the first step, and for every other.",
)
@click.option("--quiet", is_flag=True, help="Show no output of the ranks; the log has it.")
@click.option(
    "--on-fault",
    type=click.Choice(("skip", "abort")),
    default="skip",
    show_default=True,
    help="Leave out what is lost and report the rest, or end with an error.",
)
@_out
@_learning
@_detecting
@_resume
@click.argument("simulation")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def insitu(simulation: str, out: str | None, **options: Any) -> None:
    """Start SIMULATION on MPI ranks and learn it while it runs.

    SIMULATION is a Python script, or another program, which gets the ARGUMENTS after it. Its ranks
    hand their fields over with dask_exa.insitu.Bridge(), which needs no address here. Output of
    the ranks goes to simulation.log in the folder of the results, and is shown. Ctrl-C tells the
    ranks to stop, and writes what was learnt. Default folder: out.
    """
    from dask_exa.apps import insitu as app

    launch = app.Launch(
        simulation,
        options.pop("arguments"),
        n_ranks=options.pop("ranks"),
        n_workers=options.pop("workers"),
        is_shown=not options.pop("quiet"),
        **{name: options.pop(name) for name in ("launcher", "cluster", "interface")},
    )
    analytics = options.pop("analytics")
    if analytics is not None:
        common = {name: options[name] for name in ("stream_name", "on_fault")}
        _exit(app.run_script(launch, analytics, out or "out", **common))
        return
    renamed = {"n_steps": options.pop("steps"), "n_components": options.pop("components")}
    options["variables"] = options["variables"] or None
    _finish(app.insitu(launch, out or "out", **renamed, **options))


_BOUNDS = {
    "rel": "Largest error of a value, relative to the range of its block.",
    "abs": "Largest error of a value, in its units.",
    "l2": "Norm of the error, relative to the norm of the block.",
    "psnr": "Least peak signal-to-noise ratio of a block, in dB.",
}


@main.command()
@click.argument("source")
@click.argument("out", type=click.Path(file_okay=False))
@_together(
    *(
        click.option(f"--{kind}", type=float, help=text, metavar="X")
        for kind, text in _BOUNDS.items()
    )
)
@click.option("--variable", "variables", multiple=True, metavar="NAME", help="Repeatable.")
@click.option("--steps", type=click.IntRange(1), help="Steps of the store at the end.")
@click.option("--steps-per-chunk", type=click.IntRange(1), help="Default: 16, or 16 MiB.")
@click.option("--resume", is_flag=True, help="Go on behind the last whole step of the store.")
def compress(source: str, out: str, **arguments: Any) -> None:
    """Compress the steps of SOURCE into a zarr store, within a bound on the error.

    SOURCE is what `watch` takes. OUT is a new folder that xarray.open_zarr reads wherever dask-exa
    is installed, also while it grows; Ctrl-C leaves it whole, up to the last step. Say with one of
    --rel, --abs, --l2 and --psnr which error is allowed; --abs 0 keeps every bit.
    """
    from dask_exa.apps import compress as app

    bound = app.one_bound({kind: arguments.pop(kind) for kind in _BOUNDS})
    renamed = {"n_steps": arguments.pop("steps")}
    arguments["variables"] = arguments["variables"] or None
    result = app.compress(source, out, bound, **renamed, **arguments)
    click.echo(app.as_text(result.summaries))
    click.echo(result.path)
    _exit(result.interrupted)


@main.command("inspect")
@click.argument("store", type=click.Path(exists=True, file_okay=False))
@click.option("--source", help="What the store was made from, for pictures before and after.")
@click.option(
    "--out", type=click.Path(dir_okay=False), help="The page. Default: beside STORE, .html."
)
def inspect_store(store: str, source: str | None, out: str | None) -> None:
    """Show what became of the variables of a compressed STORE, and write a page about it."""
    from dask_exa.apps import compress as app
    from dask_exa.apps.inspect_store import inspect

    result = inspect(store, source=source, out=out)
    click.echo(app.as_text(result.summaries))
    click.echo(os.path.relpath(result.page) if _is_below(result.page) else result.page)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@_cluster
def doctor(as_json: bool, cluster: Any) -> None:
    """Print what a support request needs, and test this machine for two seconds."""
    from dask_exa.apps import doctor as checks

    findings = checks.examine(cluster)
    click.echo(checks.as_json(findings) if as_json else checks.as_text(findings))


def _finish(result: Any) -> None:
    """Print the alarms and where the results are, and end the process with 130 after a stop."""
    if result.alarms:
        from dask_exa.anomaly.alarm import episodes
        from dask_exa.report.alarms import describe

        for episode in episodes(result.alarms):
            click.echo(f"alarm: {describe(episode)}")
    if result.stopped:
        click.echo(result.stopped)
    for path in result.outputs.values():
        click.echo(os.path.relpath(path) if _is_below(path) else path)
    for fault in result.faults:
        click.echo(f"lost: {fault}", err=True)
    _exit(result.interrupted)


def _exit(was_interrupted: bool) -> None:
    if was_interrupted:
        from dask_exa.inputs.interrupt import EXIT_CODE

        raise click.exceptions.Exit(EXIT_CODE)


def _is_below(path: str) -> bool:
    return os.path.commonpath([os.getcwd(), path]) == os.getcwd()

"""A stream: the steps of one source, in order, one in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import xarray as xr

from dask_exa._parameters import check_count
from dask_exa.inputs.learners import as_learners
from dask_exa.inputs.learning import Settings, learn
from dask_exa.inputs.run_store import Run
from dask_exa.inputs.step_log import StepLog
from dask_exa.inputs.windows import slide


class Stream:
    """The steps of a file, of a simulation or of a running code, in order.

    Every step is an `xarray.Dataset`: variables on named dimensions, a scalar coordinate ``time``
    and a scalar integer coordinate ``timestep``. A step is read when it is asked for. Every
    iteration starts from the first step, so a script gives the same numbers when it runs again.
    Values are passed on as they are, those that are not finite too.

    Streams are made by `open_stream`.

    Parameters
    ----------
    read : callable
        ``read(start)`` returns an iterator of steps that skips the first `start` ones.
    name : str
        What to call the source in reports.
    sizes : dict of str to int
        Dimensions of a step and their lengths.
    variables : tuple of str
    n_steps : int, optional
        Number of steps, where it is known beforehand.
    close : callable, optional
        Called once, to close files.

    Attributes
    ----------
    name : str
    sizes : dict of str to int
    dims : tuple of str
        Names of the dimensions of a step.
    variables : tuple of str
    n_steps : int or None
        Number of steps; None when nobody knows, and then ``len`` raises TypeError.
    is_live : bool
        Whether the steps come from a simulation that runs elsewhere: they come once, and a step is
        lent until the next one is asked for.
    stop_reason : str or None
        What `stop` was told.

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> with open_stream("tokam2d-hw", shape=(32, 32), rk4_steps_per_frame=2) as stream:
    ...     print(stream.dims, stream.variables)
    ...     for step in stream:
    ...         print(int(step.timestep), dict(step.sizes))
    ...         if step.timestep == 2:
    ...             break
    ('y', 'x') ('density', 'potential')
    1 {'y': 32, 'x': 32}
    2 {'y': 32, 'x': 32}
    """

    is_live = False
    is_watched = False
    """Whether somebody looks at `live_page`."""
    live_page: str | None = None
    """Address of a page that shows a running simulation, where there is one."""
    faults: Sequence[str] = ()
    """What of a running simulation was lost, and why."""
    log: StepLog | None = None
    """Where a run that goes on takes down what becomes of each step."""

    def __init__(
        self,
        read: Callable[[int], Iterator[xr.Dataset]],
        *,
        name: str,
        sizes: dict[str, int],
        variables: tuple[str, ...],
        n_steps: int | None = None,
        close: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name
        self.sizes = dict(sizes)
        self.variables = tuple(variables)
        self.n_steps = n_steps
        self._read = read
        self._close = close
        self._is_closed = False
        self.stop_reason: str | None = None

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions of a step."""
        return tuple(self.sizes)

    def __iter__(self) -> Iterator[xr.Dataset]:
        return self.read()

    def read(self, start: int = 0) -> Iterator[xr.Dataset]:
        """Return an iterator of the steps from position `start` on.

        Parameters
        ----------
        start : int, default=0
            Number of steps to skip. A file skips them for nothing; a built-in simulation has to
            compute them again.

        Raises
        ------
        ValueError
            When the stream is closed, or `start` is negative.
        """
        if self._is_closed:
            raise ValueError(f"the stream of {self.name} is closed; open it again to read it.")
        if start < 0:
            raise ValueError(f"start={start} is negative; pass the number of steps to skip.")
        self.stop_reason = None
        return self._until_stopped(self._read(start))

    def _until_stopped(self, steps: Iterator[xr.Dataset]) -> Iterator[xr.Dataset]:
        for step in steps:
            yield step
            del step  # it may only be lent
            if self.stop_reason is not None:
                return

    def run(
        self,
        model: Any,
        *,
        variables: str | Sequence[str] | None = None,
        window: int = 1,
        n_steps: int | None = None,
        checkpoint: Any = None,
        checkpoint_every: int = 32,
        resume: bool = True,
        detector: Any = None,
        stop_on_alarm: bool = False,
        on_fault: str = "skip",
        on_step: Callable[[xr.Dataset, Run], Any] | None = None,
        log: Any = None,
        progress: bool = True,
    ) -> Run:
        """Learn the steps in their order, every one once.

        The same call learns a file, a built-in simulation and a simulation that runs elsewhere.

        Parameters
        ----------
        model : estimator, list of them, or dict of variable to estimator
            They learn in place, with ``partial_fit``: an `xarray.DataArray` with the dimension
            ``time`` first where they know ``sample_dims``, else one row of features per step. A
            `StreamingPipeline` that starts with a `FieldStacker` gets data sets of all `variables`.
            A `FieldMonitor` or `FieldDetector` observes data sets, step by step, before the step is
            learnt. Without a dict, an estimator of one variable needs `variables` to name it, if
            the stream has several.
        variables : str or sequence of str, optional
            Those to learn and observe; by default all.
        window : int, default=1
            Steps that are learnt together; the rest at the end is learnt too.
        n_steps : int, optional
            Steps to have gone through at the end, with those before a resumption; by default all.
        checkpoint : path-like, optional
            A zarr group that gets what was learnt and the position in the stream. Where state is
            split over workers, they write it: on a file system that they share.
        checkpoint_every : int, default=32
            Steps from one checkpoint to the next, which takes its place when it is complete.
        resume : bool, default=True
            Go on from the checkpoint if there is one, with the same results as without the stop.
        detector : FieldDetector, optional
            One more model, which observes.
        stop_on_alarm : bool, default=False
            Stop the stream at the first alarm, once its step was learnt.
        on_fault : {"skip", "abort"}, default="skip"
            What to do about a step with values that are not finite, and about what is lost with a
            worker. "skip" leaves the step out, with the state as it was before. Where the state
            itself was lost it goes back to the last checkpoint, and what was learnt since is
            learnt again, or, if the simulation runs elsewhere, is counted as lost. "abort" writes
            a checkpoint and raises.
        on_step : callable, optional
            ``on_step(step, run)`` after every step that was not left out.
        log : path-like, optional
            Gets a line of JSON for every step, see `dask_exa.inputs.replay`.
        progress : bool, default=True
            Show a line on the terminal; of a running simulation also the address of its live page.

        Returns
        -------
        Run

        Raises
        ------
        ValueError
            If the models do not fit the stream, or the checkpoint is of others. Errors that have
            nothing to do with values that are not finite or with lost workers are always raised,
            after a checkpoint.
        StateLostError
            If the state was lost with a worker and there is no checkpoint.

        Examples
        --------
        >>> from dask_exa.decomposition import IncrementalPCA
        >>> from dask_exa.inputs import open_stream
        >>> pca = IncrementalPCA(4)
        >>> with open_stream("tokam2d-hw", shape=(32, 32), rk4_steps_per_frame=2) as stream:
        ...     run = stream.run(pca, variables="density", n_steps=12, progress=False)
        >>> run.n_steps, run.stop_reason, pca.components_.dims
        (12, None, ('component', 'y', 'x'))
        """
        names = (variables,) if isinstance(variables, str) else variables
        settings = Settings(
            window=window,
            n_steps=n_steps,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
            stop_on_alarm=stop_on_alarm,
            on_fault=on_fault,
            on_step=on_step,
            log=log,
            progress=progress,
        )
        return learn(self, as_learners(model, detector, self, names), settings)

    def windows(self, length: int, every: int = 1) -> Iterator[xr.Dataset]:
        """Iterate over sliding windows.

        Parameters
        ----------
        length : int
            Steps of a window.
        every : int, default=1
            Steps from the start of a window to that of the next.

        Yields
        ------
        xarray.Dataset
            With ``time`` as the first dimension of every variable and ``timestep`` along it. The
            steps of a running simulation are copied where they are, so that it need not wait.

        Examples
        --------
        >>> from dask_exa.inputs import open_stream
        >>> stream = open_stream("tokam2d-hw", shape=(16, 16), rk4_steps_per_frame=2)
        >>> window = next(stream.windows(3))
        >>> window.density.dims, window.timestep.values.tolist()
        (('time', 'y', 'x'), [1, 2, 3])
        """
        check_count("length", length)
        check_count("every", every)
        return slide(self, length, every, is_live=self.is_live)

    def stop(self, reason: str = "") -> None:
        """End the iteration after the current step; the next iteration starts anew.

        Parameters
        ----------
        reason : str
            Kept as `stop_reason`. A simulation that runs elsewhere is told it, and stops too.
        """
        self.stop_reason = reason

    def show(self, **quantities: Any) -> None:
        """Show quantities on the live page of a running simulation; elsewhere nothing happens."""

    def finish(self) -> None:
        """Let the ranks of a running simulation go; elsewhere nothing happens."""

    def __len__(self) -> int:
        if self.n_steps is None:
            raise TypeError(f"the stream of {self.name} has no length; it goes on until stopped.")
        return self.n_steps

    def close(self) -> None:
        """Close the files of the source; a second time does nothing."""
        if not self._is_closed and self._close is not None:
            self._close()
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in self.sizes.items())
        length = "endless" if self.n_steps is None else f"{self.n_steps} steps"
        names = ", ".join(self.variables[:6]) + (", …" if len(self.variables) > 6 else "")
        return f"<Stream {self.name}: {length} of {names} ({sizes})>"

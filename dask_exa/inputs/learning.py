"""Learning a stream: every step in order and once, faults left out, checkpoints on the way."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
import xarray as xr

from dask_exa._parameters import check_choice, check_count
from dask_exa.compose._steps import unchanged_on_error
from dask_exa.inputs.learners import Learner
from dask_exa.inputs.progress import StepProgress
from dask_exa.inputs.residence import bring_home, is_intact, losses
from dask_exa.inputs.run_store import Run, load_run, save_run
from dask_exa.inputs.showing import Showing
from dask_exa.inputs.step_log import LEARNT, describe, logged
from dask_exa.inputs.step_loop import StepLoop
from dask_exa.inputs.windows import copied

ON_FAULT = ("skip", "abort")
MAX_TRIES = 3
"""Losses at one place in a stream before they are raised."""


class StateLostError(RuntimeError):
    """What was learnt went with a worker, and no checkpoint has it."""


class Settings(NamedTuple):
    """Arguments of `dask_exa.inputs.Stream.run`."""

    window: int
    n_steps: int | None
    checkpoint: Any
    checkpoint_every: int
    resume: bool
    stop_on_alarm: bool
    on_fault: str
    on_step: Callable[[xr.Dataset, Run], Any] | None
    log: Any
    progress: bool


def learn(stream: Any, learners: Sequence[Learner], settings: Settings) -> Run:
    """Learn the steps of a stream, see `dask_exa.inputs.Stream.run`."""
    check_count("window", settings.window)
    check_count("checkpoint_every", settings.checkpoint_every)
    check_choice("on_fault", settings.on_fault, ON_FAULT)
    for learner in learners:
        learner.check_window(settings.window)
    started = time.perf_counter()
    total = stream.n_steps if settings.n_steps is None else settings.n_steps
    with StepProgress(Path(stream.name).name, total, is_shown=settings.progress) as line:
        learning = _Learning(stream, learners, settings, line)
        line.note(f"live page: {stream.live_page}" if stream.live_page else "")
        log = logged(stream, settings.log, after=learning.run.last)
        with log, learning.saved_on_error():
            learning.go_through()
        learning.showing.tell()
    stream.finish()
    learning.run.seconds = time.perf_counter() - started
    return learning.run


class _Step(NamedTuple):
    """A step that waits for its window to be full."""

    data: xr.Dataset
    about: dict[str, Any]

    @property
    def timestep(self) -> int:
        return self.about["timestep"]


class _Learning:
    """One run: its record, and the steps that wait for their window."""

    def __init__(
        self, stream: Any, learners: Sequence[Learner], settings: Settings, line: StepProgress
    ) -> None:
        self.stream, self.settings, self.line = stream, settings, line
        self.all = list(learners)
        self.observers = [learner for learner in learners if learner.form == "steps"]
        self.learners = [learner for learner in learners if learner.form != "steps"]
        self.waiting: list[_Step] = []
        self.faults: Counter[int] = Counter()
        self.n_unsaved = 0
        self.showing = Showing(stream, learners)
        self.run = Run()
        self.path = None
        if settings.checkpoint is not None:
            # absolute, as the workers that write it may run elsewhere
            self.path = Path(settings.checkpoint).expanduser().absolute()
            if settings.resume:
                self.run = load_run(self.all, settings.window, self.path) or self.run

    def go_through(self) -> None:
        """Take the steps until something ends the loop, and learn the rest of a window."""
        start, after = self.run.position, self.run.last
        n_steps = self.settings.n_steps
        with StepLoop(self.stream, start=start, n_steps=n_steps, after=after) as loop:
            is_done = False
            while not is_done:
                for step in loop:
                    about = describe(step)
                    with self._recovered(loop, about):
                        self._take(step, about, loop.position)
                    self._report(step, about, loop.position)
                    del step  # a running simulation waits for its buffer
                with self._recovered(loop):
                    is_done = self._end(loop)

    @contextlib.contextmanager
    def saved_on_error(self) -> Iterator[None]:
        """Write a checkpoint before an error goes on to the caller."""
        try:
            yield
        except Exception as error:
            if self.n_unsaved and self.path is not None:
                try:
                    self._save()
                except Exception as other:  # the first one is the one to tell
                    error.add_note(f"The checkpoint before it could not be written: {other}")
            raise

    def _take(self, step: xr.Dataset, about: dict[str, Any], position: int) -> None:
        """Show a step to the models that observe, and learn it once its window is full."""
        step = self._held(step)
        found: list[tuple[str, Any]] = []
        with unchanged_on_error([one.model for one in self.observers]):
            if position > self.run.observed:
                found = [(one.name, one.observe(step)) for one in self.observers]
            self.waiting.append(_Step(step, about))
            if len(self.waiting) >= self.settings.window:
                self._learn(position)
        self.run.observed = max(position, self.run.observed)
        found = [(name, finding) for name, finding in found if finding is not None]
        self.showing.note(about["timestep"], found)
        self._tell([alarm for _, finding in found for alarm in finding.alarms])
        self.showing.show(step, is_learnt=about["timestep"] not in self.run.skipped)
        if self.n_unsaved >= self.settings.checkpoint_every and not self.waiting:
            self._save()

    def _held(self, step: xr.Dataset) -> xr.Dataset:
        """Return a step that is made once for all models, and may be kept for its window."""
        if self.stream.is_live:
            return copied(step) if self.settings.window > 1 else step
        is_shared = len(self.all) > 1 and dask.is_dask_collection(step)
        return step.persist() if is_shared else step

    def _learn(self, position: int) -> None:
        """Learn the steps that wait; those with values that are not finite are left out."""
        last = self.waiting[-1].timestep
        try:
            with unchanged_on_error([one.model for one in self.learners]):
                for one in self.learners:
                    one.learn([step.data for step in self.waiting])
        except (ValueError, FloatingPointError) as error:
            broken = {step.timestep: text for step in self.waiting if (text := self._flaw(step))}
            if not broken or self.settings.on_fault == "abort":
                steps = ", ".join(str(step.timestep) for step in self.waiting)
                error.add_note(f"It was raised while step {steps} was learnt.")
                raise
            self._leave_out(broken)
        else:
            for step in self.waiting:
                self.run.timesteps.append(step.timestep)
                self._write(step.about, LEARNT)
            self.n_unsaved += len(self.waiting)
            self.waiting = []
        if not self.waiting:
            self.run.position, self.run.last = position, last

    def _leave_out(self, broken: dict[int, str]) -> None:
        """Leave broken steps out; the others wait for more to fill their window."""
        for step in self.waiting:
            if step.timestep in broken:
                self._skip(step.about, "skipped", broken[step.timestep])
        self.waiting = [step for step in self.waiting if step.timestep not in broken]

    def _flaw(self, step: _Step) -> str:
        """Return what is wrong with the values of a step, or nothing."""
        wanted = dict.fromkeys(name for one in self.learners for name in one.variables)
        names = [name for name in wanted if name in step.data]
        bad = {name: (~np.isfinite(step.data[name])).sum() for name in names}
        counts = {name: int(n) for name, n in zip(bad, dask.compute(*bad.values()), strict=True)}
        return ", ".join(
            f"{name} has {n} of {step.data[name].size} values that are not finite"
            for name, n in counts.items()
            if n
        )

    @contextlib.contextmanager
    def _recovered(self, loop: StepLoop, about: dict[str, Any] | None = None) -> Iterator[None]:
        """Go on after something was lost with a worker, where that is asked for."""
        try:
            yield
        except losses() as error:
            self.faults[loop.position] += 1
            if self.settings.on_fault == "abort" or self.faults[loop.position] > MAX_TRIES:
                raise
            self._recover(error, about, loop)

    def _recover(self, error: Exception, about: dict[str, Any] | None, loop: StepLoop) -> None:
        """Leave out what was lost, or read it again, with what is left of the state."""
        reason = f"lost with a worker ({type(error).__name__})"
        lost = {step.timestep: step.about for step in self.waiting}
        if about is not None and about["timestep"] != self.run.last:
            lost[about["timestep"]] = about
        self.waiting = []
        # a step that fails twice is left out, so that it is not read for ever
        tries_again = not self.stream.is_live and self.faults[loop.position] == 1
        if not is_intact([one.model for one in self.all]):
            lost = {**self._reload(error, is_replayed=tries_again), **lost}
        if tries_again:
            self.line.warn(f"going back to position {self.run.position}: {reason}")
            loop.rewind(self.run.position)
            return
        for entry in lost.values():
            self._skip(entry, "lost", reason)
        self.run.position, self.run.last = loop.position, max(lost, default=self.run.last)
        self.run.observed = max(self.run.observed, loop.position)

    def _reload(self, error: Exception, *, is_replayed: bool) -> dict[int, dict[str, Any]]:
        """Bring the models back to the last checkpoint; return the steps that they lose by it."""
        before, found = self.run, None
        if self.path is not None:
            # workers of a simulation's ranks may be about to leave: the state comes here
            with dask.config.set(scheduler="threads") if self.stream.is_live else nullcontext():
                found = load_run(self.all, self.settings.window, self.path)
        if found is None:
            raise StateLostError(
                f"what was learnt in {before.n_steps} steps was lost with a worker, and there is "
                "no checkpoint of it; pass checkpoint= to run."
            ) from error
        self.run, self.n_unsaved = found, 0
        if not is_replayed:
            found.skipped, found.alarms = before.skipped, before.alarms
        return {step: {"timestep": step} for step in before.timesteps[found.n_steps :]}

    def _end(self, loop: StepLoop) -> bool:
        """Learn the rest of a window and write the last checkpoint; return whether that is all."""
        is_over = loop.ended_by == "end" or self.stream.is_live
        if not is_over:
            self._save()  # before the rest, so that a resumption can fill the window
        while self.waiting and (is_over or loop.ended_by != "signal"):
            self._learn(loop.position)
        if is_over:
            self._save()
        if self.stream.is_live:
            bring_home([one.model for one in self.all])
        self.run.stop_reason = "signal" if loop.ended_by == "signal" else self.stream.stop_reason
        return True

    def _report(self, step: xr.Dataset, about: dict[str, Any], position: int) -> None:
        """Call back, and move the line on the terminal."""
        if self.settings.on_step is not None and about["timestep"] not in self.run.skipped:
            self.settings.on_step(step, self.run)
        counts = {"left out": len(self.run.skipped), "alarms": len(self.run.alarms)}
        details = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
        self.line.update(position, details)

    def _tell(self, alarms: list[Any]) -> None:
        self.run.alarms.extend(alarms)
        for alarm in alarms:
            self.line.warn(f"ALARM step {alarm.step}: {alarm.reason}")
        if alarms and self.settings.stop_on_alarm:
            self.stream.stop(f"alarm at step {alarms[0].step}: {alarms[0].reason}")

    def _skip(self, about: dict[str, Any], state: str, reason: str) -> None:
        self.run.skipped[about["timestep"]] = reason
        self.line.warn(f"step {about['timestep']} is left out: {reason}")
        self._write(about, state, reason)

    def _write(self, about: dict[str, Any], state: str, reason: str = "") -> None:
        if self.stream.log is not None:
            self.stream.log.write(about, state, reason)

    def _save(self) -> None:
        if self.path is not None:
            save_run(self.run, self.all, self.settings.window, self.path)
            self.n_unsaved = 0

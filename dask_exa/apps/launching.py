"""Processes that belong to a run: started, shown, logged, and ended with it."""

from __future__ import annotations

import collections
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

N_LAST_LINES = 20
GRACE = 10.0
"""Seconds from a request to end to one that is not to be refused."""


class ProcessFailedError(ChildProcessError):
    """A process that belongs to a run ended with an error."""


def rank_command(
    simulation: str, arguments: Sequence[str], n_ranks: int, launcher: str | None = None
) -> list[str]:
    """Return the command that starts the ranks of a simulation.

    Parameters
    ----------
    simulation : str
        A Python script, which runs with the Python of this process; or any other program, such
        as a compiled code that calls Python through PDI.
    arguments : sequence of str
        For the simulation.
    n_ranks : int
    launcher : str, optional
        What starts them, with ``{ranks}`` for their number. Default: ``mpiexec -n {ranks}``, with
        the mpiexec beside this Python, or else the one on the PATH.

    Raises
    ------
    FileNotFoundError
        When there is no such simulation, or no launcher.
    ValueError
        When the launcher does not say where the number of ranks goes.

    Examples
    --------
    >>> command = rank_command("/bin/true", ["-v"], 4, "sh -c 'exec $@' {ranks}")
    >>> command[-3:]
    ['4', '/bin/true', '-v']
    """
    start = _mpiexec(n_ranks) if launcher is None else _launcher(launcher, n_ranks)
    if simulation.endswith(".py"):
        if not Path(simulation).is_file():
            raise FileNotFoundError(f"simulation={simulation!r} is not a file; check the path.")
        return [*start, sys.executable, simulation, *arguments]
    program = shutil.which(simulation)
    if program is None:
        raise FileNotFoundError(
            f"simulation={simulation!r} is neither a Python script nor a program; check the path."
        )
    return [*start, program, *arguments]


def find_mpiexec() -> str | None:
    """Return the path of mpiexec: the one that pip installs beside this Python goes first."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), sysconfig.get_path("scripts")])
    return shutil.which("mpiexec", path=beside) or shutil.which("mpiexec")


def _mpiexec(n_ranks: int) -> list[str]:
    found = find_mpiexec()
    if found is None:
        raise FileNotFoundError(
            "there is no mpiexec beside this Python or on the PATH; run pip install "
            "'dask-exa[mpi]' mpich, load the MPI of this machine, or pass a launcher, such as "
            "--launcher 'srun -n {ranks}'."
        )
    return [found, "-n", str(n_ranks)]


def _launcher(launcher: str, n_ranks: int) -> list[str]:
    if "{ranks}" not in launcher:
        raise ValueError(
            f"launcher={launcher!r} does not say where the number of ranks goes; write "
            "{ranks} there, as in 'srun -n {ranks}'."
        )
    name, *rest = shlex.split(launcher.replace("{ranks}", str(n_ranks)))
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"launcher={launcher!r} starts with {name!r}, which is no program on the PATH."
        )
    return [found, *rest]


@contextlib.contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process as an exception does, so that what it has started ends, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class LoggedProcess(contextlib.AbstractContextManager):
    r"""A process whose output goes to a file and to standard error, and which ends with the block.

    It has a session of its own: Ctrl-C goes to this process alone, which then says in which order
    things end.

    Parameters
    ----------
    label : str
        What it is: the start of every line that is shown, and the name of the file.
    command : sequence of str
    folder : Path
        Gets ``<label>.log`` with all of the output.
    environment : mapping of str to str
        Added to the environment.
    is_shown : bool, default=True

    Attributes
    ----------
    log : Path
    was_ended : bool
        Whether it was told to end by `end`.

    Examples
    --------
    >>> import sys, tempfile
    >>> from pathlib import Path
    >>> command = [sys.executable, "-c", "print('step 1'); raise SystemExit(3)"]
    >>> folder = Path(tempfile.mkdtemp())
    >>> with LoggedProcess("simulation", command, folder, {}, is_shown=False) as process:
    ...     process.wait(), process.log.read_text()
    (3, 'step 1\n')
    """

    def __init__(
        self,
        label: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        is_shown: bool = True,
    ) -> None:
        self.label, self.is_shown, self.was_ended = label, is_shown, False
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{label}.log"
        self._last: collections.deque[str] = collections.deque(maxlen=N_LAST_LINES)
        log = self.log.open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit status, or None when it has not ended in time."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(GRACE)  # what it has left behind may keep its output open
        return status

    def interrupt(self) -> None:
        """Send what Ctrl-C sends, to this process and not to those that it has started."""
        if self.is_running:
            self._process.send_signal(signal.SIGINT)

    def end(self) -> None:
        """End it and all that it has started: by a request, and by force when that takes long."""
        if self.is_running:
            self.was_ended = True
            self._signal(signal.SIGTERM)
            self.wait(GRACE)
            self._signal(signal.SIGKILL)  # those that it has started may have stayed
        self.wait()

    def failure(self) -> str:
        """Return what went wrong; empty while nothing did, and when it was told to end."""
        status = self.wait(0)
        if not status or self.was_ended:
            return ""
        how = f"exit status {status}" if status > 0 else f"signal {_signal_name(-status)}"
        return f"the {self.label} ended with {how}"

    def describe_failure(self) -> str:
        """Return what went wrong, with the last lines of the output."""
        lines = "".join(f"\n  {line}" for line in self._last)
        shown = f" The last lines of {self.log}:{lines}" if lines else " It has printed nothing."
        return f"{self.failure()}.{shown}"

    def __exit__(self, *exc_info: Any) -> None:
        self.end()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(self._process.pid, number)

    def _read(self, log: IO[str]) -> None:
        output: IO[str] | None = self._process.stdout
        assert output is not None  # a pipe
        with log, output:
            for line in output:
                log.write(line)
                log.flush()
                self._last.append(line.rstrip("\n"))
                if self.is_shown:
                    print(f"{self.label} | {line}", end="", file=sys.stderr, flush=True)


def _signal_name(number: int) -> str:
    return signal.Signals(number).name

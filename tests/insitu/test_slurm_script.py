"""ci/slurm.sh: it starts and stops as often as one likes, and says why it cannot."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "ci/slurm.sh"
CANNOT_RUN, NOT_RUNNING, WRONG_CALL = 77, 3, 2


@pytest.fixture
def folder():
    """A folder that all users may enter, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory(prefix="dask-exa-slurm-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def call(*arguments, path=None, **options):
    """Give the script to bash, which also those can do who may not enter the repository."""
    environment = os.environ | ({} if path is None else {"PATH": str(path)})
    return subprocess.run(
        [shutil.which("bash"), "-s", *map(str, arguments)],
        input=SCRIPT.read_text(),
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.slow
def test_it_starts_and_stops_as_often_as_one_likes(slurm, folder):
    """Beside the SLURM of the other tests: ports and folders are its own."""

    def daemons():
        found = subprocess.run(["ps", "ax", "-o", "stat=,args="], capture_output=True, text=True)
        return [line for line in found.stdout.splitlines() if str(folder / "") in line]

    assert call("status", folder).returncode == NOT_RUNNING
    assert call("stop", folder).returncode == 0
    try:
        for _ in range(2):
            first, again = call("start", folder), call("start", folder)
            assert first.returncode == again.returncode == 0, first.stderr + again.stderr
            assert first.stdout == again.stdout == f"export SLURM_CONF={folder}/slurm.conf\n"
            assert len(daemons()) == 6  # munged, slurmctld and four slurmd
            conf = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf"}
            nodes = subprocess.run(
                ["srun", "--nodes=4", "printenv", "SLURMD_NODENAME"],
                env=conf,
                capture_output=True,
                text=True,
                check=True,
            )
            assert sorted(nodes.stdout.split()) == ["n1", "n2", "n3", "n4"]
            subprocess.run(["sbatch", "--wrap=sleep 600", "-o/dev/null"], env=conf, check=True)
            assert call("status", folder).returncode == 0
            assert call("stop", folder).returncode == 0
            assert daemons() == []
    finally:
        call("stop", folder)


@pytest.mark.slurm
def test_without_root_it_says_so(folder):
    found = call("start", folder, user=65534, group=65534, extra_groups=[])
    assert found.returncode == CANNOT_RUN
    assert found.stderr == "slurm.sh: needs root: slurmd runs jobs for other users\n"


@pytest.mark.slurm
@pytest.mark.parametrize("has_apt", [False, True])
def test_without_packages_it_says_so(folder, has_apt):
    """On a PATH without SLURM; apt-get, where there is one, fails as without a network."""
    commands = folder / "bin"
    commands.mkdir()
    for name in ("id", "realpath", "mkdir", "chmod", "rm", "tail", "timeout"):
        (commands / name).symlink_to(shutil.which(name))
    if has_apt:
        (commands / "apt-get").write_text("#!/bin/sh\necho no network\nexit 100\n")
        (commands / "apt-get").chmod(0o755)
    found = call("start", folder / "slurm", path=commands)
    assert found.returncode == CANNOT_RUN
    reason = "which apt-get could not install" if has_apt else "or apt-get to install them"
    assert f"slurm.sh: needs SLURM and munge, {reason}" in found.stderr.splitlines()[-1]
    assert ("no network" in found.stderr) == has_apt


def test_wrong_calls_are_refused(folder):
    for arguments in ((), ("begin",)):
        found = call(*arguments)
        assert found.returncode == WRONG_CALL
        assert found.stderr == "slurm.sh: usage: ci/slurm.sh start|status|stop [FOLDER]\n"

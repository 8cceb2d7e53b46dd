"""Submission with real processes: the environment of a cluster manager's command, and the end of a command that hangs.

Each program gives the replies in its directory one after the other, repeats the last one, and logs its command line.
The consequences of the replies are tested in tests/sim/server/test_batch_launcher.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from spraycc.cluster.driver import Reply
from spraycc.server.fleet.batch_launcher import BatchLauncher
from spraycc.server.fleet.stale_jobs import markers
from spraycc.settings import Settings
from tests.pure.cluster.transcripts import Transcript

PBS = Transcript("openpbs-23.06.06")
OPENLAVA = Transcript("openlava-2.2")

_PROGRAM = """\
#!/bin/sh
name=$(basename "$0"); here=$(dirname "$0")
echo "$name $*" >>"$here/calls"
echo $$ >"$here/$name.pid"
cat >"$here/$name.stdin"
env >"$here/$name.env"
ls -l /proc/$$/fd >"$here/$name.fds"
n=$(cat "$here/$name.next" 2>/dev/null || echo 1)
[ -e "$here/$name.$((n + 1)).status" ] && echo $((n + 1)) >"$here/$name.next"
[ -e "$here/$name.hangs" ] && sleep 600
cat "$here/$name.$n.out"; cat "$here/$name.$n.err" >&2
exit "$(cat "$here/$name.$n.status")"
"""


class Manager:
    """A directory of programs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def program(self, name: str, *replies: Reply) -> None:
        path = self.directory / name
        path.write_text(_PROGRAM)
        path.chmod(0o755)
        for number, reply in enumerate(replies, 1):
            (self.directory / f"{name}.{number}.out").write_bytes(reply.stdout)
            (self.directory / f"{name}.{number}.err").write_bytes(reply.stderr)
            (self.directory / f"{name}.{number}.status").write_text(str(reply.status & 255))

    def calls(self, name: str) -> list[str]:
        path = self.directory / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.split()[0] == name]

    def tag(self, name: str) -> str:
        """The tag in the script of the last submission; empty if there is none yet."""
        path = self.directory / f"{name}.stdin"
        words = path.read_text().partition("--id-from-array ")[2].split() if path.exists() else []
        return words[0] if words else ""


@dataclass
class Told:
    """The launcher's reports."""

    failed: list[tuple[int, float, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    wanted: bool = True


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    made = Manager(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.directory}:/usr/bin:/bin")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "of another batch job")
    return made


def launcher(tmp_path: Path, told: Told, **settings: Any) -> BatchLauncher:
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    values = {"status_interval_s": 1.0, "submit_interval_s": 0.0, "cluster_timeout_s": 5.0, "release_delay_s": 0.2}
    return BatchLauncher(
        Settings(**{**values, **settings}),
        ("executor",),
        state,
        failed=lambda *words: told.failed.append(words),
        say=told.said.append,
        wanted=lambda: told.wanted,
    )


async def until(condition: Callable[[], Any]) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.02)


async def test_a_command_gets_its_streams_and_an_environment_of_its_own_and_nothing_else(
    tmp_path: Path, manager: Manager
) -> None:
    manager.program("qsub", PBS.reply("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10"))
    pending = next(reply for reply in PBS.replies["qstat -t"] if b"10[1].pbsvm" in reply.stdout)
    manager.program("qstat", pending, PBS.reply("qstat 8"))
    manager.program("qselect", Reply(0))
    told = Told()
    it = launcher(tmp_path, told, cluster="pbs")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(3)
        await until(lambda: told.failed)
        assert len(markers(tmp_path / "state")) == 1
        await it.close()
    assert told.failed[0][0] == 3
    (line,) = manager.calls("qsub")
    assert " -J 1-3" in line
    script = (manager.directory / "qsub.stdin").read_text()
    assert script.startswith("#!/bin/sh\n")
    assert "--id-from-array" in script
    environment = (manager.directory / "qsub.env").read_text()
    assert "SECRET_TOKEN" not in environment
    assert "SBATCH_TIMELIMIT" not in environment
    # The three streams; other open descriptors belong to the shell.
    open_files = [line.partition(" -> ")[2] for line in (manager.directory / "qsub.fds").read_text().splitlines()[1:]]
    assert len(open_files) >= 3
    strange = [name for name in open_files if not name.startswith(("/memfd:spraycc-", str(manager.directory)))]
    assert not strange
    assert "qstat -t 10 10[]" in manager.calls("qstat")
    assert markers(tmp_path / "state") == []


async def test_a_submission_that_hangs_is_killed_and_looked_for(tmp_path: Path, manager: Manager) -> None:
    manager.program("bsub", Reply(0))
    (manager.directory / "bsub.hangs").touch()
    nothing = next(reply for reply in OPENLAVA.replies["bjobs"] if reply.status)
    manager.program("bkill", OPENLAVA.reply("bkill 108"))
    told = Told()
    it = launcher(tmp_path, told, cluster="lsf", cluster_timeout_s=1.0)
    listed = OPENLAVA.reply("bjobs -w 108")
    named = Reply(listed.status, listed.stdout.replace(b"spraycc[", f"{it.name}[".encode()))
    manager.program("bjobs", named, nothing)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(5)
        await until(lambda: told.failed)
        pid = int((manager.directory / "bsub.pid").read_text())
        assert not Path(f"/proc/{pid}").exists()
        await it.close()
    assert "bsub did not end within 1 s" in told.failed[0][2]
    assert manager.calls("bkill") == ["bkill 108"]

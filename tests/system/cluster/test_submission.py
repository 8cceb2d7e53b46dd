"""Submission against programs that replay what real PBS and OpenLava printed, and against ones that misbehave.

Each program gives the replies in its directory one after the other, the last one for ever, and notes its command line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from spraycc.cluster.driver import Reply
from spraycc.server.submission import MARKER, Submitter, cancel_leftovers
from spraycc.settings import Settings
from tests.pure.cluster.transcripts import Transcript

PBS = Transcript("openpbs-23.06.06")
OPENLAVA = Transcript("openlava-2.2")

_PROGRAM = """\
#!/bin/sh
name=$(basename "$0"); here=$(dirname "$0")
echo "$name $*" >>"$here/calls"
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
        """The tag in the script that was submitted last; empty before there is one."""
        path = self.directory / f"{name}.stdin"
        words = path.read_text().partition("--id-from-array ")[2].split() if path.exists() else []
        return words[0] if words else ""


@dataclass
class Told:
    """What the submitter reports."""

    failed: list[tuple[int, float, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    wanted: bool = True


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    made = Manager(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.directory}:/usr/bin:/bin")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    monkeypatch.setenv("SBATCH_PARTITION", "of another batch job")
    return made


def submitter(tmp_path: Path, told: Told, **settings: Any) -> Submitter:
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    values = {"status_interval_s": 1.0, "submit_interval_s": 0.0, "cluster_timeout_s": 5.0, "release_delay_s": 0.2}
    return Submitter(
        Settings(**{**values, **settings}),
        ("executor",),
        state,
        failed=lambda *words: told.failed.append(words),
        say=told.said.append,
        wanted=lambda: told.wanted,
    )


async def until(condition: Callable[[], Any]) -> None:
    with trio.fail_after(30):
        while not condition():
            await trio.sleep(0.02)


async def test_pbs_from_submission_to_loss(tmp_path: Path, manager: Manager) -> None:
    manager.program("qsub", PBS.reply("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10"))
    pending = next(reply for reply in PBS.replies["qstat -t"] if b"10[1].pbsvm" in reply.stdout)
    manager.program("qstat", pending, PBS.reply("qstat 8"))
    manager.program("qdel", Reply(0))
    told = Told()
    it = submitter(tmp_path, told, cluster="pbs")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(3)
        await until(lambda: told.failed)
        assert (tmp_path / "state" / MARKER).exists()
        await it.close()
    assert told.failed[0][0] == 3
    (line,) = manager.calls("qsub")
    assert " -J 1-3" in line
    script = (manager.directory / "qsub.stdin").read_text()
    assert script.startswith("#!/bin/sh\n")
    assert "--id-from-array" in script
    environment = (manager.directory / "qsub.env").read_text()
    assert "SECRET_TOKEN" not in environment
    assert "SBATCH_PARTITION" not in environment
    # The three streams; whatever else the shell has open, is its own.
    open_files = [line.partition(" -> ")[2] for line in (manager.directory / "qsub.fds").read_text().splitlines()[1:]]
    assert len(open_files) >= 3
    strange = [name for name in open_files if not name.startswith(("/memfd:spraycc-", str(manager.directory)))]
    assert not strange
    assert "qstat -t 10 10[]" in manager.calls("qstat")
    assert not (tmp_path / "state" / MARKER).exists()


async def test_openlava_half_started(tmp_path: Path, manager: Manager) -> None:
    """One of five runs and has called home; the rest waits, and is cancelled when no build wants it."""
    manager.program(
        "bsub", OPENLAVA.reply(r"printf '#!/bin/sh\nsleep 40\n' | bsub -J 'spraycc[1-5]' -o /dev/null -q normal -W 10")
    )
    manager.program("bjobs", OPENLAVA.reply("bjobs -w 108"))
    manager.program("bkill", OPENLAVA.reply("bkill 108"))
    told = Told()
    it = submitter(tmp_path, told, cluster="openlava")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(5)
        await until(lambda: manager.calls("bjobs"))
        it.connected(f"{manager.tag('bsub')}-1")
        assert not told.failed
        told.wanted = False
        await until(lambda: told.failed)
        await it.close()
    assert told.failed[0][0] == 4
    assert told.failed[0][2] == ""
    assert manager.calls("bkill")[0] == "bkill 108[2-5]"
    assert manager.calls("bkill")[-1] == "bkill 108[1]"  # at the end


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(0, b"\xff\x00 what?\n"), "answered"),
        (PBS.reply("qsub -q nosuch -j oe -o /dev/null -- /bin/true"), "Unknown queue"),
        (Reply(139, b"", b"Segmentation fault\n"), "Segmentation fault"),
    ],
)
async def test_a_submission_that_fails(tmp_path: Path, manager: Manager, reply: Reply, words: str) -> None:
    manager.program("qsub", reply)
    manager.program("qselect", PBS.reply("qsub -N spraycc -j oe -o /dev/null -- /bin/sleep 25"))  # ``3.pbsvm``
    manager.program("qdel", Reply(0))
    told = Told()
    it = submitter(tmp_path, told, cluster="pbs")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(2)
        await until(lambda: told.failed)
        await it.close()
    assert told.failed[0][0] == 2
    assert words in told.failed[0][2]
    # What answered with garbage may have taken it all the same, so it is looked for by name.
    assert ("qdel 3" in manager.calls("qdel")) is (words == "answered")


async def test_a_submission_that_hangs_is_killed_and_looked_for(tmp_path: Path, manager: Manager) -> None:
    manager.program("bsub", Reply(0))
    (manager.directory / "bsub.hangs").touch()
    manager.program("bjobs", OPENLAVA.reply("bjobs -w 108"))
    manager.program("bkill", OPENLAVA.reply("bkill 108"))
    told = Told()
    it = submitter(tmp_path, told, cluster="lsf", cluster_timeout_s=1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(5)
        await until(lambda: told.failed)
        await it.close()
    assert "bsub did not end within 1 s" in told.failed[0][2]
    assert manager.calls("bkill") == ["bkill 108"]


async def test_a_listing_of_garbage_fails_nobody(tmp_path: Path, manager: Manager) -> None:
    manager.program("qsub", PBS.reply("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10"))
    manager.program("qstat", Reply(0, b"<html>proxy</html>"), PBS.replies["qstat"][-1])
    manager.program("qdel", Reply(0))
    told = Told()
    it = submitter(tmp_path, told, cluster="pbs")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(3)
        await until(lambda: len(manager.calls("qstat")) >= 3)
        assert not told.failed
        await it.close()
    assert manager.calls("qdel") == ["qdel 10[1-3]"]


async def test_keep_pending(tmp_path: Path, manager: Manager) -> None:
    """Where two of three have called home two more are submitted, even if they were faster than the answer to qsub."""
    manager.program("qsub", PBS.reply("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10"))
    manager.program("qdel", Reply(0))
    told = Told()
    it = submitter(tmp_path, told, cluster="pbs", keep_pending=3, status_interval_s=600.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(9)
        await until(lambda: manager.tag("qsub"))
        it.connected(f"{manager.tag('qsub')}-1")
        it.connected(f"{manager.tag('qsub')}-2")
        await until(lambda: len(manager.calls("qsub")) == 2)
        assert [line.partition(" -J ")[2].split()[0] for line in manager.calls("qsub")] == ["1-3", "1-2"]
        await it.close()
    assert not told.failed


async def test_left_overs_are_cancelled_by_name(tmp_path: Path, manager: Manager) -> None:
    manager.program("qsub", PBS.reply("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10"))
    told = Told()
    it = submitter(tmp_path, told, cluster="pbs")
    state = tmp_path / "state"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(3)
        await until(lambda: it.processes == 3 and manager.calls("qsub"))
        nursery.cancel_scope.cancel()  # and nothing is cleared away, as after SIGKILL
    name = manager.calls("qsub")[0].split(" -N ")[1].split()[0]
    manager.program("qselect", PBS.reply("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10"))
    manager.program("qdel", Reply(0))
    assert await cancel_leftovers(Settings(), state) == 1
    assert manager.calls("qselect")[0].endswith(f" -N {name}")
    assert manager.calls("qdel") == ["qdel 10[]"]
    assert await cancel_leftovers(Settings(), state) == 0


async def test_what_has_not_started_is_withdrawn_in_mid_build(tmp_path: Path, manager: Manager) -> None:
    """And a batch job stays of which one executor is here, though its other one is still on the way."""
    manager.program("qsub", PBS.reply("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10"))
    manager.program("qdel", Reply(0))
    told = Told()
    it = submitter(tmp_path, told, cluster="pbs", status_interval_s=600.0, cpus_per_executor=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        it.ask(6)
        await until(lambda: manager.tag("qsub"))
        it.connected(f"{manager.tag('qsub')}-2.1")
        it.withdraw()
        await until(lambda: told.failed)
        assert manager.calls("qdel") == ["qdel 10[1] 10[3]"]
        ((count, wait_s, text),) = told.failed
        assert (count, text) == (5, "")
        assert wait_s == pytest.approx(0.001)
        told.wanted = False
        it.connected(f"{manager.tag('qsub')}-2.2")
        await it.close()
    assert manager.calls("qdel")[1:] == ["qdel 10[2]"]


async def test_a_fault_in_a_step_costs_the_step(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executors that were asked for are reported as failed, and the next are asked for in the ordinary way."""
    told = Told()
    under_test = submitter(tmp_path, told, cluster="pbs")

    async def fail(count: int) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(under_test, "_submit", fail)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(under_test.run)
        under_test.ask(3)
        await until(lambda: told.failed)
        assert told.failed[0][0] == 3
        assert under_test.processes == 0
        nursery.cancel_scope.cancel()

"""Batch jobs at a server's end, and those that a server has left: cancelled now or later, and noted until then."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import trio

from spraycc.cluster.driver import ClusterError, Reply, Trouble
from spraycc.server.fleet import batch_commands, stale_jobs
from spraycc.server.fleet.batch_commands import LISTED_S
from spraycc.server.fleet.batch_launcher import CLOSE_S
from spraycc.server.fleet.stale_jobs import StaleJobs, cancel_stale_jobs, markers
from spraycc.settings import Settings
from tests.sim.server.batch_world import TIMEOUT_S, World, running
from tests.sim.server.fake_clusters import Array, Element, FakeSlurm, Hang, TakenAndHang
from tests.sim.server.fake_clusters import sbatch_failure as failure

FORMAT = "--format=%i|%F|%K|%A|%t|%T|%r"


# -- the end


async def test_at_the_end_all_batch_jobs_are_cancelled(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(1)
        world.connect(1)
        (marker,) = world.markers
        assert stat.S_IMODE(marker.stat().st_mode) == 0o600
        await world.launcher.close()
        assert slurm.lines("scancel") == ["scancel 10_[1-3]"]
        assert slurm.listed() == {}
        assert world.markers == []
        assert len(slurm.lines("squeue")) == 1  # none is left
        await world.launcher.close()
        assert len(slurm.lines("scancel")) == 1


@pytest.mark.parametrize("what", ["no answer to a submission", "garbage", "no answer to a cancellation"])
async def test_at_the_end_what_is_unknown_is_found_by_name(tmp_path: Path, what: str) -> None:
    slurm = FakeSlurm()
    if what == "garbage":
        slurm.fault("sbatch", Reply(0, b"\xff\x00 what?\n"))
    else:
        program = "sbatch" if what.endswith("submission") else "scancel"
        slurm.fault(program, TakenAndHang() if program == "sbatch" else Hang())
    async with running(slurm, tmp_path) as world:
        if what == "garbage":
            slurm.arrays["10"] = Array(world.launcher.name, "", {i: Element() for i in (1, 2, 3)})
        world.launcher.ask(3)
        await trio.sleep(TIMEOUT_S + 1)
        if what.endswith("cancellation"):
            world.launcher.withdraw()
            await trio.sleep(TIMEOUT_S + 1)
        assert slurm.listed() == {"10": [1, 2, 3]}
        await world.launcher.close()
        assert slurm.listed() == {}
        assert f"--{world.name_option}" in slurm.lines("squeue")[-1]
        assert world.markers == []


async def test_at_the_end_a_submission_under_way_is_looked_for_too(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.fault("sbatch", TakenAndHang())
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(1)
        assert slurm.listed() == {"10": [1, 2, 3]}
        await world.launcher.close()
        assert slurm.listed() == {}
        assert world.markers == []


async def test_at_the_end_a_cancellation_under_way_is_made_again(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.fault("scancel", Hang())
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(1)
        world.launcher.withdraw()
        await trio.sleep(1)
        await world.launcher.close()
        assert slurm.lines("scancel") == ["scancel 10_[1-3]"] * 2
        assert slurm.listed() == {}


@pytest.mark.parametrize(
    ("program", "answers", "took_s"),
    [
        ("scancel", [Hang()], CLOSE_S),
        ("scancel", [ClusterError(Trouble.NO_COMMAND, "scancel: gone")], FakeSlurm.latency_s),
        ("scancel", [failure("Unable to contact slurm controller")], FakeSlurm.latency_s),
        ("squeue", [failure("Unable to contact slurm controller")], 2 * FakeSlurm.latency_s),
        ("scancel", [Reply(0)] * 20, LISTED_S),  # as if it had done its work
    ],
    ids=["hangs", "no command", "unreachable", "not listed", "in vain"],
)
async def test_what_can_not_be_cancelled_at_the_end_leaves_its_marker(
    tmp_path: Path, program: str, answers: list[Any], took_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    slurm = FakeSlurm()
    slurm.fault(program, *answers)
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(1)
        began = trio.current_time()
        await world.launcher.close()
        assert took_s <= trio.current_time() - began <= took_s + 4
        (marker,) = world.markers
        assert f"batch jobs may be left; {marker} says which" in caplog.text
    slurm.faults.clear()
    assert await cancel_stale_jobs(marker, slurm.run) == (1 if program == "scancel" else 0)
    assert slurm.listed() == {}


async def test_a_second_close_changes_nothing(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.fault("scancel", Hang())
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.launcher.close)
            nursery.start_soon(world.launcher.close)
        assert len(slurm.lines("scancel")) == 1


async def test_what_is_listed_for_a_while_after_its_end_is_waited_for(tmp_path: Path) -> None:
    """OpenPBS lists a cancelled batch job that ran as running for ten seconds more."""
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(1)
        await trio.sleep(1)
        line = b"10_1|10|1|10|R|RUNNING|None\n"
        slurm.fault("squeue", *[Reply(0, line)] * 3)
        await world.launcher.close()
        assert len(slurm.lines("squeue")) == 4
        assert world.markers == []


async def test_nothing_is_cancelled_where_nothing_was_submitted(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        await world.launcher.close()
    assert slurm.calls == []


async def test_without_a_place_for_the_marker_batch_jobs_are_submitted_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.state_dir.rmdir()
        world.launcher.ask(1)
        await trio.sleep(1)
        assert slurm.listed() == {"10": [1]}
        assert "batch-jobs-" in caplog.text


# -- left by an earlier server


async def kill_with_three_pending(slurm: FakeSlurm, tmp_path: Path) -> World:
    """Kills a server while three batch jobs are pending."""
    async with running(slurm, tmp_path, cluster_timeout_s=7.0) as world:
        world.launcher.ask(3)
        await trio.sleep(1)
    assert slurm.listed() == {"10": [1, 2, 3]}
    return world


@asynccontextmanager
async def next_server(slurm: FakeSlurm, tmp_path: Path, said: list[str]) -> AsyncIterator[World]:
    """The next server of the state directory: it looks for what was left, and has a launcher."""
    stale = StaleJobs(tmp_path / "state", said.append, slurm.run)
    async with running(slurm, tmp_path) as world, trio.open_nursery() as nursery:
        nursery.start_soon(stale.cancel)
        yield world
        nursery.cancel_scope.cancel()


async def test_the_next_server_cancels_what_a_killed_one_has_left(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    await kill_with_three_pending(slurm, tmp_path)
    said: list[str] = []
    async with next_server(slurm, tmp_path, said) as world:
        await trio.sleep(1)
        assert slurm.listed() == {}
        assert said == ["cancelled batch jobs that an earlier server had left in the cluster (1)"]
        assert world.markers == []


async def test_its_own_batch_jobs_are_not_those_of_an_earlier_server(tmp_path: Path) -> None:
    """An array that was left can never connect to this server, even if a submission of this server was not answered."""
    slurm = FakeSlurm()
    await kill_with_three_pending(slurm, tmp_path)
    slurm.fault("squeue", *[failure("Unable to contact slurm controller")])
    slurm.fault("sbatch", Hang())
    async with next_server(slurm, tmp_path, []) as world:
        world.launcher.ask(3)
        await trio.sleep(TIMEOUT_S - 5)
        assert slurm.listed() == {"10": [1, 2, 3]}
        await trio.sleep(6)
        world.launcher.ask(3)
        await trio.sleep(5)
        assert world.launcher.submission_ids() == ["11"]
        assert slurm.listed() == {"11": [1, 2, 3]}


async def test_left_overs_are_cancelled_as_they_were_submitted_whatever_the_settings_say_now(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    world = await kill_with_three_pending(slurm, tmp_path)
    (marker,) = world.markers
    assert await cancel_stale_jobs(marker, slurm.run) == 1
    assert slurm.lines("squeue")[0].count(f"--{world.name_option}") == 1
    assert slurm.lines("scancel") == ["scancel 10"]
    assert world.markers == []


@pytest.mark.parametrize("program", ["squeue", "scancel"])
async def test_left_overs_that_can_not_be_cancelled_now_are_cancelled_later_and_hold_nobody_up(
    tmp_path: Path, program: str
) -> None:
    slurm = FakeSlurm()
    (marker,) = (await kill_with_three_pending(slurm, tmp_path)).markers
    slurm.fault(program, *[failure("Unable to contact slurm controller")] * 2)
    said: list[str] = []
    async with next_server(slurm, tmp_path, said) as world:
        world.launcher.ask(2)
        await trio.sleep(1)
        world.connect(1, 2)
        await trio.sleep(stale_jobs.RETRY_S + 5)
        (told,) = said
        assert told.startswith("batch jobs of an earlier server may be left in the cluster: Slurm can't be reached")
        assert told.endswith("(SprayCC tries again)")
        assert slurm.listed() == {"10": [1, 2, 3], "11": [1, 2]}
        assert marker in world.markers
        await trio.sleep(stale_jobs.RETRY_S)
        assert slurm.listed() == {"11": [1, 2]}
        assert marker not in world.markers


async def test_left_overs_that_were_not_found_keep_their_marker_at_the_end(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    (marker,) = (await kill_with_three_pending(slurm, tmp_path)).markers
    slurm.fault("squeue", failure("Unable to contact slurm controller"))
    async with next_server(slurm, tmp_path, []) as world:
        world.launcher.ask(1)
        await trio.sleep(1)
        await world.launcher.close()
        assert world.markers == [marker]
    assert await cancel_stale_jobs(marker, slurm.run) == 1


async def test_without_the_cluster_managers_programs_it_does_not_try_again(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    await kill_with_three_pending(slurm, tmp_path)
    slurm.fault("squeue", *[ClusterError(Trouble.NO_COMMAND, "squeue: No such file or directory")] * 9)
    said: list[str] = []
    async with next_server(slurm, tmp_path, said) as world:
        await trio.sleep(5 * stale_jobs.RETRY_S)
        assert len(slurm.lines("squeue")) == 1
        assert len(world.markers) == 1
    assert said[0].endswith("(`spraycc server stop --force` tries again)")


async def test_a_fault_of_ours_in_the_look_for_left_overs_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> int:
        raise RuntimeError("a fault of ours")

    slurm = FakeSlurm()
    await kill_with_three_pending(slurm, tmp_path)
    monkeypatch.setattr(stale_jobs, "cancel_stale_jobs", fail)
    async with next_server(slurm, tmp_path, []) as world:
        world.launcher.ask(2)
        await trio.sleep(2)
        assert slurm.listed() == {"10": [1, 2, 3], "11": [1, 2]}
        assert "a fault of ours" in caplog.text


async def test_launchers_of_one_server_leave_each_others_batch_jobs_alone(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as first, running(slurm, tmp_path) as second:
        first.launcher.ask(2)
        slurm.fault("sbatch", TakenAndHang())
        await trio.sleep(1)
        second.launcher.ask(1)
        await trio.sleep(TIMEOUT_S + 1)
        first.launcher.ask(2)
        await trio.sleep(5)
        assert slurm.listed() == {"10": [1, 2], "11": [1]}
        await second.launcher.close()
        assert slurm.listed() == {"10": [1, 2]}
        assert len(first.markers) == 1


@pytest.mark.parametrize(
    ("content", "searched"),
    [
        ("", False),
        ("[1, 2", False),
        (json.dumps([]), False),
        (json.dumps({"name": "x"}), False),
        (json.dumps({"name": "x", "settings": None}), False),
        (json.dumps({"name": "x", "settings": asdict(Settings(cluster="local"))}), False),
        (json.dumps({"name": "x", "settings": {"cluster": "slurm", "of_a_later_version": 1}}), True),
    ],
)
async def test_a_marker_of_whatever_content_is_no_fault(tmp_path: Path, content: str, searched: bool) -> None:
    slurm = FakeSlurm()
    marker = tmp_path / "batch-jobs.json"  # as older releases named it
    marker.write_text(content)
    assert markers(tmp_path) == [marker]
    assert await cancel_stale_jobs(marker, slurm.run) == 0
    assert slurm.lines("squeue") == (
        [f"squeue --all --user={batch_commands.user_name()} --name=x {FORMAT}"] if searched else []
    )
    assert markers(tmp_path) == []


async def test_a_marker_that_can_not_be_read_now_stays(tmp_path: Path) -> None:
    marker = tmp_path / "batch-jobs-abc123.json"
    marker.mkdir()  # a file that reports an error, to root as well
    with pytest.raises(ClusterError, match="Is a directory"):
        await cancel_stale_jobs(marker, FakeSlurm().run)
    assert markers(tmp_path) == [marker]

"""Batch jobs, submitted and watched on the virtual clock: the commands, their times, and the reports to the server."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from spraycc.cluster.batch_jobs import CONNECT_S, EXPLAIN_S, LINGER_S, VANISHED_RETRY_S
from spraycc.cluster.driver import RETRY_S, ClusterError, Reply, Trouble
from spraycc.cluster.submission_plan import FIRST_LOOK_S, RETRY_AFTER_WITHDRAWAL_S
from spraycc.server.fleet import batch_commands
from spraycc.server.fleet.stale_jobs import cancel_stale_jobs
from spraycc.server.host.supervise import PAUSE_S
from tests.pure.cluster.transcripts import Transcript
from tests.sim.server.batch_world import TIMEOUT_S, arrays, queues, running
from tests.sim.server.fake_clusters import FakeSlurm, Hang, Replays, TakenAndHang
from tests.sim.server.fake_clusters import sbatch_failure as failure

PBS = Transcript("openpbs-23.06.06")
OPENLAVA = Transcript("openlava-2.2")
PBS_ARRAY = PBS.reply("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10")
EMPTY_LISTING = Reply(0, b"JOBID|ARRAY_JOB_ID|ARRAY_TASK_ID|JOBID|ST|STATE|REASON\n")
#: The defaults of the settings. The tests' times are based on them.
STATUS_S, SUBMIT_S, RELEASE_S, PATIENCE_S = 15.0, 1.0, 60.0, 30.0

#: After a withdrawal the scheduler may ask again when these seconds are over.
AT_ONCE_S = RETRY_AFTER_WITHDRAWAL_S


# -- asked for, and submitted


async def test_executors_are_one_array(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        assert world.launcher.processes == 3
        await trio.sleep(1)
        assert slurm.listed() == {"10": [1, 2, 3]}
        assert world.launcher.submission_ids() == ["10"]
        assert world.launcher.processes == 3
        (call,) = slurm.calls
        assert call.stdin.startswith(b"#!/bin/sh\n")
        assert b"exec executor --id-from-array " in call.stdin
        assert f"--job-{world.name_option}" in call.argv
        assert world.failed == []


async def test_the_cluster_managers_commands_see_nothing_of_the_environment_that_is_not_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "of another batch job")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(1)
        await trio.sleep(1)
        assert slurm.calls[0].env["SLURM_CONF"] == "/etc/slurm.conf"
        assert not {"SECRET_TOKEN", "SBATCH_TIMELIMIT"} & set(slurm.calls[0].env)


async def test_more_that_are_asked_for_are_submitted_after_the_interval(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        for _ in range(3):
            world.launcher.ask(2)
            await trio.sleep(0.1)
        await trio.sleep(10)
        assert arrays(slurm) == [2, 4]
        # The interval lasts from one answer to the start of the next command.
        assert slurm.times("sbatch") == [0.0, slurm.latency_s + SUBMIT_S]


async def test_arrays_are_no_larger_than_the_settings_say(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path, array_limit=4) as world:
        world.launcher.ask(10)
        await trio.sleep(10)
        assert arrays(slurm) == [4, 4, 2]


async def test_batch_jobs_with_several_cpus_are_as_few_as_will_do(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path, cpus_per_executor=4) as world:
        world.launcher.ask(10)
        await trio.sleep(2)
        assert arrays(slurm) == [3]
        assert world.launcher.processes == 12
        for copy in (1, 2, 3, 4):
            world.connect(1, 2, copy=copy)
        assert slurm.times("squeue") == []
        await trio.sleep(STATUS_S)
        assert len(slurm.times("squeue")) == 1  # the third executor is still pending


async def test_an_array_that_is_too_large_is_halved_until_it_is_taken(tmp_path: Path) -> None:
    slurm = FakeSlurm(most=3)
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(10)
        await trio.sleep(20)
        assert arrays(slurm) == [10, 5, 2, 2, 2, 2, 2]
        assert sum(map(len, slurm.listed().values())) == 10
        assert world.failed == []


async def test_keep_pending_bounds_what_waits(tmp_path: Path) -> None:
    """When two of three executors have connected, two more are submitted, even if they connect before sbatch answers."""
    slurm = FakeSlurm()
    async with running(slurm, tmp_path, keep_pending=3) as world:
        world.launcher.ask(9)
        await trio.sleep(slurm.latency_s / 2)
        world.connect(1, 2)
        await trio.sleep(10)
        assert arrays(slurm) == [3, 2]
        world.connect(3, number=0)
        await trio.sleep(10)
        assert arrays(slurm) == [3, 2, 1]
        assert world.failed == []


async def test_shared_queues_get_a_part_each_in_turn(tmp_path: Path) -> None:
    slurm = FakeSlurm(partitions=["a", "b", "c"])
    async with running(slurm, tmp_path, queues=("a", "b", "c"), queue_use="share") as world:
        world.launcher.ask(10)
        await trio.sleep(10)
        assert list(zip(queues(slurm), arrays(slurm), strict=True)) == [("a", 4), ("b", 3), ("c", 3)]
        world.launcher.ask(1)
        await trio.sleep(10)
        assert queues(slurm)[3:] == ["a"]


async def test_where_a_queue_refuses_the_next_one_is_asked_at_once(tmp_path: Path) -> None:
    slurm = FakeSlurm(partitions=["slow"])
    async with running(slurm, tmp_path, queues=("fast", "slow")) as world:
        world.launcher.ask(2)
        await trio.sleep(5)
        assert queues(slurm) == ["fast", "slow"]
        assert slurm.listed() == {"10": [1, 2]}
        assert world.failed == []


# -- refused


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (failure("invalid partition specified: nosuch"), Trouble.REFUSED, "correct `queues`"),
        (failure("Unable to contact slurm controller"), Trouble.UNREACHABLE, "SprayCC tries again"),
        (Reply(0, b"\xff\x00 what?\n"), Trouble.GARBLED, "answered"),
        (Reply(139, b"", b"Segmentation fault\n"), Trouble.UNREACHABLE, "signal 11 ended the command (Segmentation fault)"),
        (ClusterError(Trouble.NO_COMMAND, "sbatch: No such file or directory"), Trouble.NO_COMMAND, "is this a submit host"),
        (Hang(), Trouble.UNREACHABLE, "sbatch did not end within 60 s"),
    ],
    ids=["refused", "unreachable", "garbled", "crashed", "no command", "hangs"],
)  # fmt: skip
async def test_a_submission_that_fails_is_reported_with_the_time_to_the_next(
    tmp_path: Path, answer: Any, kind: Trouble, words: str
) -> None:
    slurm = FakeSlurm()
    slurm.fault("sbatch", answer)
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(2)
        await trio.sleep(TIMEOUT_S + 1)
        ((count, retry_s, text),) = world.failed
        assert (count, retry_s) == (2, RETRY_S[kind])
        assert words in text
        assert world.launcher.processes == 0
        assert arrays(slurm) == [2]  # the server decides when to ask again
        world.launcher.ask(2)
        await trio.sleep(10)
        assert slurm.listed() == {"10": [1, 2]}


async def test_a_single_batch_job_that_is_too_large_is_refused(tmp_path: Path) -> None:
    slurm = FakeSlurm(most=0)
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(4)
        await trio.sleep(20)
        assert arrays(slurm) == [4, 2, 1]
        ((count, retry_s, text),) = world.failed
        assert (count, retry_s) == (4, RETRY_S[Trouble.TOO_LARGE])
        assert "array_limit" in text


async def test_all_queues_refusals_are_told_and_the_mildest_says_when_to_try_again(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.fault("sbatch", failure("invalid partition specified: nosuch"), failure("Unable to contact slurm controller"))
    async with running(slurm, tmp_path, queues=("a", "b")) as world:
        world.launcher.ask(2)
        await trio.sleep(5)
        ((count, retry_s, text),) = world.failed
        assert (count, retry_s) == (2, RETRY_S[Trouble.UNREACHABLE])
        assert "nosuch" in text
        assert "Unable to contact slurm controller" in text


# -- submissions that were not answered


async def test_what_was_taken_without_an_answer_is_not_submitted_twice(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.fault("sbatch", TakenAndHang())
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(TIMEOUT_S + 1)
        assert world.failed[0][:2] == (3, RETRY_S[Trouble.UNREACHABLE])
        world.launcher.ask(3)
        await trio.sleep(1)
        assert arrays(slurm) == [3]
        assert slurm.lines("squeue")[0].count(f"--{world.name_option}") == 1
        assert world.launcher.submission_ids() == ["10"]
        # The tag of the submission identifies its executors.
        world.connect(1, 2, 3)
        await trio.sleep(10 * STATUS_S)
        assert len([line for line in slurm.lines("squeue") if "--name=" in line]) == 1
        assert len(world.failed) == 1


async def test_what_was_taken_without_an_answer_is_cancelled_when_no_build_wants_it(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.fault("sbatch", TakenAndHang())
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(TIMEOUT_S + 1)
        world.wanted = False
        assert slurm.listed() == {"10": [1, 2, 3]}
        await trio.sleep(RELEASE_S + 5)
        assert slurm.listed() == {}
        assert len(world.failed) == 1
        count = len(slurm.calls)
        await trio.sleep(3600)
        assert len(slurm.calls) == count


async def test_what_was_not_taken_is_submitted_again(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.fault("sbatch", Hang())
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(TIMEOUT_S + 1)
        world.launcher.ask(3)
        await trio.sleep(1)
        assert arrays(slurm) == [3, 3]
        world.launcher.ask(1)
        await trio.sleep(5)
        assert ["--name=" in line for line in slurm.lines("squeue")] == [True, False]  # one search, one early look


async def test_of_several_that_may_have_been_taken_none_is_kept(tmp_path: Path) -> None:
    """The launcher can't tell which submission was which. It keeps those that were answered."""
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(1)
        await trio.sleep(5)
        slurm.fault("sbatch", TakenAndHang(), TakenAndHang())
        slurm.fault("squeue", *[failure("Unable to contact slurm controller")] * 20)
        for _ in range(2):
            world.launcher.ask(2)
            await trio.sleep(TIMEOUT_S + 5)
        assert sorted(slurm.listed()) == ["10", "11", "12"]
        slurm.faults["squeue"].clear()
        world.launcher.ask(2)
        await trio.sleep(5)
        assert slurm.lines("scancel") == ["scancel 11 12"]
        assert sorted(slurm.listed()) == ["10", "13"]


async def test_where_it_can_not_be_looked_for_it_is_submitted_all_the_same(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.fault("sbatch", Hang())
    slurm.fault("squeue", failure("Unable to contact slurm controller"))
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(TIMEOUT_S + 1)
        world.launcher.ask(3)
        await trio.sleep(1)
        assert slurm.listed() == {"10": [1, 2, 3]}


async def test_batch_jobs_that_no_listing_contains_are_not_left_behind(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        slurm.fault("squeue", EMPTY_LISTING)
        world.launcher.ask(2)
        await trio.sleep(STATUS_S)
        assert world.failed == [(2, VANISHED_RETRY_S, world.ended_early(2))]
        assert slurm.lines("scancel") == ["scancel 10_[1-2]"]
        assert slurm.listed() == {}


async def test_batch_jobs_in_a_hidden_partition_are_listed_and_found(tmp_path: Path) -> None:
    slurm = FakeSlurm(partitions=["secret"])
    slurm.hidden = frozenset(["secret"])
    async with running(slurm, tmp_path, queues=("secret",)) as world:
        world.launcher.ask(2)
        await trio.sleep(3 * STATUS_S)
        assert [(it["batch_jobs"], it["reason"]) for it in world.launcher.pending()] == [(2, "Resources")]
        assert world.failed == []
        slurm.fault("sbatch", TakenAndHang())
        world.launcher.ask(1)
        await trio.sleep(TIMEOUT_S + 1)
        world.launcher.ask(1)
        await trio.sleep(5)
        assert world.launcher.submission_ids() == ["10", "11"]
        assert arrays(slurm) == [2, 1]


# -- a further queue


async def test_a_queue_that_starts_nothing_has_the_next_one_asked_and_loses_what_is_not_needed(tmp_path: Path) -> None:
    slurm = FakeSlurm(partitions=["fast", "slow"])
    async with running(slurm, tmp_path, queues=("fast", "slow")) as world:
        world.launcher.ask(4)
        await trio.sleep(1)
        slurm.start("10", 1)
        world.connect(1)
        await trio.sleep(PATIENCE_S + 1)
        assert list(zip(queues(slurm), arrays(slurm), strict=True)) == [("fast", 4), ("slow", 3)]
        assert slurm.times("sbatch")[1] == pytest.approx(slurm.latency_s + PATIENCE_S)
        assert [text for text in world.said if "slow" in text] == [
            "Slurm: nothing has started in fast for 30 s, so slow is asked too"
        ]
        slurm.start("11", 1, 2)
        world.connect(1, 2)
        await trio.sleep(1)
        # Three executors are connected, and one is still needed: the last batch jobs of both queues are cancelled.
        assert slurm.listed() == {"10": [1, 2], "11": [1, 2, 3]}
        world.connect(3)
        await trio.sleep(1)
        assert slurm.listed() == {"10": [1], "11": [1, 2, 3]}
        assert world.failed == []


async def test_a_next_queue_that_refuses_leaves_what_waits_and_is_asked_again_later(tmp_path: Path) -> None:
    slurm = FakeSlurm(partitions=["fast"])
    async with running(slurm, tmp_path, queues=("fast", "slow")) as world:
        world.launcher.ask(2)
        await trio.sleep(PATIENCE_S + 5)
        assert queues(slurm) == ["fast", "slow"]
        assert slurm.listed() == {"10": [1, 2]}
        (text,) = [text for text in world.said if "still waits" in text]
        assert "correct `queues`" in text
        await trio.sleep(RETRY_S[Trouble.REFUSED])
        assert queues(slurm) == ["fast", "slow", "slow"]
        assert len([text for text in world.said if "still waits" in text]) == 1
        assert world.failed == []


async def test_an_unanswered_submission_is_looked_for_before_the_next_queue_is_asked(tmp_path: Path) -> None:
    slurm = FakeSlurm(partitions=["fast", "slow"])
    async with running(slurm, tmp_path, queues=("fast", "slow"), status_interval_s=600.0) as world:
        world.launcher.ask(2)
        await trio.sleep(PATIENCE_S - 5)
        slurm.fault("sbatch", TakenAndHang())
        world.launcher.ask(1)
        await trio.sleep(3 * TIMEOUT_S)
        name = f"--{world.name_option}"
        done = [(call.argv[0], name in call.argv) for call in slurm.calls]
        assert done.pop(1) == ("squeue", False)  # the early look
        assert done == [("sbatch", False)] * 2 + [("squeue", True), ("sbatch", False), ("scancel", False)]
        # The launcher adopts what it finds. Its executor was reported as failed, so nobody has asked for it again.
        assert slurm.lines("scancel") == ["scancel 11_[1]"]
        assert slurm.listed() == {"10": [1, 2], "12": [1, 2]}


async def test_those_that_wait_elsewhere_too_are_not_reported_when_they_end_early(tmp_path: Path) -> None:
    """The request in the other queue may still start."""
    slurm = FakeSlurm(partitions=["fast", "slow"])
    async with running(slurm, tmp_path, queues=("fast", "slow")) as world:
        world.launcher.ask(2)
        await trio.sleep(PATIENCE_S + 5)
        assert slurm.listed() == {"10": [1, 2], "11": [1, 2]}
        slurm.end("11", 1, 2)
        await trio.sleep(2 * STATUS_S)
        assert world.failed == []
        assert any("ended before connecting to the server" in text for text in world.said)
        # The slow queue was asked again when its time came.
        assert slurm.listed() == {"10": [1, 2], "12": [1, 2]}
        slurm.end("10", 1, 2)
        await trio.sleep(2 * STATUS_S)
        assert world.failed == []
        slurm.end("12", 1, 2)
        await trio.sleep(2 * STATUS_S)
        # The third report of this kind: each one doubles the pause.
        assert world.failed == [(2, 4 * VANISHED_RETRY_S, world.ended_early(2))]


# -- listed


async def test_executors_that_are_connected_need_no_listing(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(2)
        await trio.sleep(1)
        world.connect(1, 2)
        await trio.sleep(3600)
        assert slurm.lines("squeue") == []


async def test_what_has_not_connected_is_listed_at_the_interval_and_its_reason_known(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(2)
        await trio.sleep(3.5 * STATUS_S)
        first = slurm.latency_s + FIRST_LOOK_S
        step = slurm.latency_s + STATUS_S
        assert slurm.times("squeue") == pytest.approx([first, first + step, first + 2 * step, first + 3 * step])
        assert [(it["batch_jobs"], it["reason"]) for it in world.launcher.pending()] == [(2, "Resources")]
        slurm.explain("10", "Priority")
        await trio.sleep(2 * STATUS_S)
        assert [(it["batch_jobs"], it["reason"]) for it in world.launcher.pending()] == [(2, "Priority")]
        assert world.said == []


async def test_what_can_never_start_is_cancelled_and_reported(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(2)
        await trio.sleep(1)
        slurm.explain("10", "PartitionTimeLimit")
        await trio.sleep(STATUS_S + 1)
        ((count, retry_s, text),) = world.failed
        assert (count, retry_s) == (2, RETRY_S[Trouble.REFUSED])
        assert "PartitionTimeLimit" in text
        assert "`wall_time_s`" in text
        assert slurm.listed() == {}


async def test_batch_jobs_that_end_before_their_executors_call_are_reported(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(1)
        slurm.start("10", 1)
        world.connect(1)
        slurm.end("10", 2, 3)
        log = world.state_dir / "executors.log"
        log.write_text("module: not found\nthe line of 'setup' ended the batch job with status 3\n\n")
        await trio.sleep(STATUS_S + 1)
        words = ": module: not found; the line of 'setup' ended the batch job with status 3"
        assert world.failed == [(2, VANISHED_RETRY_S, world.ended_early(2, words))]
        assert world.launcher.processes == 1


async def test_a_batch_job_that_runs_and_does_not_connect_is_cancelled(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(1)
        await trio.sleep(1)
        slurm.start("10")
        await trio.sleep(CONNECT_S)
        assert world.failed == []
        await trio.sleep(2 * STATUS_S + 1)
        ((count, retry_s, text),) = world.failed
        assert (count, retry_s) == (1, RETRY_S[Trouble.UNREACHABLE])
        assert "connected within 120 s" in text
        assert slurm.listed() == {}


async def test_a_batch_job_whose_executor_has_left_is_cancelled_if_it_lingers(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(2)
        await trio.sleep(1)
        slurm.start("10")
        world.connect(1, 2)
        await trio.sleep(100)
        world.leave(1)
        await trio.sleep(LINGER_S - 1)
        assert slurm.listed() == {"10": [1, 2]}
        await trio.sleep(STATUS_S + 2)
        assert slurm.listed() == {"10": [2]}
        await trio.sleep(2 * STATUS_S)  # the listing shows that the batch job is gone, and the launcher forgets it
        assert world.launcher.processes == 1
        assert world.failed == []


@pytest.mark.parametrize("answer", [Reply(0, b"<html>proxy</html>"), failure("Unable to contact slurm controller")])
async def test_without_a_listing_nobody_has_failed(tmp_path: Path, answer: Reply) -> None:
    slurm = FakeSlurm()
    slurm.fault("squeue", answer, answer)
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(4 * STATUS_S)
        assert len(slurm.times("squeue")) == 4
        assert world.failed == []
        assert slurm.listed() == {"10": [1, 2, 3]}


async def test_pbs_is_asked_why_one_waits_and_never_is_the_end_of_all_that_wait(tmp_path: Path) -> None:
    """PBS's listing does not have the reason."""
    never = PBS.reply(
        "qsub -l select=1:ncpus=64 -j oe -o /dev/null -- /bin/true > pid; echo rc=$?; cat pid; sleep 2;"
        " qstat -f $(cat pid) | grep -E 'job_state|comment'; qdel $(cat pid)"
    )
    pending = next(reply for reply in PBS.replies["qstat -t"] if b"10[1].pbsvm" in reply.stdout)
    waiting = Reply(0, pending.stdout.replace(b" R ", b" Q ").replace(b" B ", b" Q "))
    manager = Replays(qsub=PBS_ARRAY, qdel=Reply(0))
    why = [PBS.reply("qstat -f 4"), never]

    def answer(argv: tuple[str, ...], stdin: bytes) -> Reply:
        if argv[0] == "qstat":
            return why.pop(0) if "-f" in argv else waiting
        return Replays.answer(manager, argv, stdin)

    manager.answer = answer  # type: ignore[method-assign]
    async with running(manager, tmp_path, cluster="pbs") as world:
        world.launcher.ask(3)
        await trio.sleep(STATUS_S + 2)
        assert [it["reason"] for it in world.launcher.pending()] == ["Not Running: Not enough free nodes available"]
        assert world.failed == []
        await trio.sleep(EXPLAIN_S - STATUS_S - 5)
        assert len([line for line in manager.lines("qstat") if "-f" in line]) == 1
        await trio.sleep(STATUS_S + 5)
        ((count, retry_s, text),) = world.failed
        assert (count, retry_s) == (3, RETRY_S[Trouble.REFUSED])
        assert "Can Never Run" in text
        assert manager.lines("qdel") == ["qdel 10[1-3]"]


async def test_pbs_from_submission_to_loss(tmp_path: Path) -> None:
    pending = next(reply for reply in PBS.replies["qstat -t"] if b"10[1].pbsvm" in reply.stdout)
    manager = Replays(qsub=PBS_ARRAY, qstat=[PBS.reply("qstat -f 4"), pending, PBS.reply("qstat 8")], qdel=Reply(0))
    async with running(manager, tmp_path, cluster="pbs") as world:
        world.launcher.ask(3)
        await trio.sleep(1)
        assert " -J 1-3" in manager.lines("qsub")[0]
        await trio.sleep(3 * STATUS_S)
        assert manager.lines("qstat")[:2] == ["qstat -f 10[1]", "qstat -t 10 10[]"]
        assert sum(count for count, _, _ in world.failed) == 3


async def test_openlava_half_started(tmp_path: Path) -> None:
    """One of five runs and is connected. The others wait, and are cancelled when no build wants them."""
    manager = Replays(
        bsub=OPENLAVA.reply(r"printf '#!/bin/sh\nsleep 40\n' | bsub -J 'spraycc[1-5]' -o /dev/null -q normal -W 10"),
        bjobs=OPENLAVA.reply("bjobs -w 108"),
        bkill=OPENLAVA.reply("bkill 108"),
    )
    async with running(manager, tmp_path, cluster="openlava") as world:
        world.launcher.ask(5)
        await trio.sleep(1)
        world.connect(1)
        await trio.sleep(STATUS_S)
        assert manager.lines("bjobs")
        assert world.failed == []
        world.wanted = False
        await trio.sleep(RELEASE_S + 2)
        assert world.failed == [(4, AT_ONCE_S, "")]
        manager.change("bjobs", next(reply for reply in OPENLAVA.replies["bjobs"] if reply.status))
        await world.launcher.close()
    assert manager.lines("bkill") == ["bkill 108[2-5]", "bkill 108[1]"]


async def test_pbs_in_its_own_words(tmp_path: Path) -> None:
    """A withdrawal names the elements. Leftovers are found by name and cancelled as whole arrays."""
    manager = Replays(qsub=PBS_ARRAY, qselect=PBS_ARRAY, qdel=Reply(0))
    async with running(manager, tmp_path, cluster="pbs", cpus_per_executor=2) as world:
        world.launcher.ask(6)
        await trio.sleep(1)
        world.connect(2, copy=1)
        world.launcher.withdraw()
        await trio.sleep(1)
        assert manager.lines("qdel") == ["qdel 10[1]", "qdel 10[3]"]
    manager.change("qselect", PBS_ARRAY, Reply(0))
    (marker,) = world.markers
    assert await cancel_stale_jobs(marker, manager.run) == 1
    assert manager.lines("qselect")[0].endswith(f" -N {world.launcher.name}")
    assert manager.lines("qdel")[2:] == ["qdel 10[]"]


# -- not wanted any more


async def test_what_no_build_wants_is_cancelled_after_the_delay(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(5)
        world.connect(1)
        world.wanted = False
        began = trio.current_time()
        await trio.sleep(RELEASE_S - 1)
        assert slurm.lines("scancel") == []
        await trio.sleep(3)
        assert slurm.listed() == {"10": [1]}
        assert world.failed == [(2, AT_ONCE_S, "")]
        assert RELEASE_S <= world.failed_at[0] - began <= RELEASE_S + 2


async def test_a_build_that_comes_in_time_finds_what_was_asked_for_before(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        for _ in range(5):
            world.wanted = False
            await trio.sleep(RELEASE_S - 5)
            world.wanted = True
            await trio.sleep(2)
        assert slurm.listed() == {"10": [1, 2, 3]}
        assert world.failed == []


async def test_what_has_not_started_is_withdrawn_in_mid_build(tmp_path: Path) -> None:
    """A batch job with one connected executor stays, although its other executor is still pending."""
    slurm = FakeSlurm()
    async with running(slurm, tmp_path, cpus_per_executor=2) as world:
        world.launcher.ask(6)
        await trio.sleep(1)
        world.connect(2, copy=1)
        world.launcher.withdraw()
        await trio.sleep(1)
        assert slurm.listed() == {"10": [2]}
        assert world.failed == [(5, AT_ONCE_S, "")]
        # The server may ask again at once. One of them is pending already.
        world.launcher.ask(3)
        await trio.sleep(5)
        assert arrays(slurm) == [3, 1]


async def test_what_is_not_submitted_yet_is_withdrawn_without_a_command(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(6)
        world.launcher.withdraw()
        await trio.sleep(1)
        assert slurm.calls == []
        assert world.failed == [(6, AT_ONCE_S, "")]
        # A withdrawal without anything to withdraw does not affect later requests.
        world.launcher.withdraw()
        await trio.sleep(1)
        world.launcher.ask(1)
        await trio.sleep(1)
        assert slurm.listed() == {"10": [1]}


# -- faults of ours


async def test_a_fault_in_a_step_costs_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The launcher reports the requested executors as failed, and handles the next request in the ordinary way."""
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        with monkeypatch.context() as patch:

            async def fail(*_: object) -> None:
                raise RuntimeError("a fault of ours")

            patch.setattr(world.launcher, "_submit", fail)
            world.launcher.ask(3)
            await trio.sleep(PAUSE_S + 1)
        assert world.failed == [
            (3, RETRY_S[Trouble.GARBLED], "Slurm: a fault of SprayCC; `spraycc status` names the log")
        ]
        assert "a fault of ours" in caplog.text
        assert world.launcher.processes == 0
        world.launcher.ask(3)
        await trio.sleep(RETRY_S[Trouble.GARBLED] - 5)
        assert slurm.calls == []
        await trio.sleep(5)
        assert slurm.listed() == {"10": [1, 2, 3]}


# -- limits on what waits


async def test_a_limit_on_queued_batch_jobs_is_used_up(tmp_path: Path) -> None:
    """Six are asked for, and the site lets four wait: the rest follows as the first ones end, and each pause has one try."""
    slurm = FakeSlurm()
    slurm.max_submit = 4
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(6)
        await trio.sleep(20)
        assert arrays(slurm) == [6, 3, 3, 1, 2, 1]
        assert slurm.listed() == {"10": [1, 2, 3], "11": [1]}
        ((count, retry_s, text),) = world.failed
        assert (count, retry_s, text) == (2, RETRY_S[Trouble.BUSY], "")
        limited = world.launcher.limited()
        assert limited is not None
        assert limited.words.startswith("Slurm takes no more now: ")
        assert limited.text == f"{limited.words}; 4 of 6 executors are submitted"
        world.launcher.ask(2)
        await trio.sleep(10)
        assert arrays(slurm)[6:] == [1]
        slurm.end("10", 1, 2, 3)
        world.launcher.ask(5)
        await trio.sleep(20)
        assert arrays(slurm)[7:] == [1, 2, 2, 1]
        assert not any("takes no more" in text for text in world.said)  # each build is told of the limit


async def test_a_submit_command_that_waits_for_the_limit_itself_is_ended_and_the_array_halved(tmp_path: Path) -> None:
    """Slurm's MaxJobCount and LSF's pending job threshold."""
    slurm = FakeSlurm()
    waits = b"sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
    text = "sbatch did not end within 60 s"
    slurm.fault("sbatch", ClusterError(Trouble.UNREACHABLE, text, Reply(-1, b"", waits)))
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(4)
        await trio.sleep(FIRST_LOOK_S)
        assert arrays(slurm) == [4, 2, 2]
        assert slurm.lines("squeue") == []
        assert world.failed == []


async def test_a_site_that_lets_nothing_wait_is_told_and_asked_once_a_minute(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    slurm.max_submit = 0
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(4)
        await trio.sleep(20)
        assert arrays(slurm) == [4, 2, 1]
        ((count, retry_s, text),) = world.failed
        assert (count, retry_s) == (4, RETRY_S[Trouble.BUSY])
        assert text.startswith("Slurm takes no more now: ")
        assert text.endswith("(SprayCC tries again later)")
        world.launcher.ask(4)
        await trio.sleep(20)
        assert arrays(slurm)[3:] == [1]


def test_whose_batch_jobs_are_listed_where_the_user_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    assert batch_commands.user_name() == "4000000000"


async def test_a_submission_is_logged_with_its_id_and_its_executors_tag(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slurm = FakeSlurm()
    with caplog.at_level(logging.INFO, "spraycc.server.fleet.batch_launcher"):
        async with running(slurm, tmp_path) as world:
            world.launcher.ask(1)
            await trio.sleep(1)
    assert f"1 batch job submitted as 10, tag {slurm.tag()}" in caplog.text


# -- waiting for the end of a withdrawal


async def test_a_withdrawal_is_over_when_the_cancel_command_has_run(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(5)
        world.connect(1)
        world.launcher.withdraw()
        assert slurm.lines("scancel") == []
        await world.launcher.withdrawn()
        assert slurm.lines("scancel") == ["scancel 10_[2-3]"]
        assert slurm.listed() == {"10": [1]}


async def test_a_withdrawal_waits_for_the_submission_under_way(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.testing.wait_all_tasks_blocked()
        world.launcher.withdraw()
        await world.launcher.withdrawn()
        assert slurm.listed() == {}


async def test_nothing_pending_makes_no_withdrawal_wait(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(1)
        await trio.sleep(5)
        world.connect(1)
        began = trio.current_time()
        world.launcher.withdraw()
        await world.launcher.withdrawn()
        assert trio.current_time() == began
        assert slurm.lines("scancel") == []


async def test_a_cancel_command_that_fails_ends_the_wait(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    async with running(slurm, tmp_path) as world:
        world.launcher.ask(3)
        await trio.sleep(5)
        slurm.fault("scancel", ClusterError(Trouble.UNREACHABLE, "scancel: down"))
        world.launcher.withdraw()
        with trio.fail_after(2):
            await world.launcher.withdrawn()
            await world.launcher.withdrawn()  # the next cancel command is due only later
        await trio.sleep(RETRY_S[Trouble.UNREACHABLE] + 1)
        assert slurm.listed() == {}

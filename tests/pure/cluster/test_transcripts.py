"""The drivers read the recorded output of real cluster managers."""

from __future__ import annotations

import re

import pytest

from spraycc.cluster.driver import (
    BatchId,
    BatchJob,
    ClusterError,
    Driver,
    Reply,
    State,
    Submission,
    Trouble,
    can_never_run,
)
from spraycc.cluster.registry import driver_for
from spraycc.errors import ConfigError
from spraycc.settings import Settings
from tests.pure.cluster.transcripts import Transcript

SLURM = Transcript("slurm-22.05.8")
GRID_ENGINE = Transcript("gridengine-8.1.9")
PBS = Transcript("openpbs-23.06.06")
OPENLAVA = Transcript("openlava-2.2")

RUNNING, PENDING, GONE, ENDING, STUCK = State.RUNNING, State.PENDING, State.GONE, State.ENDING, State.STUCK


def driver(name: str) -> Driver:
    return driver_for(Settings(cluster=name), "user1")  # type: ignore[arg-type]


def order(count: int) -> Submission:
    return Submission("abc123", count, "spraycc", None, ("executor",), "/log")


@pytest.mark.parametrize(
    ("name", "transcript", "command", "count", "job"),
    [
        ("slurm", SLURM, r"printf '#!/bin/sh\nsleep 15\n' | sbatch --parsable --array=0-4 --job-name=spraycc --output=/dev/null --partition=debug --time=10 --cpus-per-task=1 --mem=50M", 5, "6"),
        ("gridengine", GRID_ENGINE, r"printf '#!/bin/sh\nsleep 30\n' | qsub -terse -t 1-5 -N spraycc -o /dev/null -j y -q all.q -l h_rt=600", 5, "7"),
        ("gridengine", GRID_ENGINE, "qsub -terse -t 4 -N spraycc -o /dev/null -j y -q all.q /scratch/t/ex.sh", 1, "11"),
        ("pbs", PBS, "qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10", 3, "10"),
        ("openlava", OPENLAVA, r"printf '#!/bin/sh\nsleep 40\n' | bsub -J 'spraycc[1-5]' -o /dev/null -q normal -W 10", 5, "108"),
        ("lsf", OPENLAVA, "bsub -J 'spraycc[1-3]%1' -o /dev/null sleep 10", 3, "109"),
    ],
)  # fmt: skip
def test_ids_of_an_array(name: str, transcript: Transcript, command: str, count: int, job: str) -> None:
    found = driver(name).parse_submit(order(count), transcript.reply(command))
    assert found == tuple(BatchId(job, index) for index in range(1, count + 1))


def test_pbs_has_no_array_of_one() -> None:
    pbs = driver("pbs")
    assert "-J" not in pbs.submit_command(order(1)).argv
    reply = PBS.reply("qsub -N spraycc -j oe -o /dev/null -- /bin/sleep 25")
    assert pbs.parse_submit(order(1), reply) == (BatchId("3"),)
    with pytest.raises(ClusterError):  # the answer to another question
        pbs.parse_submit(order(2), reply)


REFUSED, TOO_LARGE, UNREACHABLE = Trouble.REFUSED, Trouble.TOO_LARGE, Trouble.UNREACHABLE
#: Every failed submission of the transcripts: system, words of its message, the kind, and a word of the next step.
FAILURES = [
    ("slurm", "This does not look like a batch script", REFUSED, "`spraycc cluster show`"),
    ("slurm", "Invalid job array specification", TOO_LARGE, "`array_limit`"),
    ("slurm", "invalid partition specified: nosuch", REFUSED, "`queues`"),
    ("slurm", "Memory specification can not be satisfied", REFUSED, "`memory_mb`"),
    ("slurm", "Invalid feature specification", REFUSED, "`submit_arguments`"),
    ("slurm", "Invalid --time specification", REFUSED, "`wall_time_s`"),
    ("slurm", "unrecognized option '--nosuchoption'", REFUSED, "`submit_arguments`"),
    ("slurm", "Unable to contact slurm controller", UNREACHABLE, "tries again"),
    ("slurm", "Did you start munged?", UNREACHABLE, "tries again"),
    ("slurm", "cannot stat file /nonexistent", Trouble.NO_COMMAND, "is this a submit host"),
    ("gridengine", "0 is an invalid task id", REFUSED, "`submit_arguments`"),
    ("gridengine", "you tried to submit a job with more than 75000 tasks", TOO_LARGE, "`array_limit`"),
    ("gridengine", 'unknown queue "nosuch.q"', REFUSED, "`queues`"),
    ("gridengine", 'Job 16 (-l h_rt=600) cannot run in queue "short.q"', REFUSED, "`wall_time_s`"),
    ("gridengine", "error: no suitable queues", REFUSED, "`queues` or `wall_time_s`"),
    ("gridengine", 'unknown resource "nosuchres"', REFUSED, "`submit_arguments`"),
    ("gridengine", 'parallel environment "nosuchpe" does not exist', REFUSED, "`parallel_environment`"),
    ("gridengine", 'project "nosuchproj" does not exist', REFUSED, "`project`"),
    ("gridengine", 'attribute "h_rt" is not a time value', REFUSED, "`wall_time_s`"),
    ("gridengine", 'invalid option argument "-nosuchoption"', REFUSED, "`submit_arguments`"),
    ("gridengine", '"1bad" is not a valid object name', REFUSED, "`batch_name`"),
    ("gridengine", "Unable to read script file", REFUSED, "`spraycc cluster show`"),
    ("gridengine", "got send error", UNREACHABLE, "tries again"),
    ("pbs", "illegal -J value", REFUSED, "`submit_arguments`"),
    ("pbs", "Array job exceeds server or queue size limit", TOO_LARGE, "`array_limit`"),
    ("pbs", "Unknown queue", REFUSED, "`queues`"),
    ("pbs", "violates queue and/or server resource limits", REFUSED, "`wall_time_s` or `memory_mb`"),
    ("pbs", "Unknown resource Resource_List.nosuchres", REFUSED, "`submit_arguments`"),
    ("pbs", "Illegal attribute or resource value Resource_List.walltime", REFUSED, "`wall_time_s`"),
    ("pbs", "invalid option -- '-'", REFUSED, "`submit_arguments`"),
    ("pbs", "illegal -N value", REFUSED, "`batch_name`"),
    ("pbs", "script file:: No such file or directory", REFUSED, "`spraycc cluster show`"),
    ("pbs", "cannot connect to server pbsvm", UNREACHABLE, "tries again"),
    ("openlava", "Bad job name", REFUSED, "`batch_name`"),
    ("openlava", "Job array index too large", TOO_LARGE, "`array_limit`"),
    ("openlava", "nosuch: No such queue", REFUSED, "`queues`"),
    ("openlava", "Cannot exceed queue's hard limit", REFUSED, "`wall_time_s`"),
    ("openlava", "Too many processors requested", REFUSED, "`cpus_per_executor`"),
    ("openlava", "Bad resource requirement syntax", REFUSED, "`submit_arguments`"),
    ("openlava", "Bad host name, host group name or cluster name", REFUSED, "`submit_arguments`"),
    ("openlava", "Bad RUNLIMIT specification", REFUSED, "`wall_time_s`"),
    ("openlava", "illegal option -- Q", REFUSED, "`submit_arguments`"),
    ("openlava", "No command is specified", REFUSED, "`spraycc cluster show`"),
    ("openlava", "LIM is down", UNREACHABLE, "tries again"),
]  # fmt: skip
TRANSCRIPTS = {"slurm": SLURM, "gridengine": GRID_ENGINE, "pbs": PBS, "openlava": OPENLAVA}


def failed_submissions(name: str) -> list[Reply]:
    """All failed submissions of a transcript, except commands that hung and were killed: they printed nothing."""
    program = re.compile(r"\b(?:sbatch|qsub|bsub)\b")
    return [
        reply
        for command, replies in TRANSCRIPTS[name].replies.items()
        for reply in replies
        if reply.status and reply.status != 124 and program.search(command.rpartition("|")[2])
    ]


@pytest.mark.parametrize(("name", "words", "kind", "step"), FAILURES)
def test_refused_submissions(name: str, words: str, kind: Trouble, step: str) -> None:
    said = [reply for reply in failed_submissions(name) if words in (reply.stderr + reply.stdout).decode()]
    assert said
    for reply in said:
        with pytest.raises(ClusterError) as error:
            driver(name).parse_submit(order(5), reply)
        assert error.value.kind is kind
        assert words in str(error.value)
        assert "usage:" not in str(error.value).lower()
        assert step in error.value.next_step


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_no_failure_of_the_transcripts_is_left_out(name: str) -> None:
    known = [words for system, words, _, _ in FAILURES if system == name]
    for reply in failed_submissions(name):
        assert any(words in (reply.stderr + reply.stdout).decode() for words in known), reply


def states(name: str, reply: Reply) -> dict[tuple[str, int], State]:
    return {(job.id.submission_id, job.id.element): job.state for job in driver(name).parse_list(reply)}


def test_slurm_listing() -> None:
    command = "squeue --noheader --array --format='%i|%F|%K|%A|%t|%T|%r'"
    assert driver("slurm").list_command([])[-1] == command.split("=", 1)[1].join(("--format=", "")).replace("'", "")
    first, second, third = SLURM.replies[command]
    assert states("slurm", first) == {
        ("6", 0): RUNNING, ("6", 1): RUNNING, ("6", 2): PENDING, ("6", 3): PENDING, ("6", 4): PENDING
    }  # fmt: skip
    assert states("slurm", second)["6", 0] is ENDING
    jobs = driver("slurm").parse_list(third)
    assert BatchJob(BatchId("9", 2), PENDING, "JobArrayTaskLimit") in jobs
    assert BatchJob(BatchId("9", 1), RUNNING) in jobs
    ended = SLURM.reply("squeue --noheader --jobs=6 --states=all --format='%i|%F|%K|%A|%t|%T|%r'")
    assert set(states("slurm", ended).values()) == {GONE}


def test_grid_engine_listing() -> None:
    assert states("gridengine", GRID_ENGINE.reply("qstat -xml")) == {
        ("2", 0): RUNNING, ("3", 0): RUNNING, ("5", 0): RUNNING, ("1", 0): PENDING, ("4", 0): PENDING, ("6", 0): PENDING
    }  # fmt: skip
    rescheduled = GRID_ENGINE.reply("qstat -xml").stdout.replace(b"<state>qw<", b"<state>Rq<")
    assert states("gridengine", Reply(0, rescheduled)) == states("gridengine", GRID_ENGINE.reply("qstat -xml"))
    with pytest.raises(ClusterError) as error:
        states("gridengine", Reply(0, GRID_ENGINE.reply("qstat -xml").stdout[:700]))
    assert error.value.kind is Trouble.GARBLED


def test_pbs_listing() -> None:
    first, second = PBS.replies["qstat -t '8[]'"]
    assert states("pbs", first) == {
        ("8", 0): RUNNING, ("8", 1): RUNNING, ("8", 2): PENDING, ("8", 3): PENDING, ("8", 4): PENDING
    }  # fmt: skip
    assert [state for _, state in sorted(states("pbs", second).items())] == [RUNNING, RUNNING, GONE, GONE, GONE]
    assert states("pbs", PBS.reply("qstat 8")) == {}
    assert len(states("pbs", PBS.reply("qstat"))) == 7


def test_openlava_listing() -> None:
    assert states("openlava", OPENLAVA.reply("bjobs -w 108")) == {
        ("108", 1): RUNNING, ("108", 2): PENDING, ("108", 3): PENDING, ("108", 4): PENDING, ("108", 5): PENDING
    }  # fmt: skip
    ended = OPENLAVA.reply("bjobs -a -w 108")
    assert set(states("openlava", ended).values()) == {GONE}
    nothing = [reply for reply in OPENLAVA.replies["bjobs"] if reply.status]
    assert nothing
    assert [states("openlava", reply) for reply in nothing] == [{}] * len(nothing)
    assert states("openlava", OPENLAVA.reply("bjobs 9999")) == {}
    # One unknown id among known ones: the exit status reports failure, but the listing is complete.
    both = OPENLAVA.reply("bjobs 102 9999")
    assert both.status == 255
    assert states("openlava", both) == {("102", 0): RUNNING}


@pytest.mark.parametrize(
    ("name", "transcript", "command"),
    [
        ("slurm", SLURM, "squeue -h -o %i"),
        ("gridengine", GRID_ENGINE, "qstat"),
        ("pbs", PBS, "qstat"),
        ("openlava", OPENLAVA, "LSB_NTRIES=1 timeout 60 bjobs"),
    ],
)
def test_no_listing_is_not_an_empty_one(name: str, transcript: Transcript, command: str) -> None:
    """If the cluster manager can't be reached, the server must not conclude that all batch jobs are gone."""
    reply = [reply for reply in transcript.replies[command] if reply.status][-1]
    with pytest.raises(ClusterError) as error:
        driver(name).parse_list(reply)
    assert error.value.kind is Trouble.UNREACHABLE


@pytest.mark.parametrize("name", ["slurm", "gridengine", "pbs", "lsf", "openlava"])
@pytest.mark.parametrize("text", [b"\xff\xfe\x00garbage", b"Segmentation fault\n", b"<html><p>proxy</p></html>"])
def test_garbage_is_an_error(name: str, text: bytes) -> None:
    with pytest.raises(ClusterError) as error:
        driver(name).parse_list(Reply(0, text))
    assert error.value.kind is Trouble.GARBLED
    with pytest.raises(ClusterError):
        driver(name).parse_submit(order(3), Reply(0, text))


def test_reasons() -> None:
    grid_engine, openlava = driver("gridengine"), driver("openlava")
    reply = GRID_ENGINE.reply("qstat -j 4")
    full = grid_engine.parse_explain(reply)
    assert full.startswith('queue "all.q" dropped because it is full; queue "short.q" dropped')
    assert not can_never_run(full)
    other_host = Reply(0, reply.stdout.replace(b"all.q@vm", b"all.q@vm2"))
    assert grid_engine.parse_explain(other_host) == full  # otherwise the user is told again
    assert openlava.parse_explain(OPENLAVA.reply("bjobs -p 108")) == "Job slot limit reached: 1 host"
    assert driver("slurm").explain_command(BatchId("6", 1)) is None


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("PartitionTimeLimit", True),
        ("PartitionConfig", True),
        ("QOSMaxWallDurationPerJobLimit", True),
        ("Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 2", True),
        ("Resources", False),
        ("Priority", False),
        ("AssocGrpCpuLimit", False),
        ("QOSMaxCpuPerUserLimit", False),
        ("Job slot limit reached: 1 host", False),
        ("Not Running: Insufficient amount of resource: ncpus", False),
    ],
)
def test_reasons_that_are_for_ever(reason: str, expected: bool) -> None:
    assert can_never_run(reason) is expected


# -- cancel commands

DOWN = {
    "slurm": "scancel 5",
    "gridengine": "qdel 5",
    "pbs": "qdel 5",
    "openlava": "LSB_NTRIES=1 timeout 60 bkill 5",
}


@pytest.mark.parametrize(("name", "command"), DOWN.items())
def test_a_cancel_that_the_manager_did_not_get(name: str, command: str) -> None:
    (reply,) = TRANSCRIPTS[name].replies[command]
    with pytest.raises(ClusterError) as error:
        driver(name).check_cancel(reply)
    assert error.value.kind is UNREACHABLE


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_every_other_cancel_was_got(name: str) -> None:
    """Unknown, finished, in deletion, ``Operation is in progress``: their exit statuses differ, and mean nothing."""
    program = re.compile(r"^(?:scancel|qdel|bkill)\b[^|;]*$")
    replies = [
        reply
        for command, replies in TRANSCRIPTS[name].replies.items()
        if program.match(command) and command not in DOWN.values()
        for reply in replies
    ]
    assert len(replies) >= 4
    for reply in replies:
        driver(name).check_cancel(reply)


@pytest.mark.parametrize("name", TRANSCRIPTS)
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        # qdel of OpenPBS 23.06, of several ids; by itself, and through a wrapper in shell
        (Reply(-6, b"", b"free(): invalid pointer\n"), UNREACHABLE),
        (Reply(134, b"", b"free(): invalid pointer\n"), UNREACHABLE),
        (Reply(-9), UNREACHABLE),
        (Reply(127, b"", b"wrapper: 3: real: not found\n"), Trouble.NO_COMMAND),
    ],
)
def test_a_cancel_command_that_crashed(name: str, reply: Reply, kind: Trouble) -> None:
    with pytest.raises(ClusterError) as error:
        driver(name).check_cancel(reply)
    assert error.value.kind is kind


def test_pbs_cancels_one_id_a_call() -> None:
    batches = [BatchId("7", element) for element in (1, 2, 3, 5)] + [BatchId("8"), BatchId("9[]")]
    commands = driver("pbs").cancel_commands(batches)
    assert [command.argv for command in commands] == [("qdel", id_) for id_ in ("7[1-3]", "7[5]", "8", "9[]")]
    assert sorted(batch for command in commands for batch in command.batches) == sorted(batches)


# -- a site's wrapper around the programs

BANNER = b"*** maintenance on 3 May *** []\nSubmitting on 2 hosts\n12 of 40 hosts are free\n  (see the site's pages)\n"


@pytest.mark.parametrize(
    ("name", "transcript", "command", "count"),
    [
        ("slurm", SLURM, r"printf '#!/bin/sh\nsleep 15\n' | sbatch --parsable --array=0-4 --job-name=spraycc --output=/dev/null --partition=debug --time=10 --cpus-per-task=1 --mem=50M", 5),
        ("gridengine", GRID_ENGINE, r"printf '#!/bin/sh\nsleep 30\n' | qsub -terse -t 1-5 -N spraycc -o /dev/null -j y -q all.q -l h_rt=600", 5),
        ("pbs", PBS, "qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10", 3),
        ("openlava", OPENLAVA, r"printf '#!/bin/sh\nsleep 40\n' | bsub -J 'spraycc[1-5]' -o /dev/null -q normal -W 10", 5),
    ],
)  # fmt: skip
def test_more_lines_around_an_id(name: str, transcript: Transcript, command: str, count: int) -> None:
    it, reply = driver(name), transcript.reply(command)
    plain = it.parse_submit(order(count), reply)
    assert it.parse_submit(order(count), Reply(0, BANNER + reply.stdout + b"\nThank you.\n", BANNER)) == plain


@pytest.mark.parametrize(
    ("name", "text"), [("slurm", b"2\n15\n"), ("gridengine", b"2\n15\n"), ("pbs", b"2.vm\n15.vm\n")]
)
def test_two_lines_that_could_be_the_id(name: str, text: bytes) -> None:
    """The answer is not known. A search by name finds the batch jobs."""
    with pytest.raises(ClusterError) as error:
        driver(name).parse_submit(order(1), Reply(0, text))
    assert error.value.kind is Trouble.GARBLED


LISTINGS = [
    ("slurm", SLURM, "squeue --noheader --array --format='%i|%F|%K|%A|%t|%T|%r'"),
    ("gridengine", GRID_ENGINE, "qstat -xml"),
    ("pbs", PBS, "qstat -t '8[]'"),
    ("openlava", OPENLAVA, "bjobs -w 108"),
    ("lsf", OPENLAVA, "bjobs 102 9999"),
]


@pytest.mark.parametrize(("name", "transcript", "command"), LISTINGS)
def test_more_lines_around_a_listing(name: str, transcript: Transcript, command: str) -> None:
    reply = transcript.reply(command)
    wrapped = Reply(reply.status, BANNER + reply.stdout + b"\n12 of 40 hosts are free\n", BANNER + reply.stderr)
    assert driver(name).parse_list(wrapped) == driver(name).parse_list(reply) != []


@pytest.mark.parametrize(("name", "transcript", "command"), LISTINGS)
@pytest.mark.parametrize("status", [0, 1])
def test_a_listing_without_a_known_part_is_an_error(
    name: str, transcript: Transcript, command: str, status: int
) -> None:
    for output in (BANNER, b""):
        with pytest.raises(ClusterError):
            driver(name).parse_list(Reply(status, output, BANNER))


@pytest.mark.parametrize(("name", "transcript", "command"), LISTINGS)
def test_a_listing_that_is_cut_off_is_an_error(name: str, transcript: Transcript, command: str) -> None:
    text = transcript.reply(command).stdout.rstrip(b"\n")
    last = text.rsplit(b"\n", 1)[-1]
    cut = text[: len(text) - len(last) // 2 - 6]
    if name in ("openlava", "lsf"):
        cut = text[: len(text) - len(last) + last.index(b"normal")]
    with pytest.raises(ClusterError) as error:
        driver(name).parse_list(Reply(0, cut))
    assert error.value.kind is Trouble.GARBLED


@pytest.mark.parametrize("name", ["slurm", "pbs", "openlava", "gridengine"])
def test_a_search_without_a_known_part_is_an_error(name: str) -> None:
    """Else a submission that was taken would count as lost."""
    with pytest.raises(ClusterError):
        driver(name).parse_search("spraycc", Reply(0, BANNER))


def test_searches() -> None:
    empty = SLURM.reply("squeue --array --name=nosuch --format='%i|%F|%K|%A|%t|%T|%r'")
    assert driver("slurm").parse_search("x", empty) == ()
    assert driver("slurm").parse_search("x", Reply(0, BANNER + empty.stdout + BANNER)) == ()
    assert driver("slurm").parse_search("x", Reply(0, BANNER + b"9_[2-3%1]|9|2-3|9|PD|PENDING|Priority\n")) == ("9",)
    assert driver("pbs").parse_search("x", Reply(0)) == ()
    assert driver("pbs").parse_search("x", Reply(0, BANNER + b"8[].vm\n9.vm\n")) == ("8[]", "9")
    assert driver("openlava").parse_search("spraycc", OPENLAVA.reply("bjobs -J spraycc -w")) == (
        *("102", "103", "106", "107"),
    )
    assert driver("openlava").parse_search("x", OPENLAVA.reply("bjobs", 2)) == ()


@pytest.mark.parametrize("name", ["pbs", "openlava"])
def test_a_listing_that_the_daemon_broke_off_is_an_error(name: str) -> None:
    """Some ids are listed; for the others the daemon could not be reached. They are not gone."""
    command = {"pbs": "qstat -t '8[]'", "openlava": "bjobs -w 108"}[name]
    lost = {"pbs": b"qstat: End of File\n", "openlava": b"Job <109>: Failed in an LSF library call: LIM is down\n"}[
        name
    ]
    reply = TRANSCRIPTS[name].reply(command)
    with pytest.raises(ClusterError) as error:
        driver(name).parse_list(Reply(255, reply.stdout, lost))
    assert error.value.kind is UNREACHABLE


# -- by the manuals, or seen without a transcript


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("lsf", "Connection refused by server. Job not submitted.", UNREACHABLE),
        ("lsf", "batch system daemon not responding ... still trying", UNREACHABLE),
        ("lsf", "Batch system concurrent query limit exceeded", UNREACHABLE),
        ("lsf", "Server is not connected", UNREACHABLE),
        ("slurm", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", UNREACHABLE),
        ("slurm", "Slurm backup controller in standby mode", UNREACHABLE),
        ("slurm", "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", UNREACHABLE),
        ("slurm", "sbatch: error: connect: Connection timed out", UNREACHABLE),
        ("pbs", "qsub: End of File", UNREACHABLE),
        ("pbs", "qsub: Communication failure", UNREACHABLE),
        ("pbs", "qsub: Request not allowed: Server shutting down", UNREACHABLE),
        ("gridengine", "error: failed receiving gdi request response for mid=1 (got no message).", UNREACHABLE),
        ("gridengine", "ssh: connect to host head port 22: No route to host", UNREACHABLE),
        ("pbs", "qsub: would exceed queue generic's per-user limit", Trouble.BUSY),
        ("pbs", "qsub: Maximum number of jobs already in queue", Trouble.BUSY),
        ("slurm", "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", Trouble.BUSY),
        ("slurm", "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", Trouble.BUSY),
        ("slurm", "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", REFUSED),
        ("slurm", "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", Trouble.BUSY),
        ("slurm", "sbatch: error: Batch job submission failed: Resource temporarily unavailable", Trouble.BUSY),
        ("lsf", "User has reached the per-user job slot limit. Job not submitted.", Trouble.BUSY),
        ("lsf", "Pending job threshold reached. Retrying in 60 seconds...", Trouble.BUSY),
        ("gridengine", "Unable to run job: job rejected: Only 5 jobs are allowed per user (current job count: 5)\nExiting.", Trouble.BUSY),
        ("openlava", "bsub: option cannot have an argument -- r", REFUSED),
        ("pbs", "qsub:  cannot submit non-rerunable Array Job", REFUSED),
    ],
)  # fmt: skip
def test_kinds_of_trouble(name: str, text: str, kind: Trouble) -> None:
    with pytest.raises(ClusterError) as error:
        driver(name).parse_submit(order(5), Reply(1, b"", text.encode() + b"\n"))
    assert error.value.kind is kind


NAMES = {"slurm": "Slurm", "gridengine": "Grid Engine", "pbs": "PBS", "lsf": "LSF", "openlava": "OpenLava"}


@pytest.mark.parametrize(("name", "system"), NAMES.items())
@pytest.mark.parametrize(
    "reply",
    [
        Reply(0, b"Segmentation fault\n"),
        Reply(1, b"", b"no\n"),
        Reply(-9),
        Reply(127, b"", b"not found\n"),
        Reply(1, b"", b"connection refused\n"),
    ],
)
def test_a_message_names_the_system_once(name: str, system: str, reply: Reply) -> None:
    with pytest.raises(ClusterError) as error:
        driver(name).parse_submit(order(5), reply)
    assert str(error.value).startswith(f"{system}")
    assert str(error.value).count(system) == 1


# -- options that the user gives too


def test_an_option_of_the_users_replaces_ours() -> None:
    settings = Settings(cluster="pbs", memory_mb=500, account="a", submit_arguments=("-l", "select=2", "-q", "mine"))
    argv = driver_for(settings, "u").submit_command(Submission("t", 2, "n", "ours", ("x",), "/log")).argv
    assert argv.count("-q") == 1
    assert "ours" not in argv
    assert [word for word in argv if "select=" in word] == ["select=2"]
    assert argv[argv.index("-A") + 1] == "a"


@pytest.mark.parametrize("request_", ["select=2", "place=free,select=1", "nodes=1:ppn=4", "walltime=5"])
def test_a_request_of_the_users_replaces_select(request_: str) -> None:
    settings = Settings(cluster="pbs", wall_time_s=600, submit_arguments=("-l", request_))
    argv = driver_for(settings, "u").submit_command(order(2)).argv
    assert ("select=1:ncpus=1" in argv) is (request_ == "walltime=5")
    assert len([word for word in argv if "walltime=" in word]) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("slurm", ("--job-name=x",)), ("slurm", ("-J", "x")), ("pbs", ("-N", "x")), ("gridengine", ("-t", "1-4")),
     ("lsf", ("-q", "long", "-J", "x")), ("slurm", ("-Jx",)), ("slurm", ("-a1-4",)), ("slurm", ("--job-nam=x",)),
     ("slurm", ("--arra", "1-4")), ("pbs", ("-Nx",)), ("pbs", ("-J1-4",))],
)  # fmt: skip
def test_what_names_batch_jobs_is_no_submit_argument(name: str, words: tuple[str, ...]) -> None:
    """SprayCC finds its batch jobs by their names."""
    with pytest.raises(ConfigError, match="submit_arguments: "):
        driver_for(Settings(cluster=name, submit_arguments=words), "user1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gridengine", ("-notify", "-terse", "-tc", "4")),
        ("lsf", ("-Jd", "text")),
        ("slurm", ("--account=a", "--no-kill")),
    ],
)
def test_options_that_begin_alike_are_submit_arguments(name: str, words: tuple[str, ...]) -> None:
    settings = Settings(cluster=name, submit_arguments=words)  # type: ignore[arg-type]
    assert set(words) <= set(driver_for(settings, "user1").submit_command(order(2)).argv)


@pytest.mark.parametrize(
    "words", [("-M", "two"), ("-Mtwo",), ("--clusters=two",), ("--clusters", "two"), ("--clust=one", "-Mtwo")]
)
def test_all_commands_go_to_the_cluster_that_the_user_names(words: tuple[str, ...]) -> None:
    """Ids of another cluster would be other batch jobs: the user's own, perhaps."""
    slurm = driver_for(Settings(cluster="slurm", submit_arguments=words), "user1")
    cancel = slurm.cancel_commands([BatchId("37", 1)])[0].argv
    for argv in (slurm.list_command(["37"]), slurm.search_command("x"), cancel):
        assert argv[1] == "--clusters=two"
    assert slurm.parse_submit(order(1), Reply(0, b"37;two\n")) == (BatchId("37", 1),)


@pytest.mark.parametrize("words", [("-Mone,two",), ("--clusters=all",)])
def test_several_clusters_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="one cluster at a time"):
        driver_for(Settings(cluster="slurm", submit_arguments=words), "user1")


@pytest.mark.parametrize(
    ("text", "found"),
    [("8[].1head", "8[]"), ("8[].10.0.0.5", "8[]"), ("8.1head", "8"), ("8.10.0.0.5", "8"), ("8.head.site", "8")],
)
def test_a_pbs_server_may_have_any_name(text: str, found: str) -> None:
    assert driver("pbs").parse_search("x", Reply(0, f"23.06.06\n{text}\n".encode())) == (found,)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        # A wrapper's version, and real ids.
        ("pbs", b"23.06.06\n10[].pbsvm\n11.pbsvm\n", ("10[]", "11")),
        # A wrapper that lists all batch jobs of the user.
        ("lsf", b"JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
                b"10      user1   PEND  normal     vm          -           x-abc[1]   Nov 22 07:14\n"
                b"11      user1   PEND  normal     vm          -           other      Nov 22 07:14\n", ("10",)),
    ],
)  # fmt: skip
def test_a_search_finds_batch_jobs_of_the_name_only(name: str, text: bytes, found: tuple[str, ...]) -> None:
    assert driver(name).parse_search("x-abc", Reply(0, text)) == found

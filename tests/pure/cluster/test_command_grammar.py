"""The grammar of the fake cluster managers agrees with the transcripts, and the drivers' command lines with both."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator

import pytest

from spraycc.cluster.driver import BatchId, Driver, Reply, Submission
from spraycc.cluster.registry import driver_for
from spraycc.settings import Settings
from tests.pure.cluster.command_grammar import Command, Refused, check, check_several_ids
from tests.pure.cluster.transcripts import Transcript

TRANSCRIPTS = {
    "slurm": Transcript("slurm-22.05.8"),
    "gridengine": Transcript("gridengine-8.1.9"),
    "pbs": Transcript("openpbs-23.06.06"),
    "openlava": Transcript("openlava-2.2"),
}
#: value of `cluster` -> the system whose grammar counts. volclava has OpenLava's, and LSF's is larger.
SYSTEMS = {"slurm": "slurm", "gridengine": "gridengine", "pbs": "pbs", "openlava": "openlava", "lsf": "openlava"}
_PROGRAM = re.compile(
    r"(?:printf \S.*?\| |(?:[A-Z_]+=\S+ )?timeout \d+ |[A-Z_]+=\S+ )?((?:s(?:batch|queue|cancel)|q(?:sub|stat|del|select)|b(?:sub|jobs|kill))\b.*)"
)


def recorded(system: str) -> Iterator[tuple[list[str], Reply]]:
    """The command lines of a transcript that run one program, and their replies."""
    for command, replies in TRANSCRIPTS[system].replies.items():
        found = _PROGRAM.fullmatch(command)
        if found and not re.search(r"[;|]|\$\(| < ", re.sub(r"'[^']*'|\"[^\"]*\"", "", found[1])):
            yield from ((shlex.split(found[1]), reply) for reply in replies)


#: The words of a command that objects to the form of its command line.
OBJECTION = re.compile(
    r"usage:|illegal|unrecognized|invalid option|Bad (?:job name|resource|RUNLIMIT)|index too large|Invalid --time"
    r"|Invalid job array|not a valid object|invalid task id|more than \d+ tasks",
    re.IGNORECASE,
)
#: The form is right, and the state of the cluster, or the operating system, decided.
OF_THE_STATE = ("select[nosuch>1]", "--help", "-h")


def refusal(system: str, words: list[str]) -> Refused | None:
    try:
        check(system, words)
    except Refused as exc:
        return exc
    return None


@pytest.mark.parametrize("system", TRANSCRIPTS)
def test_the_grammar_takes_and_refuses_as_the_real_one_did(system: str) -> None:
    count = 0
    for words, reply in recorded(system):
        if any(word in OF_THE_STATE for word in words[1:]):
            continue
        count += 1
        if (refused := refusal(system, words)) is not None:
            assert reply.status == refused.status, words
            assert refused.text in reply.text, words
        else:
            assert not (reply.status and OBJECTION.search(reply.text)), (words, reply.text)
    assert count >= 40


@pytest.mark.parametrize("system", TRANSCRIPTS)
def test_refusals_are_recorded(system: str) -> None:
    """Else the test above would prove nothing about refusals."""
    objections = {reply.text for _, reply in recorded(system) if reply.status and OBJECTION.search(reply.text)}
    assert len(objections) >= 2


@pytest.mark.parametrize(
    ("system", "line", "status", "words"),
    [
        ("pbs", "qsub -f -N x -r n -J 1-2", 2, "cannot submit non-rerunable Array Job"),
        ("pbs", "qsub -f -N x -r n -J 1-2 -r y", 2, "cannot submit non-rerunable Array Job"),
        ("pbs", "qsub -J 1-1", 2, "illegal -J value"),
        ("pbs", "qsub -l select=1:ncpus=1 -l ncpus=2", 2, "cannot be used"),
        ("pbs", "qdel 8[3-3]", 156, "Invalid request"),
        ("openlava", "bsub -J x[1-2] -rn", 255, "bsub: option cannot have an argument -- r"),
        ("openlava", "bsub -R span[hosts=1] -R rusage[mem=5]", 255, "Bad resource requirement syntax"),
        ("openlava", "bjobs -o jobid", 255, "invalid option -- 'o'"),
        ("openlava", "bkill 7[1-2", 255, ""),
        ("slurm", "squeue --json", 1, "unrecognized option"),
        ("slurm", "scancel --me", 1, "unrecognized option"),
        ("gridengine", "qdel 7 -t 1,3", 1, ""),
    ],
)
def test_seen_without_a_transcript_or_by_the_manual(system: str, line: str, status: int, words: str) -> None:
    with pytest.raises(Refused) as refused:
        check(system, shlex.split(line))
    assert refused.value.status == status
    assert words in refused.value.text


@pytest.mark.parametrize(
    ("ids", "status", "dies"),
    [
        ("9 8[2]", 0, True),
        ("8[2] 9", 134, True),
        ("8[1-2] 8[4]", 0, True),
        ("8[2-3] 9", 0, False),
        ("8[] 9", 134, False),
    ],
)
def test_several_ids_that_do_harm_to_openpbs(ids: str, status: int, dies: bool) -> None:
    with pytest.raises(Refused) as refused:
        check_several_ids(ids.split())
    assert (refused.value.status, refused.value.server_dies) == (status, dies)


# -- the drivers


def drivers(cluster: str) -> Iterator[Driver]:
    """A driver for every choice of settings that changes a command line."""
    values = {
        "account": (None, "a"),
        "project": (None, "p"),
        "wall_time_s": (None, 90),
        "memory_mb": (None, 500),
        "cpus_per_executor": (1, 3),
        "submit_arguments": ((), ("-R", "select[x]") if SYSTEMS[cluster] == "openlava" else ("-q", "other")),
    }
    if cluster == "slurm":
        values["submit_arguments"] = ((), ("-p", "other"))
    for chosen in itertools.product(*values.values()):
        yield driver_for(Settings(cluster=cluster, **dict(zip(values, chosen, strict=True))), "user1")  # type: ignore[arg-type]


#: Batch jobs that one step cancels: a single one, elements and ranges, leftovers.
CANCELLED = (
    [BatchId("7", 1)],
    [BatchId("7", element) for element in (1, 2, 3)],
    [BatchId("7", element) for element in (1, 3, 4, 9)],
    [*(BatchId("7", element) for element in (2, 4)), BatchId("8"), BatchId("9", 1)],
)


def lines(cluster: str) -> set[tuple[str, ...]]:
    """Every command line that the driver can write, but for names and numbers."""
    found: set[tuple[str, ...]] = set()
    for driver in drivers(cluster):
        for queue, count in itertools.product((None, "fast"), (1, 2, 200)):
            found.add(driver.submit_command(Submission("abc123", count, "spraycc-0a1b2c", queue, ("x",), "/l")).argv)
    leftovers = [BatchId("9[]")] if cluster == "pbs" else [BatchId("9")]
    for batches in (*CANCELLED, leftovers):
        found |= {command.argv for command in driver.cancel_commands(batches)}
    found |= {driver.list_command([]), driver.list_command(["7"]), driver.list_command(["7", "8"])}
    found.add(driver.search_command("spraycc-0a1b2c"))
    return found | {argv for batch in (BatchId("7", 3), BatchId("7")) if (argv := driver.explain_command(batch))}


@pytest.mark.parametrize(("cluster", "system"), SYSTEMS.items())
def test_every_command_line_of_a_driver_is_taken(cluster: str, system: str) -> None:
    for argv in lines(cluster):
        command = check(system, argv)
        if argv[0] == "qdel" and system == "pbs":
            check_several_ids(command.operands)


#: Forms that no transcript has: (system, program, option or kind of operand) -> the manual page, or the place where it
#: was seen.
BY_MANUAL_ONLY = {
    ("pbs", "qsub", "S"): "qsub(1B)",
    ("pbs", "qsub", "r"): "qsub(1B); builds on OpenPBS 23.06.06",
    ("pbs", "qselect", "N"): "qselect(1B); builds on OpenPBS 23.06.06",
    ("pbs", "qsub", "f"): "qsub(1B); builds on OpenPBS 23.06.06",
    ("pbs", "qstat", "N[N]"): "qstat(1B); builds on OpenPBS 23.06.06",
    ("openlava", "bkill", "N[N,…]"): "bkill(1); builds on OpenLava 2.2",
    ("slurm", "scancel", "N_[N]"): "scancel(1); the tests with a real Slurm",
    ("slurm", "scancel", "N_[N,…]"): "scancel(1); the tests with a real Slurm",
    ("gridengine", "qsub", "w"): "submit(1); the tests with a real Grid Engine",
    ("gridengine", "qsub", "P"): "submit(1)",
    ("slurm", "sbatch", "no-requeue"): "sbatch(1); the tests with a real Slurm",
    ("slurm", "sbatch", "chdir"): "sbatch(1); the tests with a real Slurm",
    ("slurm", "sbatch", "propagate"): "sbatch(1); the tests with a real Slurm",
    ("slurm", "sbatch", "nodes"): "sbatch(1); the tests with a real Slurm",
    ("slurm", "squeue", "user"): "squeue(1); the tests with a real Slurm",
    ("slurm", "squeue", "all"): "squeue(1); the tests with a real Slurm",
    ("gridengine", "qsub", "S"): "submit(1); the tests with a real Grid Engine",
    ("gridengine", "qsub", "wd"): "submit(1); the tests with a real Grid Engine",
    ("gridengine", "qsub", "r"): "submit(1); the tests with a real Grid Engine",
    ("gridengine", "qsub", "notify"): "submit(1); the tests with a real Grid Engine",
    ("gridengine", "qsub", "A"): "submit(1)",
}


def parts(command: Command) -> set[str]:
    """The normal form: options without values, and the kinds of operands."""
    kinds = {re.sub(r"\d+", "N", re.sub(r"(?:\.\w+)$", "", word)) for word in command.operands}
    return {name for name, _ in command.options} | {re.sub(r"(?:,N(?:-N)?)+", ",…", kind) for kind in kinds}


@pytest.mark.parametrize(("cluster", "system"), SYSTEMS.items())
def test_the_form_of_every_command_line_was_recorded(cluster: str, system: str) -> None:
    known: dict[str, set[str]] = {}
    for words, reply in recorded(system):
        if refusal(system, words) is not None:
            continue
        command = check(system, words)
        if not reply.status or command.program in ("qdel", "bkill", "qstat", "scancel"):
            known.setdefault(command.program, set()).update(parts(command))
    missing = {
        (system, argv[0], part) for argv in lines(cluster) for part in parts(check(system, argv)) - known[argv[0]]
    }
    assert missing == {entry for entry in BY_MANUAL_ONLY if entry[0] == system}

"""Which cluster manager a submit host has, by its programs, and its queues, by a command that changes nothing. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

#: A queue's name: any characters but blanks, which separate names in a variable, and control characters.
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, or a partition of Slurm."""

    name: str
    #: batch jobs that name no queue go to this queue
    is_default: bool = False
    #: for the user: "up, at most 1:00:00, 40 CPUs"; may be empty
    note: str = ""
    #: False: it takes or starts no batch jobs now
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class Manager:
    """A kind of cluster manager."""

    #: value of the setting `cluster`
    cluster: str
    name: str
    #: all of them are on PATH if this manager's software is
    programs: tuple[str, ...]
    #: prints the queues, and fails if the manager does not answer
    list_command: tuple[str, ...]
    parse: Callable[[str], list[Queue]]
    #: the word for a queue
    queue_word: str = "queue"
    #: a program that another manager has, and this one does not
    foreign: str = ""

    def is_installed(self, on_path: Collection[str]) -> bool:
        return set(self.programs) <= set(on_path) and self.foreign not in on_path


def parse_sinfo(text: str) -> list[Queue]:
    """From ``sinfo --noheader --format=%P|%a|%l|%D|%c``: a line for each partition and kind of node."""
    queues: dict[str, Queue] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != 5 or not _NAME.fullmatch(fields[0].rstrip("*")):
            continue
        name, state, limit, nodes, cpus = fields
        is_default = name.endswith("*")
        most = "no time limit" if limit == "infinite" else f"at most {limit}"
        note = f"{state}, {most}, {nodes} node{'' if nodes == '1' else 's'} of {cpus} CPU{'' if cpus == '1' else 's'}"
        queues.setdefault(name.rstrip("*"), Queue(name.rstrip("*"), is_default, note, state == "up"))
    return list(queues.values())


def parse_names(text: str) -> list[Queue]:
    """From ``qconf -sql``: a name on each line."""
    return [Queue(line.strip()) for line in text.splitlines() if _NAME.fullmatch(line.strip())]


def parse_pbs(text: str) -> list[Queue]:
    """From ``qstat -Q``: a table below a line of dashes. A queue is of use if it is enabled and started."""
    queues = []
    _, _, table = text.partition("\n---")
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 5 and _NAME.fullmatch(fields[0]):
            is_open = fields[3] == fields[4] == "yes"
            queues.append(Queue(fields[0], note="" if is_open else "closed", is_open=is_open))
    return queues


def parse_lsf(text: str) -> list[Queue]:
    """From ``bqueues -w``: a table below its header."""
    queues = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 3 and _NAME.fullmatch(fields[0]) and ":" in fields[2]:
            queues.append(Queue(fields[0], note=fields[2], is_open=fields[2].startswith("Open")))
    return queues


MANAGERS = (
    Manager(
        "slurm",
        "Slurm",
        ("sbatch", "squeue", "scancel", "sinfo"),
        ("sinfo", "--noheader", "--format=%P|%a|%l|%D|%c"),
        parse_sinfo,
        "partition",
    ),
    Manager("gridengine", "Grid Engine", ("qsub", "qstat", "qdel", "qconf"), ("qconf", "-sql"), parse_names),
    Manager("pbs", "PBS", ("qsub", "qstat", "qdel", "qselect"), ("qstat", "-Q"), parse_pbs, foreign="qconf"),
    Manager("lsf", "LSF", ("bsub", "bjobs", "bkill", "bqueues"), ("bqueues", "-w"), parse_lsf),
)
#: Every program that a search looks for.
PROGRAMS = frozenset(program for manager in MANAGERS for program in (*manager.programs, manager.foreign) if program)

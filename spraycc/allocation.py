"""The allocation of a cluster manager in which a build is started: its hosts and CPUs. Pure.

``salloc``, ``bsub -Is``, ``qsub -I`` and ``qlogin`` describe the allocation in variables, and in files that they name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

#: The text of a file. Raises OSError.
Read = Callable[[str], str]


#: Names that a command takes for nothing else, such as an option.
_HOST = re.compile(r"\w[\w.:-]{0,254}")
_JOB = re.compile(r"\w[\w.\[\]-]*")
#: The most hosts of an allocation. A list of more is taken for damaged.
_MOST_HOSTS = 100_000


@dataclass(frozen=True, slots=True)
class Allocation:
    """The hosts and CPUs that a cluster manager has given the user."""

    #: key of SYSTEMS
    manager: str
    job: str
    #: (name, CPUs) of each host, no host twice
    hosts: tuple[tuple[str, int], ...]
    #: the submit host's name in ``hosts``; empty if the submit host is not among them
    here: str = ""
    #: variables without which the manager's command starts nothing in the allocation. PBS has a secret among them
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def from_map(cls, values: Mapping[str, Any]) -> Allocation:
        """An allocation from a message."""
        pairs = {name: tuple((str(a), b) for a, b in values[name]) for name in ("hosts", "variables")}
        return cls(values["manager"], values["job"], here=values["here"], **pairs)

    @property
    def cluster(self) -> str:
        """The value of the setting `cluster` that starts executors in this allocation."""
        return f"{self.manager}-step"

    @property
    def name(self) -> str:
        """The allocation in words: ``the allocation 123 of Slurm``."""
        return f"the allocation {self.job} of {SYSTEMS[self.manager].name}"

    @property
    def cpus_here(self) -> int:
        return dict(self.hosts).get(self.here, 0)

    @property
    def is_here_alone(self) -> bool:
        """True if all CPUs are on the submit host."""
        return [name for name, _ in self.hosts] == [self.here]

    def slots(self, local_slots: int) -> tuple[tuple[str, int], ...]:
        """(host, executors) of the hosts that have CPUs for executors; at least one executor.

        Args:
            local_slots: tasks that run on the submit host at once. They take CPUs of the allocation if the submit host
                belongs to it.
        """
        free = [(name, cpus - local_slots if name == self.here else cpus) for name, cpus in self.hosts]
        return tuple((name, slots) for name, slots in free if slots > 0) or ((self.hosts[0][0], 1),)


@dataclass(frozen=True, slots=True)
class System:
    """One cluster manager: how its allocation is read, and which command starts processes there."""

    name: str
    #: the command that starts processes on the allocation's hosts
    program: str
    #: (job, CPUs of each host) from the variables; a ValueError, KeyError or OSError means that there is none
    read: Callable[[Mapping[str, str], Read, str], tuple[str, Iterable[tuple[str, int]]]]
    #: patterns of the variables that ``program`` needs
    variables: tuple[str, ...] = ()


def find_allocation(
    environ: Mapping[str, str], read: Read, submit_host: str, manager: str | None = None
) -> Allocation | None:
    """The allocation that the variables describe.

    Args:
        environ: the user's environment.
        read: reads a file that a variable names.
        submit_host: the name of this host.
        manager: the only one to look for, a key of SYSTEMS; None: any.

    Returns:
        None if there is no allocation, or if its description has an unknown form.
    """
    for key, system in SYSTEMS.items():
        if manager not in (None, key):
            continue
        cpus: Counter[str] = Counter()
        try:
            job, shares = system.read(environ, read, submit_host)
            for host, count in shares:
                cpus[host] += count
        except (KeyError, ValueError, OSError):
            continue
        if not cpus or min(cpus.values()) < 1 or not _JOB.fullmatch(job) or not all(map(_HOST.fullmatch, cpus)):
            continue
        # In a step or a batch script, Slurm names the host as its node, which may differ from the host's own name.
        own = {_short(submit_host), _short(environ.get("SLURMD_NODENAME", submit_host))}
        here = next((host for host in cpus if _short(host) in own), "")
        kept = {name: text for name, text in environ.items() if any(fnmatchcase(name, p) for p in system.variables)}
        return Allocation(key, job, tuple(cpus.items()), here, tuple(sorted(kept.items())))
    return None


def expand_hosts(text: str) -> list[str]:
    """The names in a host list of Slurm: ``node[01-03,7],x`` is node01, node02, node03, node7, x.

    Raises:
        ValueError: the text is no host list.
    """
    number = r"\d+(?:-\d+)?"
    word = rf"(?:[\w.-]|\[{number}(?:,{number})*\])+"
    if re.fullmatch(rf"{word}(?:,{word})*", text) is None:
        raise ValueError(f"{text!r} is no list of hosts")
    hosts: list[str] = []
    for found in re.findall(word, text):
        hosts += _expand(found)
        _check_number(len(hosts))
    return hosts


def expand_counts(text: str) -> list[int]:
    """The numbers in Slurm's short form: ``4(x3),2`` is 4, 4, 4, 2.

    Raises:
        ValueError: the text has another form.
    """
    counts: list[int] = []
    for word in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", word)
        if found is None:
            raise ValueError(f"{word!r} is no number of CPUs")
        _check_number(int(found[2] or 1))
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def _check_number(hosts: int) -> None:
    if hosts > _MOST_HOSTS:
        raise ValueError(f"more than {_MOST_HOSTS} hosts")


def _expand(word: str) -> list[str]:
    """The names that one word of a host list stands for."""
    names = [""]
    for part in re.split(r"(\[[^]]*\])", word):
        if not part.startswith("["):
            names = [name + part for name in names]
            continue
        numbers: list[str] = []
        for bounds in part[1:-1].split(","):
            first, _, last = bounds.partition("-")
            _check_number(len(names) * (int(last or first) - int(first) + 1))
            numbers += [f"{number:0{len(first)}d}" for number in range(int(first), int(last or first) + 1)]
        _check_number(len(names) * len(numbers))
        names = [name + number for name in names for number in numbers]
    return names


def _short(host: str) -> str:
    return host.partition(".")[0]


def _slurm(environ: Mapping[str, str], _read: Read, _host: str) -> tuple[str, Iterable[tuple[str, int]]]:
    hosts = expand_hosts(environ["SLURM_JOB_NODELIST"])
    if cpus := environ.get("SLURM_JOB_CPUS_PER_NODE"):
        counts = expand_counts(cpus)
    else:
        each = int(environ.get("SLURM_CPUS_PER_TASK", "1"))
        counts = [tasks * each for tasks in expand_counts(environ["SLURM_TASKS_PER_NODE"])]
    return environ["SLURM_JOB_ID"], zip(hosts, counts, strict=True)


def _lsf(environ: Mapping[str, str], read: Read, _host: str) -> tuple[str, Iterable[tuple[str, int]]]:
    index = environ.get("LSB_JOBINDEX", "0")
    job = environ["LSB_JOBID"] + (f"[{index}]" if index != "0" else "")
    if words := environ.get("LSB_MCPU_HOSTS", "").split():
        return job, zip(words[::2], map(int, words[1::2]), strict=True)
    # LSF leaves these variables out if the list is long. The file has a line for each slot.
    named = environ.get("LSB_HOSTS") or read(environ["LSB_DJOB_HOSTFILE"])
    return job, Counter(named.split()).items()


def _pbs(environ: Mapping[str, str], read: Read, _host: str) -> tuple[str, Iterable[tuple[str, int]]]:
    # The file has a line for each MPI process: one for each chunk unless the user asks for `mpiprocs`. NCPUS is the
    # number of CPUs of the first chunk, and PBS tells no others. So a host counts for the larger of both numbers.
    lines = Counter(read(environ["PBS_NODEFILE"]).split())
    chunk = int(environ.get("NCPUS") or environ.get("OMP_NUM_THREADS") or 1)
    return environ["PBS_JOBID"], [(host, max(count, chunk)) for host, count in lines.items()]


def _grid_engine(environ: Mapping[str, str], read: Read, host: str) -> tuple[str, Iterable[tuple[str, int]]]:
    task = environ["SGE_TASK_ID"]  # "undefined" outside of an array
    job = environ["JOB_ID"] + (f".{task}" if task.isdigit() else "")
    if "PE_HOSTFILE" not in environ:  # without a parallel environment, the job has the host on which its shell runs
        return job, [(host, int(environ["NSLOTS"]))]
    rows = [line.split() for line in read(environ["PE_HOSTFILE"]).splitlines() if line.strip()]
    return job, [(row[0], int(row[1])) for row in rows if len(row) >= 2]


#: The cluster managers by the first part of the setting `cluster`: ``slurm`` for ``slurm-step``.
SYSTEMS: dict[str, System] = {
    "slurm": System("Slurm", "srun", _slurm, ("SLURM_WORKING_CLUSTER",)),  # --jobid names the allocation
    "lsf": System("LSF", "blaunch", _lsf, ("LSB_*", "LSF_*", "LS_JOBPID", "LS_SUBCWD")),
    "pbs": System("PBS", "pbs_tmrsh", _pbs, ("PBS_*",)),
    "gridengine": System(
        "Grid Engine", "qrsh", _grid_engine,
        ("SGE_*", "PE", "PE_HOSTFILE", "JOB_ID", "JOB_NAME", "ARC", "QUEUE", "NSLOTS", "NHOSTS", "NQUEUES", "TMPDIR"),
    ),
}  # fmt: skip

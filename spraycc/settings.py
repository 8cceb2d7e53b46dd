"""All settings: names, types, limits, defaults and help texts. spraycc.config validates them.

The command line sends them to the server as a map. ``--help`` shows the help texts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from spraycc.allocation import Allocation

if TYPE_CHECKING:  # spraycc.config.keys imports them to check a value; a build without settings checks none
    from annotated_types import Ge, Le

_MOST_EXECUTORS = 100_000
#: Most executors on a cluster if the user sets no number.
DEFAULT_CLUSTER_EXECUTORS = 100


@dataclass(frozen=True, slots=True)
class Form:
    """A constraint of a setting's text beyond its type, and the allowed values in words."""

    fits: Callable[[str], bool]
    words: str


def _is_port_range(text: str) -> bool:
    if re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?", text) is None:
        return False
    first, _, last = text.partition("-")
    return 1 <= int(first) <= int(last or first) <= 65535


def _is_batch_name(text: str) -> bool:
    # With other characters, a name means several names to some cluster manager's command.
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", text) is not None


def usable_cpus() -> int:
    """CPUs that this process may use (its affinity mask)."""
    return len(os.sched_getaffinity(0))


def setting(default: Any, help_text: str) -> Any:
    """A field of Settings."""
    return field(default=default, metadata={"help": help_text})


def _is_selective(pattern: str) -> bool:
    """False if the pattern fits nearly every name or path (``*``, ``?*``, ``*/*``, ``[!.]*``), or no program."""
    return re.fullmatch(r"(?:[*?/.]|\[[^]]*\])*", pattern) is None and not any(sign in pattern for sign in "\n\0")


@dataclass(frozen=True, slots=True)
class Settings:
    """One attribute for each setting.

    The attribute's name is the key in the files, ``SPRAYCC_`` + upper case in the environment, and a flag with ``--``
    and dashes. None means "auto" in the help texts; the properties below compute the value in force.
    """

    executors: Annotated[int, Ge(1), Le(_MOST_EXECUTORS)] | None = setting(
        None,
        "Most executors at once, whatever -j says; with cluster local, most compiles at once on this host. auto: the "
        "CPUs of this host with cluster local, all CPUs of an allocation, else 100, or the build's -j if that is more.",
    )
    initial_executors: Annotated[int, Ge(1)] | None = setting(
        None, "Executors asked for at first; more follow when all are busy. auto: as many as the build may use."
    )
    local_slots: Annotated[int, Ge(1), Le(1024)] | None = setting(
        None,
        "Most links and compiles at once on this host. auto: the CPUs with cluster local, else a quarter of them.",
    )
    probing_limit: Annotated[int, Ge(1), Le(4096)] | None = setting(
        None,
        "Most recipes without a runner at once on this host, for a moment, "
        "when a strict limit would leave executors idle. auto: twice the local slots.",
    )
    light_slots: Annotated[int, Ge(1), Le(4096)] | None = setting(
        None, "Most archives and other short commands at once on this host. auto: twice the local slots."
    )
    local_compile_slots: Annotated[int, Ge(0), Le(1024)] = setting(
        0,
        "Most compiles that this host runs beside the executors of a cluster, when no executor is free for them. "
        "With cluster local, this host runs them all: see executors.",
    )
    cluster: Literal[
        "local", "slurm", "gridengine", "pbs", "lsf", "openlava", "ssh", "command",
        "slurm-step", "lsf-step", "pbs-step", "gridengine-step",
    ] = setting(
        "local",
        "The system that starts the executors. local: none, this host runs the commands, unless capture or "
        "executor_prefix asks for executors on this host. Unset inside an allocation (salloc, bsub -Is, qsub -I, "
        "qlogin): the value with -step that uses the allocation's CPUs, or local if they are all on this host.",
    )  # fmt: skip
    queues: tuple[str, ...] = setting(
        (), "Queues (Slurm: partitions) for batch jobs, the preferred one first. Empty: the cluster manager's default."
    )
    queue_use: Literal["first", "share"] = setting(
        "first",
        "The use of several queues. first: the next queue only if one refuses, or starts nothing for "
        "queue_patience_s. share: all queues in turn.",
    )
    queue_patience_s: Annotated[float, Ge(0)] = setting(
        30.0, "Seconds that executors wait in one queue before SprayCC asks the next queue too."
    )
    account: str | None = setting(None, "Account that batch jobs are charged to.")
    project: str | None = setting(None, "Project that batch jobs are charged to.")
    wall_time_s: Annotated[int, Ge(60)] | None = setting(
        None, "Seconds that a batch job may run. auto: the queue's default."
    )
    memory_mb: Annotated[int, Ge(1)] | None = setting(None, "Memory of a batch job in MiB. auto: the queue's default.")
    cpus_per_executor: Annotated[int, Ge(1), Le(1024)] = setting(
        1, "CPUs of a batch job; SprayCC starts one executor for each CPU."
    )
    parallel_environment: str = setting("smp", "Grid Engine's parallel environment for batch jobs with several CPUs.")
    submit_arguments: tuple[str, ...] = setting((), "More words for the submit command (ssh, srun, … for processes).")
    batch_name: Annotated[str, Form(_is_batch_name, 'letters, digits and "_.-", a letter first')] = setting(
        "spraycc", "First part of the names of batch jobs."
    )
    setup: str | None = setting(
        None,
        "Line of shell that runs on an executor's host before the executor starts, for example 'module load python'. "
        "Tasks have the environment of your build: load the compiler's module in your shell before the build.",
    )
    array_limit: Annotated[int, Ge(1), Le(1_000_000)] | None = setting(
        None, "Most batch jobs in one array. auto: the cluster manager's default limit."
    )
    keep_pending: Annotated[int, Ge(1)] | None = setting(
        None, "Most executors that are asked for and have not started yet. auto: no limit."
    )
    status_interval_s: Annotated[float, Ge(1)] = setting(
        15.0, "Seconds between two queries for the state of all batch jobs."
    )
    submit_interval_s: Annotated[float, Ge(0)] = setting(1.0, "Seconds between two submit commands.")
    cluster_timeout_s: Annotated[float, Ge(1)] = setting(60.0, "Seconds that a cluster manager's command may take.")
    hosts: tuple[str, ...] = setting((), "Hosts for cluster ssh, each as HOST or HOST:EXECUTORS.")
    start_command: tuple[str, ...] = setting(
        (), "Command that starts one executor with cluster command; {command} stands for the executor's command line."
    )
    capture: Literal["auto", "overlay", "predict", "in-place"] = setting(
        "auto",
        "How an executor captures the files that a command writes. "
        "auto: overlay if the executor's host allows it, else predict; with cluster local, no executors.",
    )
    summary: str | None = setting(None, "File for the build's figures, as JSON.")
    summary_line: bool = setting(
        True, "Print one line of figures at the end, and one that says why no compile ran on an executor."
    )
    progress: Literal["auto", "plain", "none"] = setting(
        "auto",
        "Progress while the build runs. auto: one line at the bottom of a terminal, else as plain. "
        "plain: a line every 30 s on standard error. none: nothing.",
    )
    pending_grace_s: Annotated[float, Ge(0)] = setting(
        5.0, "Seconds that the first tasks wait for the first executor before they run on this host."
    )
    wait_for_cluster: bool = setting(False, "Never run a task on this host because no executor is connected.")
    max_attempts: Annotated[int, Ge(1), Le(100)] = setting(
        3, "Times that a task is sent to an executor before the task runs on this host."
    )
    fall_back_limit: Annotated[int, Ge(0), Le(100)] = setting(
        30,
        "If more than this many of a build's last 100 tasks failed on executors and ran on this host, "
        "the rest of the build runs on this host.",
    )
    release_delay_s: Annotated[float, Ge(0)] = setting(
        60.0, "Seconds that an idle executor is kept. During a build, one idle executor is kept longer."
    )
    idle_shutdown_s: Annotated[float, Ge(0)] = setting(
        120.0, "Seconds without a build, a runner and an executor before the server ends."
    )
    heartbeat_s: Annotated[float, Ge(0.1)] = setting(5.0, "Seconds between heartbeats to each executor.")
    lost_after_s: Annotated[float, Ge(0.5)] = setting(20.0, "Seconds of silence before an executor counts as lost.")
    listen: str | None = setting(
        None,
        "Address on which the server listens for executors. "
        "auto: loopback with cluster local, else all addresses of this host.",
    )
    listen_ports: Annotated[str, Form(_is_port_range, '"PORT" or "FIRST-LAST", 1 to 65535')] | None = setting(
        None,
        "Ports of this host on which servers may listen for executors of other hosts, for example '40000-40100'. "
        "auto: any free port.",
    )
    scratch_dir: str | None = setting(
        None,
        "Directory for scratch files on the executor's own disk. "
        "auto: the first usable of TMPDIR, /var/tmp, /tmp and /dev/shm.",
    )
    executor_prefix: tuple[str, ...] = setting(
        (), "Words before each executor's command line, for example nice, taskset or the run command of a container."
    )
    kept_variables: tuple[str, ...] = setting(
        (),
        "Patterns of names of further variables that the server, its executors and the cluster manager's commands keep "
        "from your environment, for example 'APPTAINER_*'. A running server keeps its own until it is stopped.",
    )
    intercept: Literal["exec", "path"] | None = setting(
        None,
        "How compilers are intercepted. exec: where they are executed, by a preloaded library. path: by shims first on "
        "PATH. auto: exec if the build tool loads the library.",
    )
    intercept_below: tuple[str, ...] = setting(
        (),
        "Patterns of programs that the build makes in the workspace and that start compilers, for example './python'. "
        "Compilers below them are intercepted, too.",
    )
    wrap: tuple[str, ...] = setting((), "Programs to wrap beside the known compilers and archivers.")
    wrap_shell: bool = setting(
        False,
        "Wrap the lines of make's recipes too (if the makefile sets no SHELL). "
        "Lines that start no wrapped program count as short commands.",
    )
    link_memory_mb: Annotated[int, Ge(0)] = setting(
        512, "Memory in MiB that must be free on this host for each further link. 0: links wait for slots only."
    )
    tools_like_gcc: tuple[str, ...] = setting((), "Patterns of names of further compilers with GCC's command line.")
    tools_like_clang: tuple[str, ...] = setting((), "Patterns of names of further compilers with Clang's command line.")
    tools_overlay_only: tuple[str, ...] = setting(
        (),
        "Patterns of names of further compilers with -c and -o, whose outputs are unknown. "
        "Only executors with an overlay run them.",
    )
    policy_remote: tuple[str, ...] = setting(
        (),
        "Patterns of programs' names (with a slash: of their paths, with a blank: of whole command lines) "
        "that go to an executor.",
    )
    policy_here_heavy: tuple[str, ...] = setting(
        (), "Patterns of programs or command lines that run on this host and count as links."
    )
    policy_here_light: tuple[str, ...] = setting(
        (), "Patterns of programs or command lines that run on this host and count as short commands."
    )
    #: A probe of ``spraycc doctor``: even cluster local starts executors. No setting.
    is_probe: bool = False
    #: The number of the build tool's -j. Found by the command line; no setting.
    jobs: int | None = None
    #: The allocation in which the build is started, if executors use its CPUs. Found by spraycc.config; no setting.
    allocation: Allocation | None = None

    @classmethod
    def from_map(cls, values: dict[str, Any]) -> Settings:
        """Settings from a message or a file. Ignores unknown keys; missing keys have their defaults."""
        known: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
        if allocation := known.get("allocation"):
            known["allocation"] = Allocation.from_map(allocation)
        return cls(**known | lists)

    @property
    def wrapped(self) -> tuple[str, ...]:
        """Patterns of programs to intercept beside the known ones: from ``wrap``, ``tools_…`` and the policy.

        A pattern that fits every program is left out: its rule is for programs that are intercepted for other reasons.
        """
        rules = (*self.policy_remote, *self.policy_here_heavy, *self.policy_here_light)
        tools = (*self.tools_like_gcc, *self.tools_like_clang, *self.tools_overlay_only)
        patterns = (*self.wrap, *tools, *(rule.split(" ", 1)[0] for rule in rules))
        return tuple(dict.fromkeys(filter(_is_selective, patterns)))

    @property
    def wrapped_names(self) -> tuple[str, ...]:
        """The plain names among ``wrapped``: those that can get a shim."""
        return tuple(pattern for pattern in self.wrapped if not any(sign in pattern for sign in "/*?["))

    @property
    def step_slots(self) -> tuple[tuple[str, int], ...]:
        """(host, executors) of the allocation with a cluster ``…-step``. Empty without an allocation, or elsewhere."""
        if self.allocation is None or self.cluster != self.allocation.cluster:
            return ()
        return self.allocation.slots(self.local_slots_in_force)

    @property
    def executors_in_force(self) -> int:
        if slots := sum(count for _, count in self.step_slots):
            return min(slots, self.executors or _MOST_EXECUTORS)
        if self.executors is not None:
            return self.executors
        if self.cluster == "local":
            return self._cpus_here
        return min(max(DEFAULT_CLUSTER_EXECUTORS, self.jobs or 0), _MOST_EXECUTORS)

    @property
    def starts_executors(self) -> bool:
        """False: this host runs the tasks itself, because executors on this host would see the same files."""
        return self.cluster != "local" or self.capture != "auto" or bool(self.executor_prefix) or self.is_probe

    @property
    def compile_slots_in_force(self) -> int:
        """Most tasks meant for executors that this host runs at once, beside executors or in their place."""
        if not self.starts_executors:
            return self.executors_in_force
        return 0 if self.cluster == "local" else self.local_compile_slots

    @property
    def ports_for_executors(self) -> Sequence[int]:
        """The ports to listen on; 0 stands for any free port."""
        # Executors of this host connect by loopback, which no firewall guards.
        if self.listen_ports is None or self.cluster == "local":
            return (0,)
        first, _, last = self.listen_ports.partition("-")
        return range(int(first), int(last or first) + 1)

    @property
    def local_slots_in_force(self) -> int:
        if self.local_slots is not None:
            return self.local_slots
        return self._cpus_here if self.cluster == "local" else max(1, self._cpus_here // 4)

    @property
    def unseen_limit_in_force(self) -> int:
        """Most recipes without a runner at once. If this host runs everything, they are like other recipes."""
        local = self.local_slots_in_force
        return local if self.starts_executors else max(local, self.executors_in_force)

    @property
    def _cpus_here(self) -> int:
        """CPUs of the submit host for this build. A host may let a process use more CPUs than its allocation has."""
        allocated = 0 if self.allocation is None else self.allocation.cpus_here
        return min(usable_cpus(), allocated or usable_cpus())

    @property
    def probing_limit_in_force(self) -> int:
        local = self.unseen_limit_in_force
        return 2 * local if self.probing_limit is None else max(local, self.probing_limit)

    @property
    def light_slots_in_force(self) -> int:
        return self.light_slots if self.light_slots is not None else 2 * self.local_slots_in_force

"""All settings, their defaults and what is allowed. Validated by spraycc.config; travels to the server as a map."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

if TYPE_CHECKING:  # spraycc.config.keys has them where it looks at the types; a build without settings need not
    from annotated_types import Ge, Le

#: Most executors on a cluster where nobody says how many.
DEFAULT_CLUSTER_EXECUTORS = 100


def usable_cpus() -> int:
    """CPUs that this process may use (its affinity mask)."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Settings:
    """One attribute a setting: the key in the files, ``SPRAYCC_`` + upper case in the environment, ``--`` with dashes
    as a flag.

    None is "decide by the machine"; the properties below say how.
    """

    #: most executors at once; None: the local driver's CPUs, 100 on a cluster
    executors: Annotated[int, Ge(1), Le(100_000)] | None = None
    #: so many are asked for at first, and more when all of them are busy; None: as many as the build may use
    initial_executors: Annotated[int, Ge(1)] | None = None
    #: most links and fallen-back compiles at once on this host; None: with the local driver its CPUs, else max(1,
    #: CPUs / 4)
    local_slots: Annotated[int, Ge(1), Le(1024)] | None = None
    #: most recipes without a runner at once on this host for a moment, where strict holding would starve the executors;
    #: None: twice the local slots
    probing_limit: Annotated[int, Ge(1), Le(4096)] | None = None
    #: most archives and other short commands at once on this host; None: twice the local slots
    light_slots: Annotated[int, Ge(1), Le(4096)] | None = None
    #: who starts the executors
    cluster: Literal["local", "slurm", "gridengine", "pbs", "lsf", "openlava", "ssh", "command"] = "local"
    #: the cluster manager's queues (Slurm: partitions) in the order of preference; none: its default
    queues: tuple[str, ...] = ()
    #: what several queues are for: "first" goes on to the next where one refuses, or starts nothing for
    #: ``queue_patience_s``; "share" submits to all in turn
    queue_use: Literal["first", "share"] = "first"
    #: seconds that executors wait in one queue before the next one is asked for them too
    queue_patience_s: Annotated[float, Ge(0)] = 30.0
    #: the account that is charged
    account: str | None = None
    #: the project that is charged
    project: str | None = None
    #: how long a batch job may run; None: the queue's default
    wall_time_s: Annotated[int, Ge(60)] | None = None
    #: memory of a batch job; None: the queue's default
    memory_mb: Annotated[int, Ge(1)] | None = None
    #: CPUs of a batch job, each for an executor of its own
    cpus_per_executor: Annotated[int, Ge(1), Le(1024)] = 1
    #: Grid Engine's parallel environment for batch jobs with several CPUs
    parallel_environment: str = "smp"
    #: more words for the submit command (for ssh: its options)
    submit_arguments: tuple[str, ...] = ()
    #: what batch jobs' names begin with
    batch_name: str = "spraycc"
    #: a line of shell that is run before an executor starts, such as "module load gcc"
    setup: str | None = None
    #: most batch jobs in one array; None: what the cluster manager allows by default
    array_limit: Annotated[int, Ge(1), Le(1_000_000)] | None = None
    #: most executors that are asked for and have not started yet; None: no limit but ``executors``
    keep_pending: Annotated[int, Ge(1)] | None = None
    #: seconds between two looks at what is pending, for all batch jobs at once
    status_interval_s: Annotated[float, Ge(1)] = 15.0
    #: seconds between two submit commands
    submit_interval_s: Annotated[float, Ge(0)] = 1.0
    #: seconds that a cluster manager's command may take
    cluster_timeout_s: Annotated[float, Ge(1)] = 60.0
    #: hosts that ssh reaches, as host or host:executors
    hosts: tuple[str, ...] = ()
    #: the command that starts one executor with cluster "command"; {command} stands for the executor's command line
    start_command: tuple[str, ...] = ()
    #: how outputs are captured; "auto" is overlay where the executor's host can, else predict
    capture: Literal["auto", "overlay", "predict", "in-place"] = "auto"
    #: where the build's figures are written as JSON
    summary: str | None = None
    #: print the one-line summary on stderr at the end
    summary_line: bool = True
    #: seconds that the first tasks wait for the first executor before they run here
    pending_grace_s: Annotated[float, Ge(0)] = 5.0
    #: never run a task here because no executor is connected
    wait_for_cluster: bool = False
    #: dispatches of one task before it runs here
    max_attempts: Annotated[int, Ge(1), Le(100)] = 3
    #: of a build's last 100 tasks, so many may be tried on executors and run here after all; with more the rest runs
    #: here
    fall_back_limit: Annotated[int, Ge(0), Le(100)] = 30
    #: seconds that executors are kept warm after the last build; in a build all but one of the idle ones
    release_delay_s: Annotated[float, Ge(0)] = 60.0
    #: seconds without a build, a runner and an executor after which the server ends itself
    idle_shutdown_s: Annotated[float, Ge(0)] = 120.0
    #: seconds between heartbeats to each executor
    heartbeat_s: Annotated[float, Ge(0.1)] = 5.0
    #: seconds of silence after which an executor counts as lost
    lost_after_s: Annotated[float, Ge(0.5)] = 20.0
    #: the address the server listens on for executors; None: loopback with the local driver, else all of this host
    listen: str | None = None
    #: directory on the executors' local disk for their scratch files; None: the first of TMPDIR, /var/tmp, /tmp,
    #: /dev/shm that serves
    scratch_dir: str | None = None
    #: words put before each executor's command line (nice, taskset, a namespace of one's own)
    executor_prefix: tuple[str, ...] = ()
    #: more names of programs to wrap, beside the known compilers and archivers
    wrap: tuple[str, ...] = ()
    #: make's recipe lines that start nothing wrapped are commands under the light quota too
    wrap_shell: bool = False
    #: memory that must be free on this host for each further link, in MiB; 0: links wait for slots only
    link_memory_mb: Annotated[int, Ge(0)] = 512
    #: patterns of programs (or, with a blank in it, of whole command lines) that go to an executor
    policy_remote: tuple[str, ...] = ()
    #: those that stay on this host under the quota of links
    policy_here_heavy: tuple[str, ...] = ()
    #: those that stay on this host under the quota of short commands
    policy_here_light: tuple[str, ...] = ()

    @classmethod
    def from_map(cls, values: dict[str, Any]) -> Settings:
        """Settings from a message or a file. Ignores keys that this version does not know; missing keys have their
        defaults."""
        known: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        for name, value in known.items():
            if isinstance(value, list):
                known[name] = tuple(value)
        return cls(**known)

    @property
    def wrapped(self) -> tuple[str, ...]:
        """All further names that need a shim: those of ``wrap``, and what the rules of the policy spell out."""
        rules = (*self.policy_remote, *self.policy_here_heavy, *self.policy_here_light)
        names = [rule.split(" ", 1)[0] for rule in rules]
        return tuple(dict.fromkeys((*self.wrap, *(n for n in names if n and not any(c in n for c in "/*?[")))))

    @property
    def executors_in_force(self) -> int:
        if self.executors is not None:
            return self.executors
        return usable_cpus() if self.cluster == "local" else DEFAULT_CLUSTER_EXECUTORS

    @property
    def local_slots_in_force(self) -> int:
        if self.local_slots is not None:
            return self.local_slots
        return usable_cpus() if self.cluster == "local" else max(1, usable_cpus() // 4)

    @property
    def probing_limit_in_force(self) -> int:
        local = self.local_slots_in_force
        return 2 * local if self.probing_limit is None else max(local, self.probing_limit)

    @property
    def light_slots_in_force(self) -> int:
        return self.light_slots if self.light_slots is not None else 2 * self.local_slots_in_force

"""The map of ``spraycc status --json``: each key with its type, unit and meaning.

``docs/reference/status.schema.json`` is made from this module, and a test holds the server's real reply to it. A
later version may add keys. Ages and durations are seconds.
"""

from __future__ import annotations

from typing import TypedDict

from spraycc.model import BuildId


class Pending(TypedDict):
    """Batch jobs of one queue that wait for the same reason, or have started; or processes that start executors."""

    system: str  #: the cluster manager's name, or the setting `cluster` of processes
    queue: str  #: queue (Slurm: partition), or host; empty: the cluster manager's default
    batch_jobs: int  #: number of batch jobs; 0: the executors are processes and no batch jobs
    executors: int  #: executors in them that have not connected
    reason: str  #: the cluster manager's own words; empty: none yet
    started: bool  #: the cluster manager has started the batch jobs, and their executors have not connected
    age_s: float  #: seconds since the first of them was submitted


class TaskStatus(TypedDict):
    """One wrapped command that has not ended."""

    id: int  #: number of the task; the log names it too
    build: str  #: id of its build; empty outside a build
    target: str  #: file that the command makes, relative to the workspace if below it; empty: not known
    source: str  #: file that the command reads first, likewise
    command: str  #: the first characters of the command line
    kind: str  #: compile, dependencies, preprocess, assemble, pch, link, archive, probe or unknown
    age_s: float  #: seconds since the command was started
    run_s: float | None  #: seconds since it began to run where it runs now; null: it waits


class RunningTask(TaskStatus):
    """A command on an executor."""

    attempt: int  #: counts the attempts of the task from 1
    second: bool  #: a second attempt, beside another one


class HereTask(TaskStatus):
    """A command on the submit host."""

    reason: str  #: why it runs or waits there


class WaitingTask(TaskStatus):
    """A command that waits."""

    waits_for: str  #: "executor", or "slot": a slot of the submit host


class SubmitHost(TypedDict):
    """The tasks that are on no executor."""

    running: list[HereTask]
    waiting: list[WaitingTask]  #: the oldest 100
    waiting_in_all: int  #: their number in all


class ExecutorStatus(TypedDict):
    """One connected executor."""

    id: str
    host: str
    pid: int
    capture: str  #: overlay, predict or in-place
    cluster: str  #: name of the cluster that it was submitted to, as in the setting
    batch_job: str  #: the cluster manager's id of the batch job; empty: none, or not known
    task: int | None  #: number of its task; null: the executor is idle
    running: RunningTask | None  #: the same task by name
    age_s: float  #: seconds since it has joined
    counters: dict[str, float]  #: the executor's own counters, see docs/reference/protocol.md


class LoopLag(TypedDict):
    """How long peers wait for the server, in the last minute or two."""

    p99_ms: float
    longest_ms: float


class ServerStatus(TypedDict):
    """The server's process."""

    pid: int
    release: str
    uptime_s: float
    workspace: str
    runtime_dir: str
    state_dir: str
    cpu_s: float
    peak_rss_bytes: int
    descriptors: int  #: number of open files
    loop_lag: LoopLag
    local_slots: int  #: the setting in force
    compile_slots: int  #: most tasks meant for executors that the submit host runs beside executors, or in their place
    starts_executors: bool  #: false: the submit host runs all tasks


class Tokens(TypedDict, total=False):
    """The account of a build's jobserver; empty: the build has none."""

    issued: int
    free: int  #: in the FIFO
    held: int  #: the rest
    unaccounted: int  #: held by recipes without a runner, the tools' implicit slots included
    limit: int  #: the most of those
    recipes: int  #: recipes with a runner
    clients: int  #: top-level tools
    completions_held: int
    completions_held_in_all: int
    lost: int  #: tokens that died with their holders


class CompilesHere(TypedDict):
    """The compiles of a build that ran on the submit host."""

    reasons: dict[str, int]
    first: dict[str, list[str]]  #: reason -> program of the first one, and the program that started it
    samples: int
    samples_unwrapped: int
    unwrapped: dict[str, str]


class BuildStatus(TypedDict):
    """One open build. The counts are explained in docs/reference/protocol.md."""

    id: str
    argv: list[str]  #: the command line as the user has typed it
    cap: int | None  #: the tool's -j; null: no limit
    width: int  #: tasks that may run at once
    age_s: float
    tasks: int  #: commands that have arrived
    done: int  #: commands that have ended
    expected: int | None  #: commands in all, as an earlier build lets expect; null: not known
    rest_s: int | None  #: seconds until the end, as the earlier build lets expect; null: not known
    running: int  #: attempts on executors
    running_here: int  #: commands on the submit host
    waiting: int  #: commands that wait for an executor or a slot of the submit host
    remote: int
    local: int
    failed: int
    retried: int
    stale: int
    second: int
    second_won: int
    cancelled: int
    cpu_s_remote: float
    cpu_s_here: float
    run_s: float
    executors_peak: int
    running_peak: int
    bytes_returned: int
    tokens_issued: int
    tokens_free_at_end: int
    tokens_lost: int
    reasons: dict[str, int]
    compiles: int
    compiles_remote: int
    compiles_here: CompilesHere
    tokens: Tokens


class TaskCounts(TypedDict):
    """Tasks by state."""

    queued: int
    remote: int  #: on an executor
    waiting_here: int  #: for a slot of the submit host
    here_heavy: int
    here_light: int
    here_compile: int  #: in a compile slot
    here_now: int
    answered: int  #: their runner has the result and still has to end


class BuildCounts(TaskCounts):
    """The tasks of one build. The empty id stands for tasks outside all builds."""

    open: bool
    cap: int | None
    width: int  #: 0 unless open


class ExecutorCounts(TypedDict):
    """Executors by state."""

    idle: int
    busy: int
    asked: int  #: and not yet connected
    releasing: int


class Snapshot(TypedDict):
    """The scheduler."""

    builds: dict[BuildId, BuildCounts]
    total: TaskCounts
    executors: ExecutorCounts
    width: int  #: of all open builds together
    falling_back: bool  #: tasks meant for executors run on the submit host, as no executor is connected


class StatusReply(TypedDict):
    """The whole map."""

    server: ServerStatus
    builds: list[BuildStatus]
    scheduler: Snapshot
    submit_host: SubmitHost
    listens: list[tuple[str, int]]  #: addresses on which the server listens for executors: host, port
    executors: list[ExecutorStatus]
    pending: list[Pending]  #: executors that were submitted or started and have not connected
    submissions: list[str]  #: the cluster manager's ids of the submissions that may exist
    trouble: str  #: why executors failed to start (empty: one has joined since), or a limit of the site
    trouble_age_s: float

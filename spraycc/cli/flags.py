"""SprayCC's own options: one for each setting. They stand before the subcommand or the build tool's name."""

from __future__ import annotations

from typing import Any

import click

from spraycc.config.keys import DEFAULTS, KEYS, allowed, core_type, flag

#: What each setting is for, in the words of --help.
HELP = {
    "executors": "Most executors at once.",
    "initial_executors": "Executors asked for at first; more when all are busy.",
    "local_slots": "Most links and fallen-back compiles at once on this host.",
    "probing_limit": "Most unwrapped recipes at once on this host, for a moment.",
    "light_slots": "Most archives and other short commands at once on this host.",
    "cluster": "Who starts the executors.",
    "queues": "Queues (partitions) for batch jobs, the preferred one first.",
    "queue_use": "What several queues are for: the next where one refuses or is full, or all in turn.",
    "queue_patience_s": "Seconds of waiting in one queue before the next is asked too.",
    "account": "Account that batch jobs are charged to.",
    "project": "Project that batch jobs are charged to.",
    "wall_time_s": "Seconds that a batch job may run.",
    "memory_mb": "Memory of a batch job in MiB.",
    "cpus_per_executor": "CPUs of a batch job, each for an executor of its own.",
    "parallel_environment": "Grid Engine's parallel environment for several CPUs.",
    "submit_arguments": "More words for the submit command.",
    "batch_name": "What batch jobs' names begin with.",
    "setup": "Line of shell to run before an executor starts.",
    "array_limit": "Most batch jobs in one array.",
    "keep_pending": "Most executors asked for that have not started.",
    "status_interval_s": "Seconds between two looks at what is pending.",
    "submit_interval_s": "Seconds between two submit commands.",
    "cluster_timeout_s": "Seconds that a cluster manager's command may take.",
    "hosts": "Hosts that ssh reaches, as HOST:EXECUTORS.",
    "start_command": "Command that starts one executor, with {command} in it.",
    "capture": "How an executor captures what a command writes.",
    "summary": "File for the build's figures, as JSON.",
    "summary_line": "Print one line of figures at the end.",
    "pending_grace_s": "Seconds that first tasks wait for the first executor.",
    "wait_for_cluster": "Never run a task here for want of executors.",
    "max_attempts": "Dispatches of a task before it runs here.",
    "fall_back_limit": "Of a build's last 100 tasks, most that executors may fail to do before the rest runs here.",
    "release_delay_s": "Seconds that idle executors are kept.",
    "idle_shutdown_s": "Seconds without anything to do before the server ends.",
    "heartbeat_s": "Seconds between heartbeats to an executor.",
    "lost_after_s": "Seconds of silence before an executor counts as lost.",
    "listen": "Address on which the server listens for executors.",
    "scratch_dir": "Directory for scratch files on the executors' own disk.",
    "executor_prefix": "Words before an executor's command line.",
    "wrap": "More names of programs to wrap.",
    "wrap_shell": "Wrap the lines of make's recipes too (where the makefile sets no SHELL).",
    "link_memory_mb": "Memory that must be free on this host for each further link, in MiB.",
    "policy_remote": "Patterns of programs or command lines for executors.",
    "policy_here_heavy": "Patterns of what stays here like a link.",
    "policy_here_light": "Patterns of what stays here like an archive.",
}
_METAVARS = {"summary": "FILE", "cluster": "NAME", "capture": "MODE", "scratch_dir": "DIR", "listen": "ADDRESS"}
_TYPE_METAVARS = {int: "N", float: "SECONDS"}


def options() -> list[click.Option]:
    """An option for each setting. Values are passed on as text; spraycc.config checks them and says what is allowed."""
    return [_option(key) for key in KEYS]


def _option(key: str) -> click.Option:
    core = core_type(key)
    words = HELP[key]
    if core is bool:
        return click.Option([f"{flag(key)}/--no-{flag(key)[2:]}", key], default=None, help=words)
    if isinstance(DEFAULTS[key], tuple):
        return click.Option(
            [flag(key), key],
            multiple=True,
            metavar="WORDS",
            callback=_joined,
            help=f"{words} Quoted like a shell's; may be repeated.",
        )
    metavar = _METAVARS.get(key) or _TYPE_METAVARS.get(core, "TEXT")
    if key in ("cluster", "capture", "queue_use"):
        words += f" Allowed: {allowed(key)}."
    return click.Option([flag(key), key], type=str, metavar=metavar, help=words)


def _joined(context: click.Context, option: click.Parameter, value: Any) -> str | None:
    return " ".join(value) if value else None

"""``spraycc cluster show``: prints exactly the commands that a build would submit."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from spraycc.cli.command_group import CommandGroup

#: Commands are shown for at most this many hosts.
_SHOWN_HOSTS = 20


def command(name: str) -> click.Command:
    """The subcommand."""
    count = click.Option(
        ["-n", "--count"], type=click.IntRange(1), metavar="N", help="For this many executors. Default: all of them."
    )
    return CommandGroup(
        name,
        help="Show how SprayCC uses the cluster.",
        commands=[
            click.Command("show", callback=_show, params=[count], help="Print the commands that a build would submit.")
        ],
    )


@click.pass_obj
def _show(flags: dict[str, Any], count: int | None) -> None:
    from spraycc import config, runtime_dir, workspace
    from spraycc.cluster.registry import BATCH

    root = workspace.find()
    settings = config.load(root, flags=flags).settings
    limits = (settings.executors_in_force, settings.initial_executors, settings.keep_pending)
    wanted = count or min(limit for limit in limits if limit is not None)
    directory = Path(runtime_dir.state_directory_of(root))
    if settings.cluster in BATCH:
        _show_batch(settings, wanted, directory)
    else:
        _show_processes(settings, wanted, directory)


def _executors(settings: Any, directory: Path) -> tuple[str, ...]:
    """The command line with which the server would start executors."""
    from spraycc.cli import server_start
    from spraycc.cluster.executor_command import executor_command
    from spraycc.server.fleet.pack import packs_dir, planned_pack

    is_local = settings.cluster == "local"
    session = directory / "session-XXXXXXXXXXXXXXXX.json"
    environ = None if is_local else server_start.server_environment(settings.kept_variables)
    pack = None if is_local else planned_pack(packs_dir(directory))
    return executor_command(session, settings.executor_prefix, environ, pack, settings.scratch_dir)


def _show_batch(settings: Any, wanted: int, directory: Path) -> None:
    from spraycc.cluster.batch_jobs import counted
    from spraycc.cluster.driver import Submission
    from spraycc.cluster.registry import batch_name, client_environment, driver_for
    from spraycc.server.fleet.batch_commands import user_name

    driver = driver_for(settings, user_name())
    executors = _executors(settings, directory)
    batch_jobs = -(-wanted // settings.cpus_per_executor)
    limit = settings.array_limit or driver.array_limit
    name = batch_name(settings, "XXXXXX")
    queue = settings.queues[0] if settings.queues else None
    submission = Submission("XXXXXX", min(batch_jobs, limit), name, queue, executors, str(directory / "executors.log"))
    command = driver.submit_command(submission)
    click.echo(f"# {driver.system}: {counted(batch_jobs)} for {wanted} executor{'s' if wanted != 1 else ''}", nl=False)
    click.echo(f", in arrays of at most {limit}" if batch_jobs > limit else "")
    if len(settings.queues) > 1:
        patience = f"the next if one refuses, or starts nothing for {settings.queue_patience_s:.0f} s"
        how = patience if settings.queue_use == "first" else "each in turn"
        click.echo(f"# queues: {', '.join(settings.queues)}; {how}")
    click.echo(shlex.join(command.argv) + " <<'END'")
    click.echo(command.stdin.decode("utf-8", "replace") + "END")
    click.echo("# with this environment and no more:")
    for key, value in sorted(client_environment(os.environ, settings.kept_variables).items()):
        click.echo(f"{key}={shlex.quote(value)}")


def _show_processes(settings: Any, wanted: int, directory: Path) -> None:
    from spraycc.cluster.hosts import WAYS, start_argv, template_argv

    executors = _executors(settings, directory)
    if way := WAYS.get(settings.cluster):
        hosts = way.hosts(settings)
        for host in hosts[:_SHOWN_HOSTS]:
            count = min(host.slots, wanted)
            click.echo(f"# {host.name}: at most {count} of {wanted} executors")
            click.echo(shlex.join(start_argv(host.name, executors, ["XXXXXXXX"] * count, settings)))
        if len(hosts) > _SHOWN_HOSTS:
            click.echo(f"# and the same on {len(hosts) - _SHOWN_HOSTS} more hosts")
        return
    if not settings.starts_executors:
        click.echo("# nothing: this host runs the commands itself. With --capture overlay it would start executors:")
    click.echo(f"# {wanted} times")
    if settings.cluster == "command":
        click.echo(shlex.join(template_argv(settings.start_command, executors, "XXXXXXXX")))
    else:
        click.echo(shlex.join((*executors, "--id", "XXXXXXXX")))

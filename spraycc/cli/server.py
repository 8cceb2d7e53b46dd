"""``spraycc server start|stop|run``: the server by hand."""

from __future__ import annotations

import os
from typing import Any

import click

from spraycc.cli.command_group import CommandGroup


def command(name: str) -> click.Command:
    """The subcommand."""
    now = click.Option(
        ["--now"], is_flag=True, help="End it at once; open builds continue on this host, without executors."
    )
    force = click.Option(
        ["--force"], is_flag=True, help="End it at once, and cancel batch jobs that an earlier server has left."
    )
    return CommandGroup(
        name,
        help="Control the workspace's server; builds start it by themselves.",
        commands=[
            click.Command("start", callback=_start, help="Start the server, if none runs."),
            click.Command("stop", callback=_stop, params=[now, force], help="End the server after its open builds."),
            click.Command("run", callback=_run, help="Run the server in the foreground."),
        ],
    )


@click.pass_obj
def _start(flags: dict[str, Any]) -> int:
    from spraycc import config, runtime_dir, workspace
    from spraycc.cli import server_start
    from spraycc.cli.messages import inform

    root = workspace.find()
    settings = config.load(root, flags=flags).settings
    connection = server_start.connect_or_start(runtime_dir.locate(root), root, settings, inform)
    inform(f"the server of {os.fsdecode(root)} is process {connection.welcome.pid}")
    connection.close()
    return 0


@click.pass_obj
def _stop(flags: dict[str, Any], now: bool, force: bool) -> int:
    from spraycc import leftovers, runtime_dir, workspace
    from spraycc.cli import server_start
    from spraycc.cli.messages import inform
    from spraycc.notices import cluster

    root = workspace.find()
    # The servers of other contexts, too: of a container that shares /tmp, or from before `newgrp`.
    places = dict.fromkeys([*runtime_dir.locate_all(root), runtime_dir.locate(root)])
    connections = [server_start.connect(directory, inform) for directory in places]
    for connection in filter(None, connections):
        connection.stop(now or force)
        connection.close()
        inform(f"the server of {os.fsdecode(root)} has ended")
    if not any(connections):
        inform(f"no server runs for {os.fsdecode(root)}")
    states = [runtime_dir.state_directory(os.fsdecode(os.path.basename(directory))) for directory in places]
    if force:
        return _cancel_leftovers(root, states, flags)
    if any(map(leftovers.has_batch_jobs, states)):
        inform(cluster.MAY_BE_LEFT.text())
    return 0


@click.pass_obj
def _run(flags: dict[str, Any]) -> int:
    from spraycc import config, runtime_dir, workspace
    from spraycc.cli import direct_exec, server_start
    from spraycc.errors import ServerUnavailable
    from spraycc.notices import starting

    root = workspace.find()
    settings = config.load(root, flags=flags).settings
    directory = runtime_dir.locate(root)
    runtime_dir.ensure(directory)
    if server_start.server_lives(directory):
        raise ServerUnavailable(starting.SERVER_RUNS_ALREADY.text(workspace=os.fsdecode(root)))
    command_line = server_start.server_command(directory, root)
    read, write = os.pipe()
    # Shorter than a pipe's capacity, so that this does not wait for a reader.
    os.write(write, server_start.settings_line(settings))
    os.close(write)
    os.dup2(read, 0)
    os.close(read)
    direct_exec.execute(command_line, server_start.server_environment(settings.kept_variables))


def _cancel_leftovers(root: bytes, states: list[str], flags: dict[str, Any]) -> int:
    import subprocess

    from spraycc import config, isolated
    from spraycc.cli import server_start
    from spraycc.cli.messages import inform
    from spraycc.notices import cluster

    # In a process of its own, because the command line does not import trio.
    argv = isolated.command("spraycc.server.fleet.stale_jobs", *states)
    environ = server_start.server_environment(config.load(root, flags=flags).settings.kept_variables)
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environ)
    if done.returncode:
        inform(cluster.FORCE_FAILED.text(error=done.stderr.strip()))
        return 1
    inform(cluster.FORCED.text(count=done.stdout.strip()))
    return 0

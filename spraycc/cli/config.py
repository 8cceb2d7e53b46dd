"""``spraycc config show``, ``spraycc config path`` and ``spraycc config init``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import click

from spraycc.cli.command_group import CommandGroup

if TYPE_CHECKING:
    from spraycc.cli.settings_text import ThisHost
    from spraycc.settings import Settings


class _Key(click.Choice[str]):
    """A setting's name, also in the spelling of its option or its variable."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from spraycc.config.keys import PREFIX, nearest

        name = str(value).removeprefix("--").removeprefix(PREFIX).replace("-", "_").lower()
        if name in self.choices:
            return name
        near = nearest(name, self.choices)
        hint = f"did you mean {near!r}? " if near else ""
        raise click.UsageError(f"config show: no setting {value!r}; {hint}`spraycc config show --brief` lists all", ctx)


def command(name: str) -> click.Command:
    """The subcommand."""
    from spraycc.config.keys import KEYS

    show = click.Command(
        "show",
        callback=_show,
        help="Each setting, its value, its source, what auto comes to on this host, and what the setting is for. "
        "With KEY: only these settings, with all that is allowed.",
        short_help="Each setting, its value, its source, and what it is for.",
        params=[
            click.Argument(["keys"], nargs=-1, type=_Key(KEYS), metavar="[KEY]..."),
            click.Option(["--brief"], is_flag=True, help="Only values and sources."),
        ],
    )
    init = click.Command(
        "init",
        callback=_init,
        help="Write a commented .spraycc.toml for the cluster that this host belongs to. An existing file is kept.",
        short_help="Write a commented .spraycc.toml for the cluster that is found.",
    )
    return CommandGroup(
        name,
        help="Show the settings in force and where each comes from, or begin a configuration.",
        short_help="Show the settings and where each comes from, or write a first .spraycc.toml.",
        commands=[show, click.Command("path", callback=_path, help="The configuration files, weakest first."), init],
    )


@click.pass_obj
def _show(flags: dict[str, Any], keys: tuple[str, ...], brief: bool) -> None:
    from spraycc import config
    from spraycc.cli.messages import warn
    from spraycc.cli.settings_text import show

    root = _workspace()
    loaded = config.load(root, flags=flags)
    for text in loaded.warnings:
        warn(text)
    for line in show(loaded, _this_host(root, loaded.settings), brief=brief, keys=keys):
        click.echo(line)


@click.pass_obj
def _path(flags: dict[str, Any]) -> None:
    from spraycc.config.sources import config_files

    for layer, path in config_files(_workspace()):
        click.echo(f"{layer:<9} {path}{'' if os.path.exists(path) else '  (none)'}")


@click.pass_obj
def _init(flags: dict[str, Any]) -> None:
    from spraycc.cli.config_init import init

    init(flags)


def _workspace() -> bytes | None:
    """The workspace; None in a directory that is none, where the other files count."""
    from spraycc import workspace
    from spraycc.cli.messages import warn
    from spraycc.errors import WorkspaceError

    try:
        return workspace.find()
    except WorkspaceError as exc:
        warn(f"{exc}; the settings of no workspace are shown")
        return None


def _this_host(root: bytes | None, settings: Settings) -> ThisHost:
    """The facts behind some values of auto, by the executor's own trial."""
    from spraycc import runner_files
    from spraycc.cli.doctor.capture import explored
    from spraycc.cli.settings_text import ThisHost
    from spraycc.errors import SprayccError
    from spraycc.executor.box import find_box

    capture = scratch = intercept = ""
    # doctor reports a box that is missing
    with contextlib.suppress(OSError), explored(find_box(), root, settings.scratch_dir) as host:
        capture = host.captures[0] if host.captures else "none (`spraycc doctor` says why)"
        scratch = os.fsdecode(os.path.dirname(host.scratch.path)) if host.scratch is not None else ""
    with contextlib.suppress(SprayccError):  # doctor reports a runner that is missing
        intercept = "path" if runner_files.install().library is None else "exec"
    return ThisHost(capture, scratch, intercept)

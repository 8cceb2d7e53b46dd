"""``spraycc config show`` and ``spraycc config path``."""

from __future__ import annotations

import os
from typing import Any

import click


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Group(
        name,
        help="Show the settings in force and where each comes from.",
        commands=[
            click.Command("show", callback=_show, help="Each setting, its value and its source."),
            click.Command("path", callback=_path, help="The configuration files, weakest first."),
        ],
    )


@click.pass_obj
def _show(flags: dict[str, Any]) -> None:
    from spraycc import config, workspace
    from spraycc.cli.messages import warn
    from spraycc.config.keys import KEYS, none_word

    loaded = config.load(workspace.find(), flags=flags)
    for text in loaded.warnings:
        warn(text)
    width = max(map(len, KEYS))
    for key in KEYS:
        value = getattr(loaded.settings, key)
        click.echo(
            f"{key:<{width}} = {toml_value(none_word(key) if value is None else value):<12}  # {loaded.origins[key]}"
        )


@click.pass_obj
def _path(flags: dict[str, Any]) -> None:
    from spraycc import workspace
    from spraycc.config.sources import config_files

    for layer, path in config_files(workspace.find()).items():
        click.echo(f"{layer:<9} {path}{'' if os.path.exists(path) else '  (none)'}")


def toml_value(value: Any) -> str:
    """A setting's value as it would stand in a file. Strings are quoted as in JSON, which TOML reads the same way."""
    import json

    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    # ensure_ascii would write halves of surrogate pairs, which TOML rejects. TOML also rejects DEL, which JSON allows.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

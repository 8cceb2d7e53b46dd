"""SprayCC's own options, one for each setting. The user gives them before the subcommand or the build tool's name."""

from __future__ import annotations

from typing import Any

import click

from spraycc.config.keys import DEFAULTS, HELP, KEYS, allowed, core_type, flag

_METAVARS = {
    "summary": "FILE",
    "cluster": "NAME",
    "capture": "MODE",
    "scratch_dir": "DIR",
    "listen": "ADDRESS",
    "progress": "WAY",
}
_TYPE_METAVARS = {int: "N", float: "SECONDS"}


def options() -> list[click.Option]:
    """An option for each setting. click passes the values on as text; spraycc.config checks them."""
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
            help=f"{words} Quoted as in a shell; may be repeated.",
        )
    metavar = _METAVARS.get(key) or _TYPE_METAVARS.get(core, "TEXT")
    if key in ("cluster", "capture", "queue_use"):
        words += f" Allowed: {allowed(key)}."
    return click.Option([flag(key), key], type=str, metavar=metavar, help=words)


def _joined(context: click.Context, option: click.Parameter, value: Any) -> str | None:
    return " ".join(value) if value else None

"""SprayCC's own options, one for each setting. The user gives them before the subcommand or the build tool's name."""

from __future__ import annotations

from typing import Any

import click

from spraycc.config.keys import DEFAULTS, GROUPS, HELP, choices, core_type, default_word, flag

_METAVARS = {
    "summary": "FILE",
    "cluster": "NAME",
    "capture": "MODE",
    "scratch_dir": "DIR",
    "listen": "ADDRESS",
    "listen_ports": "PORTS",
    "hosts": "HOSTS",
    "setup": "LINE",
    "memory_mb": "MIB",
    "link_memory_mb": "MIB",
    "progress": "WAY",
}
_TYPE_METAVARS = {int: "N", float: "SECONDS"}


class SettingOption(click.Option):
    """The option of the setting ``name``."""


def options() -> list[click.Option]:
    """An option for each setting, by group. click passes the values on as text; spraycc.config checks them."""
    return [_option(key) for keys in GROUPS.values() for key in keys]


def _option(key: str) -> SettingOption:
    words = help_of(key)
    if core_type(key) is bool:
        return SettingOption([f"{flag(key)}/--no-{flag(key)[2:]}", key], default=None, help=words)
    if isinstance(DEFAULTS[key], tuple):
        words += " Quoted as in a shell; may be repeated."
        return SettingOption([flag(key), key], multiple=True, metavar=metavar(key), callback=_joined, help=words)
    return SettingOption([flag(key), key], type=str, metavar=metavar(key), help=words)


def help_of(key: str) -> str:
    """The help text of a setting, with the words that are allowed if only a few are."""
    words = [word for word in choices(key) if word != DEFAULTS[key]]
    missing = any(word not in HELP[key] for word in words)
    return f"{HELP[key]} Allowed: {', '.join(choices(key))}." if missing else HELP[key]


def metavar(key: str) -> str:
    """The placeholder for the value of a setting that takes a value."""
    if isinstance(DEFAULTS[key], tuple):
        return _METAVARS.get(key, "WORDS")
    if key in _METAVARS:
        return _METAVARS[key]
    core = core_type(key)
    if key.endswith("_s") and core is int:
        return "SECONDS"
    return _TYPE_METAVARS.get(core, "WORD" if choices(key) else "TEXT")


def default_text(key: str) -> str:
    """The default of a setting as ``--help`` shows it."""
    return f"[default: {default_word(key)}]"


def _joined(context: click.Context, option: click.Parameter, value: Any) -> str | None:
    return " ".join(value) if value else None

"""Hints for options that stand in the wrong place: a build tool's before its name, SprayCC's after it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spraycc.build_tools import SUBCOMMANDS
from spraycc.config.keys import DEFAULTS, KEYS, flag, nearest

if TYPE_CHECKING:
    import click


def text(exc: click.NoSuchOption, words: Sequence[str]) -> str:
    """The message for an unknown option: the option, and the place where it belongs.

    Args:
        exc: click's error.
        words: the command line after ``spraycc``.
    """
    context = exc.ctx
    name = exc.option_name
    typed = next((word for word in words if word == name or word.startswith(name + "=")), name)
    at = words.index(typed) if typed in words else None
    if context is None or context.parent is None:
        # click splits -j8 into letters, and names the first unknown letter.
        typed = next((word for word in words if word.startswith(name)), name)
        return f"no option {typed!r} of spraycc{_of_tool(typed, words) or _of_command(exc, words) or _near(exc)}"
    command = str(context.info_name)
    root = context.find_root()
    known = {option for param in root.command.params for option in (*param.opts, *param.secondary_opts)}
    if name in known:
        value = "" if at is None or "=" in typed else _value(words, at)
        first = context.command_path.split()[1]
        line = f"spraycc {typed}{value} {first} …"
        return f"{command}: no option {name!r}: it stands before {first!r}, as all of SprayCC's options: {line}"
    return f"{command}: no option {name!r}{_near(exc)}"


def after_tool(name: str, words: Sequence[bytes]) -> str | None:
    """The hint for a build tool that has failed, if a word after its name is an option of SprayCC; else None.

    Args:
        name: the tool's name, without directories.
        words: the words after the tool's name.
    """
    if name not in SUBCOMMANDS:
        return None
    switches = {flag(key) for key in KEYS if isinstance(DEFAULTS[key], bool)}
    ours = {flag(key) for key in KEYS} | {f"--no-{switch[2:]}" for switch in switches}
    texts = [word.decode("utf-8", "backslashreplace") for word in words]
    for at, word in enumerate(texts):
        if word == "--":
            break
        option, equals, _ = word.partition("=")
        if option in ours:
            is_switch = option in switches or option.startswith("--no-")
            value = "" if is_switch or equals else _value(texts, at)
            return (
                f"{option} is an option of SprayCC, and stands before the tool's name: spraycc {word}{value} {name} …"
            )
    return None


def _value(words: Sequence[str], at: int) -> str:
    following = words[at + 1 : at + 2]
    return f" {following[0]}" if following and not following[0].startswith("-") else ""


def _of_tool(typed: str, words: Sequence[str]) -> str:
    """For an option with one dash before a build tool: the right order of the words."""
    at = words.index(typed) if typed in words else 0
    tool = next(
        (index for index, word in enumerate(words) if index > at and os.path.basename(word) in SUBCOMMANDS), None
    )
    if not re.match(r"-[^-]|--(jobs|keep-going|file|directory|silent|always-make)\b", typed):
        return ""
    if tool is None:
        return f"; a build tool's options stand after its name: spraycc make {typed}"
    moved = " ".join((*words[:at], *words[tool : tool + 1], *words[at:tool], *words[tool + 1 : tool + 3]))
    more = " …" if len(words) > tool + 3 else ""
    return f"; a build tool's options stand after its name: spraycc {moved}{more}"


def _of_command(exc: click.NoSuchOption, words: Sequence[str]) -> str:
    """For an option of a subcommand before the subcommand's name."""
    context = exc.ctx
    if context is None:
        return ""
    group = context.command
    for word in words:
        command = group.get_command(context, word) if hasattr(group, "get_command") and "-" not in word[:1] else None
        if command is not None and any(exc.option_name in param.opts for param in command.params):
            return f"; it is an option of {word!r}, and stands after that: spraycc {word} {exc.option_name}"
    return ""


def _near(exc: click.NoSuchOption) -> str:
    if exc.possibilities and (near := nearest(exc.option_name, exc.possibilities)):
        return f"; did you mean {near}?"
    where = "spraycc --help-all" if exc.ctx is None or exc.ctx.parent is None else f"{exc.ctx.command_path} --help"
    return f"; `{where}` lists all options"

"""Finds command lines of ``spraycc`` in shell scripts, and parses them as the real parser does, without running them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from collections.abc import Iterator, Sequence

import click

from spraycc import config
from spraycc.cli.subcommands import make_group


def parse(words: Sequence[str]) -> None:
    """Check the words after ``spraycc``: the commands, options and arguments exist, and the settings have valid values.

    Raises:
        click.UsageError: a word is wrong.
        SprayccError: a setting is wrong.
    """
    # --help and --version print, and end the parser.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(click.exceptions.Exit):
        _parse(words)


def _parse(words: Sequence[str]) -> None:
    group: click.Command = make_group()
    rest, name, parent = list(words), "spraycc", None
    while True:
        context = group.make_context(name, rest, parent=parent)
        if parent is None:
            config.load(None, environ={}, flags=context.params, files=[])
        if not isinstance(group, click.Group):
            _check_raw(name, context)
            return
        left = [*context._protected_args, *context.args]
        found, child, rest = group.resolve_command(context, left)
        assert child is not None
        assert found is not None
        group, name, parent = child, found, context


def _check_raw(name: str, context: click.Context) -> None:
    """``build`` takes its words as they are, and checks them when it is called."""
    words = context.params.get("words", ())
    if name == "build" and not (words[:1] == ("--",) and words[1:]) and (not words or words[0].startswith("-")):
        raise click.UsageError("build: no command")


#: Words before a command: of the shell, and programs that run the command that follows.
_BEFORE = {
    *("if", "then", "else", "elif", "while", "until", "do", "!", "{", "exec", "eval", "command", "time"),
    *("sudo", "env", "nice", "nohup", "srun", "apptainer", "exec"),
}
_SUBSTITUTION = re.compile(r"[$<]\(([^()]*)\)|`([^`]*)`")


def spraycc_lines(script: str) -> Iterator[list[str]]:
    """The words after ``spraycc`` of each call of it in a shell script."""
    text = re.sub(r"<<-? *['\"]?(\w+)['\"]?.*?^\s*\1$", "", script, flags=re.DOTALL | re.MULTILINE)
    for line in text.replace("\\\n", " ").split("\n"):
        if line.lstrip().startswith("#"):
            continue
        for inner in _SUBSTITUTION.finditer(line):
            yield from _calls(inner[1] or inner[2] or "")
        yield from _calls(_SUBSTITUTION.sub("SUBSTITUTION", line))


def _calls(line: str) -> Iterator[list[str]]:
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    command: list[str] = []
    redirects = False
    try:
        for word in [*words, ";"]:
            if set(word) <= set("<>&") and set(word) & set("<>"):
                redirects = True
                if command and command[-1].isdigit():
                    command.pop()
            elif set(word) <= set(";&|()"):
                yield from _own(command)
                command, redirects = [], False
            elif redirects:
                redirects = False
            else:
                command.append(word)
    except ValueError as exc:
        raise ValueError(f"{line}: {exc}") from None


def _own(words: list[str]) -> Iterator[list[str]]:
    while words and (words[0] in _BEFORE or re.match(r"\w+=", words[0])):
        words = words[1:]
    if words and words[0] == "timeout":
        words = words[2:]
    if words and os.path.basename(words[0]) == "spraycc":
        yield words[1:]

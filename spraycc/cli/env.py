"""``eval "$(spraycc env)"``: prepares a shell, so that plain make, ninja, ctest and cargo open builds by themselves.

The output works in sh, bash, dash, zsh, ksh and fish: ``export NAME='value';``, which fish knows too.
(fish joins the lines of a substitution by blanks, hence the semicolons; it has no unset, so variables are emptied.)
"""

from __future__ import annotations

import os
from typing import Any

import click

_HELP = """Print shell code that prepares this shell: eval "$(spraycc env)" (fish: spraycc env | source).

From then on make, gmake, ninja, ctest, cargo and cmake --build open a build by themselves, as `spraycc make` does.
--off undoes it.

With --makeflags the shell itself becomes a build until the shell ends. Tools without a shim (a make called by its path,
a tool of a script) then take their tokens from this build, too. This works in sh, bash, dash, zsh and ksh. The
executors stay as long as the shell."""


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_env,
        help=_HELP,
        params=[
            click.Option(["--off"], is_flag=True, help="Undo both forms."),
            click.Option(["--makeflags"], is_flag=True, help="Make this shell a build of its own, by MAKEFLAGS."),
        ],
    )


@click.pass_obj
def _env(flags: dict[str, Any], off: bool, makeflags: bool) -> int:
    if off and makeflags:
        raise click.UsageError("env: --off undoes --makeflags as well; give one of them")
    if off:
        lines = switch_off(os.environb)
    elif makeflags:
        from spraycc.cli.build import open_for_shell
        from spraycc.jobserver.makeflags import SHELL_FD

        fifo, lines = open_for_shell(flags, os.getppid(), SHELL_FD)
        _print([b"exec %d<>%s;" % (SHELL_FD, quote(fifo))])
    else:
        from spraycc import runner_files, shims
        from spraycc.cli.build_tool import environ_path
        from spraycc.cli.messages import warn
        from spraycc.cli.tool_environment import without_build

        path = environ_path(without_build(os.environb))
        files = runner_files.install()
        if files.problem:
            warn(files.problem)
        directory = shims.of_build_tools(files, os.fsdecode(path))
        lines = {b"PATH": b":".join((directory, path)), b"SPRAYCC_SHIMS": directory}
    _print(_exports(lines))
    return 0


def switch_off(env: Any) -> dict[bytes, bytes]:
    """The variables that undo both forms; empty if neither is in force."""
    directory = env.get(b"SPRAYCC_SHIMS", b"")
    lines: dict[bytes, bytes] = {}
    if directory:
        from spraycc.cli.tool_environment import elements_without

        path = elements_without(env.get(b"PATH", b""), directory)
        lines = {b"PATH": b":".join(path), b"SPRAYCC_SHIMS": b""}
    if env.get(b"SPRAYCC_BUILD"):
        from spraycc.jobserver.makeflags import VARIABLES, without_jobserver

        lines |= {b"SPRAYCC_BUILD": b"", b"SPRAYCC_SOCKET": b"", b"SPRAYCC_EXEC": b""}
        lines |= {name: without_jobserver(env[name]) for name in VARIABLES if name in env}
    return lines


def quote(value: bytes) -> bytes:
    """Quoted for a POSIX shell and for fish. In fish a backslash in quotes is special before a quote or a backslash."""
    quoted = bytearray(b"'")
    for byte in value:
        quoted += b"'\\%c'" % byte if byte in b"'\\" else b"%c" % byte
    return bytes(quoted + b"'")


def _exports(variables: dict[bytes, bytes]) -> list[bytes]:
    return [b"export %s=%s;" % (name, quote(value)) for name, value in variables.items()]


def _print(lines: list[bytes]) -> None:
    click.echo(b"".join(line + b"\n" for line in lines), nl=False)

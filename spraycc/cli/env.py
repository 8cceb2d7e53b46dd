"""``eval "$(spraycc env)"``: prepares a shell, so that plain make, ninja, ctest and cargo open builds by themselves."""

from __future__ import annotations

import os
from typing import Any

import click

from spraycc.cli.shell_code import SHELLS, exports, language, look_up, parents_shell, quote

#: Variable of a shell of --makeflags, not exported: the shell's own MAKEFLAGS, which has options that a build replaces.
_KEPT = b"spraycc_makeflags"

_HELP = """Print shell code that prepares this shell.

sh, bash, dash, zsh, ksh: eval "$(spraycc env)"\n
csh, tcsh: eval "`spraycc env`"\n
fish: spraycc env | source

From then on make, gmake, ninja, ctest, cargo and cmake --build open a build by themselves, as `spraycc make` does.
--off undoes it.

With --makeflags the shell itself becomes a build until the shell ends. Tools without a shim (a make called by its path,
a tool of a script) then take their tokens from this build, too. This works in sh, bash, dash, zsh and ksh. csh, tcsh
and fish can't hold the descriptor that this needs: `spraycc build -- tcsh` starts such a shell inside a build. The
executors stay as long as the shell."""


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_env,
        help=_HELP,
        short_help="Print shell code that makes plain make, ninja, ctest and cargo open builds in this shell.",
        params=[
            click.Option(["--off"], is_flag=True, help="Undo both forms."),
            click.Option(["--makeflags"], is_flag=True, help="Make this shell a build of its own, by MAKEFLAGS."),
            click.Option(
                ["--shell"],
                type=click.Choice(SHELLS),
                help="The shell that reads the code. Default: the shell that started this command.",
            ),
        ],
    )


@click.pass_obj
def _env(flags: dict[str, Any], off: bool, makeflags: bool, shell: str | None) -> int:
    if off and makeflags:
        raise click.UsageError("env: --off undoes --makeflags as well; give one of them")
    name = shell or parents_shell(os.getppid(), look_up)
    shell = language(name) or "sh"
    if makeflags and shell != "sh":
        raise click.UsageError(
            f"env: {name} can't keep a descriptor open, as --makeflags needs it; "
            f"start a shell inside a build instead: spraycc build -- {name}"
        )
    if off:
        lines = switch_off(os.environb)
    elif makeflags:
        from spraycc.cli.build import open_for_shell
        from spraycc.jobserver.makeflags import SHELL_FD

        fifo, lines = open_for_shell(flags, os.getppid(), SHELL_FD)
        if not os.environb.get(b"SPRAYCC_BUILD"):
            _print([b"%s=%s;" % (_KEPT, quote(os.environb.get(b"MAKEFLAGS", b"")))])
        _print([b"exec %d<>%s;" % (SHELL_FD, quote(fifo))])
    else:
        _refuse_settings(flags)
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
    _print(exports(lines, shell))
    if off and shell == "sh":
        _print(restored(os.environb))
    return 0


def _refuse_settings(flags: dict[str, Any]) -> None:
    """
    Raises:
        click.UsageError: settings are given as options. They would be lost: each build in the shell reads its own.
    """
    from spraycc.config.keys import flag, variable

    key = next((key for key, value in flags.items() if value is not None), None)
    if key is not None:
        raise click.UsageError(
            f"env: {flag(key)} would have no effect on the builds in this shell; "
            f"set {variable(key)} in the shell, or `{key}` in .spraycc.toml"
        )


def switch_off(env: Any) -> dict[bytes, bytes]:
    """The variables that undo both forms; empty if neither is in force."""
    directory = env.get(b"SPRAYCC_SHIMS", b"")
    lines: dict[bytes, bytes] = {}
    if directory:
        from spraycc.cli.tool_environment import elements_without

        path = elements_without(env.get(b"PATH", b""), directory)
        lines = {b"PATH": b":".join(path), b"SPRAYCC_SHIMS": b""}
    if env.get(b"SPRAYCC_BUILD"):
        from spraycc.jobserver.makeflags import VARIABLES, parse, without_jobserver

        lines |= {b"SPRAYCC_BUILD": b"", b"SPRAYCC_SOCKET": b"", b"SPRAYCC_EXEC": b""}
        lines |= {name: without_jobserver(env[name]) for name in VARIABLES if name in env and parse(env[name]).auth}
    return lines


def restored(env: Any) -> list[bytes]:
    """Lines for sh that give a shell of ``--makeflags`` its own MAKEFLAGS back, and close its descriptor.

    In another shell the lines change nothing: ``_KEPT`` is not exported, and the descriptor is not the jobserver's.
    """
    from spraycc.jobserver.makeflags import SHELL_FD, Descriptors, parse

    if not env.get(b"SPRAYCC_BUILD"):
        return []
    lines = [b'if [ -n "${%s-}" ]; then export MAKEFLAGS="$%s"; fi;' % (_KEPT, _KEPT), b"unset %s;" % _KEPT]
    if parse(env.get(b"CARGO_MAKEFLAGS", b"")).auth == Descriptors(SHELL_FD, SHELL_FD):
        lines.append(b"exec %d>&-;" % SHELL_FD)
    return lines


def _print(lines: list[bytes]) -> None:
    click.echo(b"".join(line + b"\n" for line in lines), nl=False)

"""The end of a command line that failed: an error message, or the build tool without SprayCC.

A failure of SprayCC never keeps a build from running. Only a wrong setting or flag ends a build, because the user's
intention is not known then. In a shell that ``spraycc env`` has prepared, nothing does: the user has typed "make".

====================================================  ==========================================
cause                                                 then
====================================================  ==========================================
the build tool is missing                             error, with the shell's status (127 or 126)
a wrong setting or flag                               error, unless a shim started the build
anything else, and the command line has a build tool  one warning, then the tool
anything else                                         error
====================================================  ==========================================

Nothing here runs after the tool has started: from then on, the build's end is the tool's (build.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from spraycc.build_tools import JOBSERVER_VARIABLES, SUBCOMMANDS
from spraycc.cli import caller_environment
from spraycc.cli.messages import inform, warn
from spraycc.errors import USAGE_STATUS, ConfigError, ConfigUnreadable, SprayccError, WorkspaceError
from spraycc.notices import starting

#: First word of the shim of a build tool: ``spraycc --shim make -j8``. Not for users.
SHIM = "--shim"
_RUN_ANYTHING = ("build", "run")
#: Errors of the configuration that say nothing about the user's intention.
_NO_WRONG_SETTING = (ConfigUnreadable, WorkspaceError)


def after(exc: Exception, words: Sequence[str]) -> int:
    """Deal with ``exc``, which ended the command line ``words``; returns the exit status, if no tool runs."""
    from spraycc.cli.build_tool import ToolNotFound

    by_shim = words[:1] == [SHIM]
    tool = tool_words(words)
    is_users = isinstance(exc, ConfigError) and not isinstance(exc, _NO_WRONG_SETTING) and not by_shim
    if tool is not None and not is_users and not isinstance(exc, ToolNotFound):
        warn(starting.RUNS_WITHOUT_SPRAYCC.text(cause=reason(exc), tool=tool[0]).replace("\n", "; "))
        try:
            _execute(tool, by_shim)
        except ToolNotFound as missing:
            exc = missing
    if not isinstance(exc, (SprayccError, OSError, ImportError)):
        import traceback

        traceback.print_exception(exc)
    inform(f"error: {reason(exc)}")
    return int(getattr(exc, "status", USAGE_STATUS))


def reason(exc: Exception) -> str:
    """The text for the user: the cause, and the next step."""
    if isinstance(exc, SprayccError):
        return str(exc)
    if isinstance(exc, ImportError):
        return starting.NOT_INSTALLED_WHOLE.text(kind=type(exc).__name__, text=exc)
    if isinstance(exc, MemoryError):
        return starting.NO_MEMORY.text()
    if isinstance(exc, OSError):
        # A build catches errors that it survives. Others come from a file of SprayCC that can't be read or written.
        name = os.fsdecode(exc.filename) if isinstance(exc.filename, bytes) else str(exc.filename or "")
        return starting.FILE_FAILED.text(file=name, cause=exc.strerror) if name else exc.strerror or str(exc)
    return starting.INTERNAL_ERROR.text(kind=type(exc).__name__, text=exc)


def tool_words(words: Sequence[str]) -> Sequence[str] | None:
    """The build tool's own words in a command line of spraycc; None if it runs no tool.

    Simple, because it is for all failures: the value of a flag may be taken for a tool. native/launcher/plain.c does
    the same.
    """
    if words[:1] == [SHIM]:
        return words[1:] or None
    for at, word in enumerate(words):
        if os.path.basename(word) in SUBCOMMANDS:
            return words[at:]
        if word in _RUN_ANYTHING:
            for start in range(at + 1, len(words)):
                if words[start] == "--":
                    return words[start + 1 :] or None
                if not words[start].startswith("--"):
                    return words[start:]
            return None
    return None


def _execute(tool: Sequence[str], by_shim: bool) -> None:
    """Become the tool, with a -j of at most the local slots.

    Raises:
        ToolNotFound: there is no such program.
    """
    from spraycc.cli.build_tool import environ_path, execute, find_program
    from spraycc.cli.tool_environment import without_build
    from spraycc.cli.tool_kinds import plain_argv
    from spraycc.commands import interception
    from spraycc.jobserver.cmdline import strip
    from spraycc.jobserver.makeflags import without_jobserver

    given = caller_environment.variables()
    env = without_build(given)
    if given.get(b"SPRAYCC_BUILD"):
        # This build's tokens stand for executors, of which the tool has none.
        for variable in map(os.fsencode, JOBSERVER_VARIABLES):
            if variable in env:
                env[variable] = without_jobserver(env[variable])
    argv = tuple(map(os.fsencode, tool))
    program = given.get(interception.PROGRAM) if by_shim else None
    program = program or find_program(argv[0], environ_path(env))
    name = os.path.basename(tool[0])
    makeflags = env.get(b"MAKEFLAGS", b"")
    stripped = strip(name, argv, makeflags)
    if name in SUBCOMMANDS and stripped.jobserver:
        argv = plain_argv(stripped, _local_slots(), makeflags)
    # The library may be in this process, and would execute a runner in the tool's place.
    execute(program, argv, env | ({interception.VARIABLE: b""} if by_shim else {}))


def _local_slots() -> int:
    """The number of local slots without the configuration, which may be what failed."""
    chosen = os.environ.get("SPRAYCC_LOCAL_SLOTS", "")
    if chosen.isascii() and chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    return len(os.sched_getaffinity(0))

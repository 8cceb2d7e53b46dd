"""``spraycc make``, ``spraycc ninja``, ``spraycc build -- CMD``: a whole build, through the server.

If the server can't be used, the build runs on the submit host without a server: with one warning, and with no more
parallelism than the local slots. Failures before that are for without_spraycc.py. As soon as the tool has started, its
status is the build's, whatever fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spraycc import config, runtime_dir, shims, workspace
from spraycc.build_tools import CMAKES, MAKES, NINJAS
from spraycc.cli import caller_environment, server_start, told_once
from spraycc.cli.build_tool import ToolRun, environ_path, execute, find_program
from spraycc.cli.interception import with_library
from spraycc.cli.messages import inform, warn
from spraycc.cli.opened_build import OpenedBuild, Plan, is_first_to_tell, open_build, tell_server_is_gone
from spraycc.cli.progress import Display, display_for
from spraycc.cli.suspended_server import SuspendedServerCheck
from spraycc.cli.tool_environment import without_build
from spraycc.cli.tool_kinds import (
    is_blocking_make,
    is_jobserver_ninja,
    plain_argv,
    version_line,
)
from spraycc.cli.without_spraycc import reason
from spraycc.commands import interception
from spraycc.errors import ConfigError, SprayccError
from spraycc.jobserver.cmdline import Stripped, strip
from spraycc.jobserver.descriptor import open_for_tool
from spraycc.jobserver.makeflags import VARIABLES, compose, compose_cargo, parse, without_jobserver
from spraycc.notices import Notice, ending, starting
from spraycc.runner_files import installed_runner
from spraycc.settings import Settings


def open_for_shell(flags: Mapping[str, Any], shell: int, fd: int) -> tuple[bytes, dict[bytes, bytes]]:
    """Open a build that lasts as long as the process ``shell``.

    Returns the path of the jobserver's fifo, which the shell must open as ``fd``, and the variables to export.

    Raises:
        SprayccError: the build can't be opened. The shell gets the error at once, as no later command could report it.
    """
    loaded, root = _load(flags)
    env = without_build(caller_environment.variables())
    plan = Plan(Stripped((b"the shell %d" % shell,), parse(env.get(b"MAKEFLAGS", b"")).jobs, True), "shell", None)
    # The library would be in all programs of the shell. So shims intercept, and make's shim brings the library.
    settings = dataclasses.replace(loaded.settings, intercept="path", jobs=plan.stripped.cap)
    opened = open_build(plan, settings, root, env)
    try:
        opened.connection.tool_started(shell)
        fifo = os.path.join(opened.directory, runtime_dir.BUILDS, os.fsencode(opened.build), b"fifo")
        names = (b"PATH", b"SPRAYCC_SHIMS", b"SPRAYCC_SOCKET", b"SPRAYCC_BUILD")
        variables = {name: opened.env[name] for name in names if name in opened.env}
        if opened.interception.files.library is not None:
            variables[interception.VARIABLE] = opened.intercept_file
        variables[b"MAKEFLAGS"] = compose(fifo, fd, env.get(b"MAKEFLAGS", b""))
        variables[b"CARGO_MAKEFLAGS"] = compose_cargo(fd)
        return fifo, variables
    finally:
        opened.close()


def build(words: Sequence[str], flags: Mapping[str, Any], *, by_shim: bool = False, probe: bool = False) -> int:
    """Run the build with the command line ``words``; returns the exit status.

    Args:
        words: the tool's command line.
        flags: settings given on the command line.
        by_shim: started by a shim: the user has typed ``words``.
        probe: started by ``spraycc doctor``: no summary, no record, and no build without a server.

    Raises:
        Exception: the tool has not started. The caller decides what to do (without_spraycc.py).
    """
    began = time.monotonic()
    env = caller_environment.variables()
    argv = tuple(map(os.fsencode, words))
    # Only a runner sets the variable. A stale value in the user's shell would be executed in the place of the tool.
    given = env.pop(interception.PROGRAM, b"") if by_shim else b""
    program = given or find_program(argv[0], environ_path(without_build(env)))
    name = os.path.basename(os.fsdecode(given) or words[0])
    makeflags, earlier = env.get(b"MAKEFLAGS", b""), env.get(b"GNUMAKEFLAGS", b"")
    stripped = strip(name if given else words[0], argv, makeflags, earlier)
    if name in CMAKES and not given:  # a given argv[0] comes from a build without shims on PATH
        stripped = dataclasses.replace(stripped, argv=(program, *stripped.argv[1:]))
    if not stripped.jobserver:
        execute(program, stripped.argv, without_build(env))
    if b"SPRAYCC_BUILD" in env:
        if stripped.cap == 1:  # the recipes may rely on their order
            execute(program, (stripped.argv[0], *argv[1:]), _alone(name, env))
        inside = _inside(env)
        if inside is None:  # the build is over, or has no jobserver
            if stripped.removed:
                slots = config.load(workspace.find(), flags=flags).settings.local_slots_in_force
                stripped = dataclasses.replace(stripped, argv=plain_argv(stripped, slots, makeflags))
            execute(program, stripped.argv, env | with_library(env))
        links = env.get(b"SPRAYCC_SHIMS")
        execute((links and shims.link_of(argv[0], links)) or program, stripped.argv, inside)
    loaded, root = _load(flags)
    settings = dataclasses.replace(loaded.settings, jobs=stripped.cap, is_probe=probe)
    _tell_allocation(loaded)
    width = None
    if name in NINJAS and (version := version_line(program)) is not None and not is_jobserver_ninja(version):
        width = min(filter(None, (stripped.cap, settings.executors_in_force)))
        inform(starting.OLD_NINJA.text(tool=words[0], version=version, width=width))
    live_tokens = True
    if name in MAKES and is_blocking_make(version := version_line(program) or ""):
        inform(starting.OLD_MAKE.text(tool=words[0], version=version))
        live_tokens = False
    plan = Plan(
        stripped, name, program, jobserver=width is None, width=width, live_tokens=live_tokens, by_shim=by_shim,
        summary=not probe, typed=(b"spraycc", b"doctor") if probe else argv, probe=probe,
    )  # fmt: skip
    return _run(plan, dataclasses.replace(loaded, settings=settings), root, env, began)


def _tell_allocation(loaded: config.Loaded) -> None:
    """Say that an allocation has decided how the build runs. ``cluster`` in a configuration says it for good."""
    settings, origin = loaded.settings, loaded.origins["cluster"]
    if settings.allocation is None or not origin.startswith(settings.allocation.name) or not settings.summary_line:
        return
    if settings.step_slots:
        inform(starting.IN_ALLOCATION.text(executors=settings.executors_in_force, allocation=origin))
    elif not settings.allocation.is_here_alone:
        inform(starting.ALONE_IN_ALLOCATION.text(allocation=origin))


def run_one(wish: str, words: Sequence[str], flags: Mapping[str, Any]) -> int:
    """Run one command as a task; returns the exit status.

    Args:
        wish: "auto", "remote" or "local".
        words: the command line.
        flags: settings given on the command line.
    """
    began = time.monotonic()
    env = caller_environment.variables()
    argv = tuple(map(os.fsencode, words))
    runner_words = (b"spraycc-run", *(() if wish == "auto" else (b"--" + wish.encode(),)), b"--")
    # Report a missing program now. Otherwise an executor would report it.
    find_program(argv[0], environ_path(without_build(env)))
    loaded, root = _load(flags)
    if b"SPRAYCC_BUILD" in env:
        # Not a copy of the runner: HOME may be a directory in the source tree, such as debhelper's.
        execute(os.fsencode(installed_runner()), (*runner_words, *argv), env)
    plan = Plan(Stripped(argv, None, False), words[0], None, runner_words, jobserver=False, summary=False)
    return _run(plan, loaded, root, env, began)


def _load(flags: Mapping[str, Any]) -> tuple[config.Loaded, bytes]:
    root = workspace.find()
    loaded = config.load(root, flags=flags)
    for text in loaded.warnings:
        warn(text)
    return loaded, root


def _run(plan: Plan, loaded: config.Loaded, root: bytes, env: dict[bytes, bytes], began: float) -> int:
    settings = loaded.settings
    opened: OpenedBuild | None = None
    display = display_for(settings.progress, env, began) if plan.summary else None
    # Outside of `with ToolRun()`: until the tool runs, Ctrl-C must end this process.
    try:
        opened = open_build(plan, settings, root, env, progress_s=display.interval_s if display is not None else 0.0)
    except ConfigError:
        raise
    except Exception as exc:
        if plan.probe:
            raise
        warn(starting.GOES_ON_WITHOUT_SERVER.text(cause=reason(exc)))
    figures: dict[str, Any] = {}
    try:
        if opened is not None and plan.summary and settings.summary_line:
            with _survived(ending.NO_LIMIT_SHOWN):
                told_once.tell(settings, loaded.origins, root)
        with ToolRun() as tool:
            _start_tool(tool, plan, settings, env, opened)
            with _survived(ending.NO_SUMMARY):
                figures = _wait_for_tool(tool, settings, opened, display, began)
            tool.wait(None)
    finally:
        if opened is not None:
            with _survived(ending.NO_SUMMARY):
                opened.close()
    with _survived(ending.NO_SUMMARY):
        _tell(plan, settings, opened, figures)
        if opened is not None and plan.summary and settings.summary_line:
            told_once.tell_unused_cluster(figures, loaded.origins, root, environ_path(without_build(env)))
        if tool.shell_status and not plan.by_shim:
            _tell_misplaced(plan)
    return tool.end_alike()


@contextlib.contextmanager
def _survived(loss: Notice) -> Iterator[None]:
    """For work beside a build: a failure costs the user what ``loss`` says, and not the build."""
    try:
        yield
    except Exception as exc:
        warn(ending.LOSES.text(cause=reason(exc), loss=loss.text()))


def _tell(plan: Plan, settings: Settings, opened: OpenedBuild | None, figures: Mapping[str, Any]) -> None:
    """Print the summary, and write it to the user's file."""
    if plan.summary:
        if opened is not None and settings.summary_line and "tasks" in figures:
            from spraycc.ui.no_executor import explanation
            from spraycc.ui.summary import summary_line

            if figures["tasks"] or not plan.by_shim:
                inform(summary_line(figures))
            if (text := explanation(figures)) is not None:
                inform(text)
        if settings.summary is not None:
            _write_summary(settings.summary, figures)


def _tell_misplaced(plan: Plan) -> None:
    """Tell the user of an option of SprayCC after the tool's name: the tool may have failed because of it."""
    from spraycc.cli.misplaced import after_tool

    if plan.summary and (hint := after_tool(os.path.basename(plan.name), plan.stripped.argv[1:])) is not None:
        inform(hint)


def _start_tool(
    tool: ToolRun, plan: Plan, settings: Settings, env: dict[bytes, bytes], opened: OpenedBuild | None
) -> None:
    path = environ_path(without_build(env))
    argv = plan.stripped.argv
    if opened is None:
        program = plan.program or find_program(argv[0], path)
        if plan.summary:
            # A tool that is no client of a jobserver takes no token of a make above it.
            makeflags = env.get(b"MAKEFLAGS", b"") if plan.width is None else b""
            argv = plain_argv(plan.stripped, settings.local_slots_in_force, makeflags)
        tool.start(program, argv, without_build(env))
        return
    if plan.width is not None:
        argv = plan.stripped.with_jobs(plan.width)
    intercepted = opened.interception
    program, more = (
        (intercepted.files.runner, {}) if plan.program is None else intercepted.start_of(plan.program, argv[0])
    )
    tool.start(program, (*plan.runner_words, *argv), opened.env | more)


def _wait_for_tool(
    tool: ToolRun, settings: Settings, opened: OpenedBuild | None, display: Display | None, began: float
) -> dict[str, Any]:
    """Wait for the tool's end; returns the known figures."""
    if opened is None:
        tool.wait(None)
        return {"exit_status": tool.shell_status, "wall_s": round(time.monotonic() - began, 3)}
    # While this descriptor is open, the server can't see that the last process of the build has ended.
    opened.close_fd()
    # Import now: the tool runs meanwhile, and an upgrade may have removed our files when the tool has ended.
    import spraycc.ui.no_executor
    import spraycc.ui.summary  # noqa: F401
    from spraycc.cli.server_connection import ConnectionEnded

    figures: dict[str, Any] = {}
    with contextlib.suppress(SprayccError):  # the wait notices a server that is gone
        opened.connection.tool_started(tool.pid)
    with contextlib.ExitStack() as stack:
        check = SuspendedServerCheck(opened.connection.pid, settings.lost_after_s, warn)
        server_check = stack.enter_context(contextlib.closing(check))
        if display is not None:
            stack.enter_context(display)
        lives = tool.wait(opened.connection, lambda: tell_server_is_gone(opened), server_check, display)
    wall_s = round(time.monotonic() - began, 3)
    if lives:
        try:
            figures = opened.connection.close_build(tool.shell_status, wall_s)
        except ConnectionEnded as exc:
            # The tool can end before its wait sees that the server is gone, and a runner may have seen it before.
            if is_first_to_tell(opened):
                warn(ending.LOSES.text(cause=exc, loss=ending.NO_SUMMARY.text()))
            lives = False
        except SprayccError as exc:
            warn(ending.LOSES.text(cause=exc, loss=ending.NO_SUMMARY.text()))
            lives = False
    if not lives:
        server_start.clean_after_server(opened.directory, opened.build)
    return figures | {"exit_status": tool.shell_status, "wall_s": wall_s}


def _inside(env: dict[bytes, bytes]) -> dict[bytes, bytes] | None:
    """The environment for a tool inside an open build; None if the jobserver can't be opened.

    Opens the jobserver again, because most recipes do not pass its descriptor on. Adds the library that intercepts
    executions if this environment has lost it.
    """
    fifo = os.path.join(
        os.path.dirname(env.get(b"SPRAYCC_SOCKET", b"")), runtime_dir.BUILDS, env[b"SPRAYCC_BUILD"], b"fifo"
    )
    try:
        fd = open_for_tool(fifo)
    except (OSError, SprayccError):
        return None
    env = env | with_library(env)
    return env | {
        b"MAKEFLAGS": compose(fifo, fd, env.get(b"MAKEFLAGS", b"")),
        b"CARGO_MAKEFLAGS": compose_cargo(fd),
    }


def _alone(name: str, env: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The environment for a tool with -j1 inside an open build: the tool runs outside the jobserver.

    A make below another make gets its MAKEFLAGS unchanged: it leaves the jobserver by itself, with the warning that
    the user knows from builds without SprayCC.
    """
    env = env | with_library(env)
    is_sub_make = name in MAKES and env.get(b"MAKELEVEL", b"0") != b"0"
    for variable in VARIABLES:
        value = env.get(variable, b"")
        if parse(value).auth is not None and not (is_sub_make and variable == b"MAKEFLAGS"):
            env[variable] = without_jobserver(value)
    return env


def _write_summary(path: str, figures: Mapping[str, Any]) -> None:
    import json

    text = json.dumps(figures, indent=2, sort_keys=True) + "\n"
    temporary = f"{path}.{os.urandom(6).hex()}.new"
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "w") as special:  # /dev/stderr, a FIFO
                special.write(text)
            return
        with open(temporary, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        warn(ending.SUMMARY_NOT_WRITTEN.text(cause=exc))

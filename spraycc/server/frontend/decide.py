"""Decides where a runner's command runs, and collects the data that an executor needs for it."""

from __future__ import annotations

import itertools
import os
import select
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from spraycc import context
from spraycc.commands.describe import describe
from spraycc.commands.names import Tools
from spraycc.commands.policy import Policy, paths_of
from spraycc.model import BuildId, Command, Description, Kind, Placement, TaskId
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks.capture_roots import CaptureRoots, capture_roots
from spraycc.server.tasks.command_files import environment_of, read_response_file
from spraycc.server.tasks.task import Task
from spraycc.server.tasks.toolchains import Toolchains
from spraycc.wire.runner import RunTask

_task_ids = itertools.count(1)

#: Kinds whose output is only diagnostics. It is held until the task's end. Other output is passed on as it comes.
HELD_KINDS = frozenset({Kind.COMPILE, Kind.DEPENDENCIES, Kind.PREPROCESS, Kind.ASSEMBLE, Kind.PCH})


class Decider:
    """Makes a task for each request of a runner."""

    def __init__(self, dispatcher: Dispatcher, workspace: bytes, home: bytes) -> None:
        """``workspace`` and ``home`` are real paths."""
        self._dispatcher = dispatcher
        self._workspace = workspace
        self._home = home
        self._context = context.of_this_process()
        self._toolchains = Toolchains()

    async def task_of(self, peer: Peer, request: RunTask) -> tuple[Task, bool]:
        """The task, and True if its command line alone decided its placement."""
        dispatcher = self._dispatcher
        settings = dispatcher.settings
        command = request.command()
        rules = Policy(settings.policy_remote, settings.policy_here_heavy, settings.policy_here_light)
        tools = Tools(settings.tools_like_gcc, settings.tools_like_clang, settings.tools_overlay_only)
        elsewhere = context.difference(self._context, request.context or self._context)
        elsewhere = elsewhere or context.of_preloaded(environment_of(command.env).variables)
        if not elsewhere and context.hides(peer.pid):
            elsewhere = "outside of the server's sandbox"
        build = BuildId(request.build.decode("ascii", "replace"))
        opened = dispatcher.builds.open.get(build)
        has_input = partial(_has_input, command.stdin.kind, peer.pid, opened.control.pid if opened else peer.pid)
        decide = partial(
            _decide, command, rules, tools, request.wish, elsewhere, self._workspace, self._home, has_input
        )
        description, plan, by_default = await dispatcher.tasks.disk.do("read", decide)
        task = Task(
            id=TaskId(next(_task_ids)),
            build=build,
            command=command,
            description=description,
            peer=peer,
            plan=plan,
            live=description.kind not in HELD_KINDS,
            tools=tools,
            capture=(opened.settings if opened else settings).capture,
        )
        if plan is None:
            return task, by_default
        if dispatcher.fleet.uses_other_hosts:
            task.same = await self._toolchains.needed_by(command, description, task.build)
            task.expected = dispatcher.tasks.inputs.expect(command, description, plan.outputs)
            await dispatcher.tasks.inputs.prepare(task.expected)
        await dispatcher.tasks.history.loaded()
        task.key = dispatcher.tasks.history.key_of(task)
        if task.capture == "predict" or dispatcher.tasks.predictions.are_needed:
            await dispatcher.tasks.predictions.make(task)
        # No await from here until the task is in the table, where Predictions.begin finds it.
        return task, by_default


def _decide(
    command: Command,
    rules: Policy,
    tools: Tools,
    wish: str,
    elsewhere: str,
    workspace: bytes,
    home: bytes,
    has_input: Callable[[], bool],
) -> tuple[Description, CaptureRoots | None, bool]:
    """The description, the capture's plan, and True if the command line alone decided the placement. Reads files.

    The plan is None if the command runs on the submit host. ``elsewhere``: how its context differs from the server's.
    ``has_input``: True if the command's standard input may have something to read.
    """
    description = _describe(command, tools)
    paths = _paths(command, workspace) if rules.has_paths else ()
    ruled = rules.apply(description, command.argv, command.program, paths)
    by_default = ruled is description and wish == "auto"
    is_by_rule = wish == "auto" and description.placement is not Placement.REMOTE
    description = _apply_wish(ruled, wish)
    # The user's rule names a program, not each of its calls: on an executor this call would read nothing.
    if is_by_rule and description.placement is Placement.REMOTE and has_input():
        description = _here(description, "reads standard input")
    if elsewhere and description.placement is Placement.REMOTE:
        description = _here(description, f"runs {elsewhere}")
    if description.placement is not Placement.REMOTE:
        return description, None, by_default
    plan = capture_roots(command, description, workspace, home)
    if plan is None:
        description = _here(description, "its directories can't be captured")
    elif any(map(_is_special, plan.outputs)):
        description, plan = _here(description, "writes to a special file"), None
    elif any(_is_special(os.path.join(command.cwd, name)) for name in description.inputs):
        description, plan = _here(description, "reads a special file"), None
    return description, plan, by_default


def _paths(command: Command, workspace: bytes) -> tuple[bytes, ...]:
    called = command.argv[0] if command.argv else b""
    given = [command.program, *([os.path.join(command.cwd, called)] if b"/" in called else [])]
    absolute = [*map(os.path.normpath, given), *map(os.path.realpath, given)]
    return paths_of(called, absolute, workspace)


def _describe(command: Command, tools: Tools) -> Description:
    def read_file(name: bytes) -> bytes | None:
        return read_response_file(os.path.join(command.cwd, name))

    return describe(command.argv, command.program, command.cwd, environment_of(command.env).variables, read_file, tools)


def _is_special(path: bytes) -> bool:
    """True for a fifo, a socket or a device: the process at its other end is on this host."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _has_input(kind: str, pid: int, starter: int) -> bool:
    """True if the process's standard input may have something to read that is meant for this command.

    ``kind`` is that of :class:`~spraycc.model.StdStream`; ``starter`` is the process that has opened the build. If this
    can't be found out, the answer is True.
    """
    if kind in ("null", "closed", "tty"):
        return False
    try:
        if kind == "file":
            return _is_before_end(pid)
        if kind == "pipe" and _is_left_and_empty(pid):
            return False
        # A build in CI or below ssh has such an input from its beginning, and each of its commands has it, too.
        origins = {os.getpgid(pid), starter} - {pid}
    except (OSError, ValueError):
        return True
    return _input_of(pid) not in map(_input_of, origins)


def _input_of(pid: int) -> tuple[int, int] | int:
    """Device and inode of the process's standard input; the process's number if they can't be found out."""
    try:
        found = os.stat(f"/proc/{pid}/fd/0")
    except OSError:
        return pid
    return found.st_dev, found.st_ino


def _is_before_end(pid: int) -> bool:
    """False for a file at its end. An example is a make in a script that a shell reads from its standard input."""
    with open(f"/proc/{pid}/fdinfo/0") as info:
        position = int(info.readline().removeprefix("pos:"))
    with open(f"/proc/{pid}/fd/0", "rb", buffering=0) as file:
        return os.pread(file.fileno(), 1, position) != b""  # the size of a file of /proc says nothing


def _is_left_and_empty(pid: int) -> bool:
    """True for a pipe without a writer and without data. GNU make gives one to all but one of its jobs (job.c, 4.4)."""
    try:
        fd = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    except PermissionError:  # a pipe of another user, as below sudo
        return False
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return [event for _, event in poll.poll(0)] == [select.POLLHUP]
    finally:
        os.close(fd)


def _apply_wish(description: Description, wish: str) -> Description:
    if wish == "local" and description.placement is Placement.REMOTE:
        return _here(description, "--local")
    if wish == "remote" and description.placement is not Placement.REMOTE:
        return replace(description, placement=Placement.REMOTE, reason="--remote")
    return description


def _here(description: Description, reason: str) -> Description:
    return replace(description, placement=Placement.HERE_HEAVY, reason=reason)

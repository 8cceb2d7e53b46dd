"""``spraycc make``, ``spraycc ninja``, ``spraycc build -- CMD``: a whole build, through the server.

Whatever goes wrong with SprayCC itself, the build is run: plainly, here, with one warning and no wider than the local
slots.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spraycc import config, runtime_dir, shims, workspace
from spraycc.build_tools import MAKES, NINJAS
from spraycc.cli import server_start
from spraycc.cli.build_tool import Tool, ToolNotFound, environ_path, execute, find_program
from spraycc.cli.environment import CCACHE_CHECK, in_build, without_build
from spraycc.cli.messages import say, warn
from spraycc.cli.suspended_server import StoppedServer
from spraycc.errors import ConfigError, SprayccError
from spraycc.jobserver.cmdline import Stripped, strip
from spraycc.jobserver.descriptor import open_for_tool
from spraycc.jobserver.makeflags import compose, compose_cargo, is_plain_path, parse
from spraycc.settings import Settings

if TYPE_CHECKING:
    from spraycc.cli.server_connection import Session

#: The first ninja that is a client of a jobserver; builds of Kitware's before it say so in their version.
_NINJA_WITH_JOBSERVER = (1, 13)
#: A build without a task that takes no longer than this had nothing to do.
_UP_TO_DATE_S = 1.0


@dataclass(slots=True)
class _Open:
    """A build that the server has opened. Owns the session and the descriptor."""

    session: Session
    directory: bytes
    build: str
    env: dict[bytes, bytes]
    fd: int | None

    def close(self) -> None:
        self.session.close()
        self.close_fd()

    def close_fd(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be run."""

    #: the tool's command line as the user gave it, without its own parallelism
    stripped: Stripped
    #: what the user typed first
    name: str
    #: the program; None is the runner, which runs ``stripped.argv`` as one task (then ``runner_words`` stand before it)
    program: bytes | None
    runner_words: tuple[bytes, ...] = ()
    jobserver: bool = True
    #: tokens may be withdrawn from the tool
    live_tokens: bool = True
    summary: bool = True
    #: nobody has typed "spraycc": where it did nothing, it says nothing
    by_shim: bool = False


def build_by_shim(words: Sequence[str]) -> int:
    """What the shim of a build tool does in a shell that ``spraycc env`` has prepared; returns the status to exit with.

    Raises:
        ToolNotFound: there is no such program.
    """
    try:
        return build(words, {}, by_shim=True)
    except ToolNotFound:
        raise
    except (SprayccError, OSError) as exc:
        warn(f"{exc}\n{words[0]} runs without SprayCC")
        env = without_build(dict(os.environb))
        argv = tuple(map(os.fsencode, words))
        execute(find_program(argv[0], environ_path(env)), argv, env)


def prepare_shims(flags: Mapping[str, Any]) -> bytes:
    """Bring the shims up to date; their directory. Where there can be no workspace (a home directory) too."""
    try:
        wrap = _load(flags)[0].settings.wrapped
    except ConfigError as exc:
        warn(str(exc))
        wrap = ()
    path = environ_path(without_build(dict(os.environb)))
    return shims.refresh(wrap, os.fsdecode(path)).directory


def open_for_shell(flags: Mapping[str, Any], shell: int, fd: int) -> tuple[bytes, dict[bytes, bytes]]:
    """Open a build that lasts as long as the process ``shell``: its fifo, for the shell to open as ``fd``; variables.

    Raises:
        SprayccError: that can't be; a shell can't go on without what was asked for and say so later.
    """
    loaded, root = _load(flags)
    env = without_build(dict(os.environb))
    plan = _Plan(Stripped((b"the shell %d" % shell,), parse(env.get(b"MAKEFLAGS", b"")).jobs, True), "shell", None)
    opened = _open(plan, loaded.settings, root, env)
    try:
        opened.session.tool_started(shell)
        fifo = os.path.join(opened.directory, runtime_dir.BUILDS, os.fsencode(opened.build), b"fifo")
        names = (b"PATH", b"SPRAYCC_SHIMS", b"SPRAYCC_SOCKET", b"SPRAYCC_BUILD", CCACHE_CHECK)
        variables = {name: opened.env[name] for name in names if name in opened.env}
        variables[b"MAKEFLAGS"] = compose(fifo, fd, env.get(b"MAKEFLAGS", b""))
        variables[b"CARGO_MAKEFLAGS"] = compose_cargo(fd)
        return fifo, variables
    finally:
        opened.close()


def build(words: Sequence[str], flags: Mapping[str, Any], *, by_shim: bool = False) -> int:
    """Run the build that ``words`` are the command line of; returns the status to exit with.

    Raises:
        ConfigError: a setting is wrong, or there can be no workspace here.
        ToolNotFound: there is no such program.
    """
    began = time.monotonic()
    env = dict(os.environb)
    argv = tuple(map(os.fsencode, words))
    stripped = strip(words[0], argv, env.get(b"MAKEFLAGS", b""))
    program = find_program(argv[0], environ_path(without_build(env)))
    name = os.path.basename(words[0])
    if not stripped.jobserver:
        execute(program, argv, without_build(env))
    if b"SPRAYCC_BUILD" in env:
        links = env.get(b"SPRAYCC_SHIMS")
        inside = _inside(env)
        if inside is None:  # not by the shim, which would send us here again
            execute(program, stripped.argv, env)
        execute((links and shims.link_of(argv[0], links)) or program, stripped.argv, inside)
    loaded, root = _load(flags)
    jobserver = True
    if name in NINJAS and (version := ninja_version(program)) is not None and not is_jobserver_ninja(version):
        width = min(filter(None, (stripped.cap, loaded.settings.executors_in_force)))
        say(f"{words[0]} {version} knows no jobserver (1.13 does), so it runs with -j{width} whatever comes and goes")
        stripped = dataclasses.replace(stripped, argv=_with_width(name, stripped.argv, width))
        jobserver = False
    live_tokens = True
    if name in MAKES and is_blocking_make(version := _first_line(program) or ""):
        say(f"{words[0]} is {version}, which may hang where tokens are withdrawn (4.3 does not): a few, for good")
        live_tokens = False
    plan = _Plan(stripped, name, program, jobserver=jobserver, live_tokens=live_tokens, by_shim=by_shim)
    return _run(plan, loaded.settings, root, env, began)


def run_one(wish: str, words: Sequence[str], flags: Mapping[str, Any]) -> int:
    """Run one command as a task; returns the status to exit with.

    Args:
        wish: "auto", "remote" or "local".
        words: the command line.
        flags: settings given on the command line.
    """
    began = time.monotonic()
    env = dict(os.environb)
    argv = tuple(map(os.fsencode, words))
    runner_words = (b"spraycc-run", *(() if wish == "auto" else (b"--" + wish.encode(),)), b"--")
    # What can't be found is said here, and not by some executor.
    find_program(argv[0], environ_path(without_build(env)))
    loaded, root = _load(flags)
    if b"SPRAYCC_BUILD" in env:
        execute(shims.refresh(loaded.settings.wrapped, os.environ.get("PATH", "")).runner, (*runner_words, *argv), env)
    plan = _Plan(Stripped(argv, None, False), words[0], None, runner_words, jobserver=False, summary=False)
    return _run(plan, loaded.settings, root, env, began)


def is_jobserver_ninja(version: str) -> bool:
    """Whether a ninja that says this of itself (``1.11.1.git.kitware.jobserver-1``) is a client of a jobserver."""
    numbers = version.split(".")[:2]
    try:
        return tuple(map(int, numbers)) >= _NINJA_WITH_JOBSERVER or "jobserver" in version
    except ValueError:
        return True  # something newer than we can read


def is_blocking_make(version: str) -> bool:
    """Whether a make that says this of itself waits for ever for a token that was there a moment ago.

    4.2 and 4.2.1 do: they ask pselect(2) and then call read(2), which blocks where somebody else was quicker, and which
    no child's end interrupts any more. (4.2.1 was wedged in two of three runs in which tokens were withdrawn.)
    """
    found = re.match(r"GNU Make (\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) == (4, 2)


def ninja_version(program: bytes) -> str | None:
    """What ``ninja --version`` prints, or None."""
    return _first_line(program)


def _first_line(program: bytes) -> str | None:
    """The first line of what ``program --version`` prints, or None."""
    import subprocess

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10, text=True
        )
        return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else None
    return None


def plain_argv(name: str, stripped: Stripped, local_slots: int, makeflags: bytes) -> tuple[bytes, ...]:
    """The command line for a build without a server: no more at once than the local slots, and than the user wanted.

    Below a make with a jobserver that one's tokens are the bound.
    """
    if parse(makeflags).auth is not None:
        return stripped.argv
    return _with_width(name, stripped.argv, min(filter(None, (stripped.cap, local_slots))))


def _load(flags: Mapping[str, Any]) -> tuple[config.Loaded, bytes]:
    root = workspace.find()
    loaded = config.load(root, flags=flags)
    for text in loaded.warnings:
        warn(text)
    return loaded, root


def _run(plan: _Plan, settings: Settings, root: bytes, env: dict[bytes, bytes], began: float) -> int:
    opened: _Open | None = None
    # Not under the tool's handlers of signals: until there is a tool, Ctrl-C is for us.
    try:
        opened = _open(plan, settings, root, env)
    except ConfigError:
        raise
    except (SprayccError, OSError) as exc:
        warn(f"{exc}\nthe build goes on without a server, here")
    try:
        with Tool() as tool:
            figures = _run_tool(tool, plan, settings, env, opened, began)
    finally:
        if opened is not None:
            opened.close()
    if plan.summary:
        if (
            opened is not None
            and settings.summary_line
            and "tasks" in figures
            and (figures["tasks"] or not plan.by_shim)
        ):
            from spraycc.ui.summary import summary_line

            say(summary_line(figures))
            if not figures["tasks"] and figures["wall_s"] >= _UP_TO_DATE_S:
                _say_why_nothing_came(plan, opened)
        if settings.summary is not None:
            _write_summary(settings.summary, figures)
    return tool.end_alike()


def _say_why_nothing_came(plan: _Plan, opened: _Open) -> None:
    from spraycc.cli.cmake_tree import advice

    words = list(map(os.fsdecode, plan.stripped.argv))
    with contextlib.suppress(shims.NoRunner):
        if text := advice(words, os.fsdecode(opened.env[b"SPRAYCC_SHIMS"]), shims.installed_runner()):
            say(text)


def _open(plan: _Plan, settings: Settings, root: bytes, env: Mapping[bytes, bytes]) -> _Open:
    """Everything that must be there before the tool can start."""
    directory = runtime_dir.locate(root)
    path = environ_path(env)
    found: list[shims.Shims] = []
    # While a new server starts: by the time it listens this is done.
    session = server_start.connect_or_start(
        directory,
        root,
        settings,
        say,
        meanwhile=lambda: found.append(shims.refresh(settings.wrapped, os.fsdecode(path))),
    )
    fd = None
    try:
        reply = session.open_build(
            plan.stripped.cap,
            plan.stripped.argv,
            os.getcwdb(),
            dataclasses.asdict(settings),
            plan.jobserver,
            plan.live_tokens,
        )
        fd = open_for_tool(reply.fifo) if reply.fifo else None
        tool_env = in_build(
            env,
            socket=os.path.join(directory, runtime_dir.SOCKET),
            build=os.fsencode(reply.build),
            shims=found[0].directory,
            path=path,
            fifo=reply.fifo,
            fd=fd,
            shell=_recipe_shell(settings, found[0]),
        )
    except BaseException:
        session.close()
        if fd is not None:
            os.close(fd)
        raise
    return _Open(session, directory, reply.build, tool_env, fd)


def _recipe_shell(settings: Settings, links: shims.Shims) -> bytes:
    if not settings.wrap_shell:
        return b""
    if is_plain_path(links.shell):
        return links.shell
    warn(f"recipe lines are not wrapped, as MAKEFLAGS can't hold the path {os.fsdecode(links.shell)}")
    return b""


def _run_tool(
    tool: Tool, plan: _Plan, settings: Settings, env: dict[bytes, bytes], opened: _Open | None, began: float
) -> dict[str, Any]:
    """Start the tool and wait for it; returns the figures that are known."""
    path = environ_path(without_build(env))
    argv = plan.stripped.argv
    if opened is None:
        program = plan.program or find_program(argv[0], path)
        if plan.summary:
            argv = plain_argv(plan.name, plan.stripped, settings.local_slots_in_force, env.get(b"MAKEFLAGS", b""))
        tool.start(program, argv, without_build(env))
        tool.wait(None)
        return {"exit_status": tool.shell_status, "wall_s": round(time.monotonic() - began, 3)}
    links = opened.env[b"SPRAYCC_SHIMS"]
    program = shims.runner_in(links) if plan.program is None else shims.link_of(argv[0], links) or plan.program
    tool.start(program, (*plan.runner_words, *argv), opened.env)
    # With our end open the server could not see that the last process of the build is gone.
    opened.close_fd()
    # While the tool runs this costs no time, and when it has ended our files may be gone, in the middle of an upgrade.
    import spraycc.cli.cmake_tree
    import spraycc.ui.summary  # noqa: F401
    from spraycc.cli.server_connection import ConnectionEnded

    figures: dict[str, Any] = {}
    with contextlib.suppress(SprayccError):  # a server that is gone is seen by the wait
        opened.session.tool_started(tool.pid)
    with contextlib.closing(StoppedServer(opened.session.pid, settings.lost_after_s, warn)) as look_after:
        lives = tool.wait(opened.session, lambda: _tell_server_is_gone(opened), look_after)
    wall_s = round(time.monotonic() - began, 3)
    if lives:
        try:
            figures = opened.session.close_build(tool.shell_status, wall_s)
        except ConnectionEnded as exc:
            # The tool can end before its wait sees that the server is gone, and a runner may have seen it before.
            if _is_first_to_tell(opened):
                warn(f"{exc}; there is no summary")
            lives = False
        except SprayccError as exc:
            warn(f"{exc}; there is no summary")
            lives = False
    if not lives:
        server_start.clean_after_server(opened.directory, opened.build)
    return figures | {"exit_status": tool.shell_status, "wall_s": wall_s}


def _tell_server_is_gone(opened: _Open) -> None:
    """Warn that the server is gone, unless a runner has warned."""
    if _is_first_to_tell(opened):
        warn("the server is gone; the rest of the build runs here")


def _is_first_to_tell(opened: _Open) -> bool:
    """True if nobody has warned yet that this build's server is gone. Then the caller must warn.

    The runners warn too. Whoever creates the mark is the first, so the user reads one warning for each build.
    """
    mark = os.path.join(opened.directory, runtime_dir.BUILDS, os.fsencode(opened.build), b"warned")
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except OSError:
        pass  # The build's directory is gone, so no runner can create the mark, and none warns.
    return True


def _inside(env: dict[bytes, bytes]) -> dict[bytes, bytes] | None:
    """The environment for a tool inside a build of ours. Opens the jobserver again, as most recipes don't hand it on;
    None where that can't be."""
    fifo = os.path.join(
        os.path.dirname(env.get(b"SPRAYCC_SOCKET", b"")), runtime_dir.BUILDS, env[b"SPRAYCC_BUILD"], b"fifo"
    )
    try:
        fd = open_for_tool(fifo)
    except (OSError, SprayccError):
        return None
    return env | {
        b"MAKEFLAGS": compose(fifo, fd, env.get(b"MAKEFLAGS", b"")),
        b"CARGO_MAKEFLAGS": compose_cargo(fd),
    }


def _with_width(name: str, argv: tuple[bytes, ...], width: int) -> tuple[bytes, ...]:
    """The command line with ``-j`` put where the tool takes it; as it is for a tool that we don't know."""
    option = b"-j%d" % width
    if name in (*MAKES, *NINJAS):
        return (argv[0], option, *argv[1:])
    if name == "cmake" and argv[1:2] == (b"--build",) and len(argv) > 2:
        return (*argv[:3], option, *argv[3:])
    return argv


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
        warn(f"the summary can't be written: {exc}")

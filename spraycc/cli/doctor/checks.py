"""The checks of ``spraycc doctor``. If it does no harm, a check does the thing itself."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from spraycc import __version__, config, directories, runner_files, runtime_dir, workspace
from spraycc.cli import server_start
from spraycc.cli.build_tool import ToolNotFound, environ_path, find_program
from spraycc.cli.doctor.capture import capture
from spraycc.cli.doctor.finding import Finding, failed, passed
from spraycc.cli.tool_environment import without_build
from spraycc.cli.tool_kinds import is_jobserver_ninja, version_line
from spraycc.commands.interception import LIBRARY_NAME
from spraycc.config.load import DEFAULT_ORIGIN
from spraycc.errors import RuntimeDirError, SprayccError, WorkspaceError
from spraycc.settings import Settings

#: Descriptors for each executor (its connection, its task's runner, a file that is written), and for the rest.
_DESCRIPTORS_PER_EXECUTOR = 3
_SPARE_DESCRIPTORS = 100
_ANSWER_TIMEOUT_S = 20.0


def all_findings(flags: Mapping[str, Any]) -> Iterator[Finding]:
    """All checks in order. What one check finds wrong keeps no other check from its work."""
    yield passed("spraycc", f"{__version__}, Python {sys.version.split()[0]} ({sys.executable})")
    root: bytes | None = None
    try:
        root = workspace.find()
        yield passed("workspace", os.fsdecode(root))
    except WorkspaceError as exc:
        yield failed("workspace", str(exc), "a build in this directory runs without SprayCC; the other checks go on")
    settings = Settings()
    try:
        loaded = config.load(root, flags=flags)
        settings = loaded.settings
        yield from configuration(loaded)
    except SprayccError as exc:
        remedy = "correct it; the other checks go on with the defaults"
        yield failed("configuration", str(exc), remedy, essential=True)
    if not settings.starts_executors:
        here = f"up to {settings.compile_slots_in_force} compiles at once"
        yield passed("executors", f"none with cluster local: this host runs the commands, {here}")
    yield from runner(settings)
    yield from capture(root, settings)
    yield from build_tools()
    yield compilers()
    yield state_directory(settings)
    if root is not None:
        yield from server_directory(root)
    yield descriptors(settings)


def configuration(loaded: config.Loaded) -> Iterator[Finding]:
    """The sources of the settings, and unknown variables."""
    files = sorted({origin for origin in loaded.origins.values() if origin != DEFAULT_ORIGIN})
    yield passed("configuration", ", ".join(files) if files else "defaults")
    for text in loaded.warnings:
        yield failed("configuration", text, "unset it, or correct its name")


def runner(settings: Settings) -> Iterator[Finding]:
    """Whether the runner exists, is native, and can be executed in its place; and how compilers are intercepted."""
    try:
        installed = runner_files.installed_runner()
        files = runner_files.install()
    except SprayccError as exc:
        remedy = "without a runner no task goes to an executor: install SprayCC again"
        yield failed("runner", str(exc), remedy, essential=True)
        return
    if files.problem:
        remedy = "set XDG_DATA_HOME to a directory of yours that all hosts share, or repair that one"
        yield failed("data directory", files.problem, remedy)
    said, problem = _output([os.fsdecode(files.runner), "--version"])
    if problem:
        yield failed(
            "runner",
            f"{os.fsdecode(files.runner)}: {problem}",
            "is that file system mounted noexec, or shared with hosts of another architecture? "
            "Set XDG_DATA_HOME to a directory that is neither",
            essential=True,
        )
    elif "native" in said:
        yield passed("runner", f"{said}, {installed}")
    else:
        yield failed(
            "runner",
            f"{installed} is the Python fallback: correct, but slow to start",
            "install a C compiler, then SprayCC again (SPRAYCC_RUNNER=native pip install ...)",
        )
    yield interception(files, settings)


def interception(files: runner_files.RunnerFiles, settings: Settings) -> Finding:
    """Whether compilers are intercepted where they are executed: a program loads the library, and says nothing."""
    subject = "interception"
    remedy = "compilers that are called by a path stay on this host"
    if settings.intercept == "path":
        return passed(subject, f"by shims on PATH (intercept = path): {remedy}")
    if files.library is None:
        return failed(
            subject,
            f"by shims on PATH, because {LIBRARY_NAME} is not installed, or can't be loaded from {files.data}/lib",
            f"{remedy}; install a C compiler, then SprayCC again",
        )
    # The loader complains on standard error.
    said, problem = _output(["env", b"LD_PRELOAD=" + files.library, "sh", "-c", "exec 2>&1; exec sh -c :"])
    if problem or said:
        return failed(subject, f"{os.fsdecode(files.library)}: {problem or said}", "use --intercept path")
    return passed(subject, os.fsdecode(files.library))


def build_tools() -> Iterator[Finding]:
    """The versions of make and ninja, and whether they are clients of a jobserver."""
    found = False
    for name in ("make", "ninja"):
        program = _find(name)
        if program is None:
            continue
        found = True
        if name == "ninja":
            version = version_line(program) or "?"
            text = f"{version} ({os.fsdecode(program)})"
            if is_jobserver_ninja(version):
                yield passed(name, text)
            else:
                remedy = "install ninja 1.13 or later (pip install ninja); this one keeps the -j of its start"
                yield failed(name, f"{text} knows no jobserver", remedy)
        else:
            said, problem = _output([os.fsdecode(program), "--version"])
            text = f"{said.splitlines()[0] if said else problem} ({os.fsdecode(program)})"
            if text.startswith("GNU Make"):
                yield passed(name, text)
            else:
                remedy = "only GNU make is a client of the jobserver: install it, and put it first on PATH"
                yield failed(name, text, remedy)
    if not found:
        remedy = "install one; any other build goes through `spraycc build -- CMD`"
        yield failed("make", "neither make nor ninja is on PATH", remedy)


def compilers() -> Finding:
    """The compilers on PATH that are wrapped."""
    from spraycc.commands.names import tool_of

    names = set()
    for element in _real_path().split(os.pathsep):
        try:
            entries = os.listdir(element) if element else []
        except OSError:
            continue
        names |= {
            name for name in entries if (tool := tool_of(os.fsencode(name))) is not None and tool.family is not None
        }
    if not names:
        return failed(
            "compilers",
            "none on PATH",
            "install one; a compiler of another name: like_gcc, like_clang or overlay_only in [tools] of .spraycc.toml",
        )
    return passed("compilers", " ".join(sorted(names)))


def state_directory(settings: Settings) -> Finding:
    """The directory for all that servers write, and whether it is the usual one and has space."""
    subject, remedy = "state directory", "set XDG_STATE_HOME to a directory of yours that all hosts share"
    try:
        place = directories.state(probe=True)
    except RuntimeDirError as exc:
        return failed(subject, str(exc), remedy, essential=True)
    if place.problem:
        return failed(subject, place.problem, f"free space there, or {remedy}")
    if place.is_last_resort and settings.cluster != "local":
        return failed(subject, f"{place.path}: executors on other hosts can't read it", remedy)
    return passed(subject, place.path)


def server_directory(root: bytes) -> Iterator[Finding]:
    """The runtime directory, and the server in it."""
    try:
        directory = runtime_dir.locate(root)
        for known in (os.path.dirname(directory), directory):
            if os.path.lexists(known):
                runtime_dir.check(known)
    except RuntimeDirError as exc:
        remedy = "remove it if it is yours; else name another directory in SPRAYCC_RUNTIME_DIR"
        yield failed("runtime directory", str(exc), remedy, essential=True)
        return
    yield passed("runtime directory", os.fsdecode(directory))
    log = os.path.join(runtime_dir.state_directory_of(root), "server.log")
    try:
        connection = server_start.connect(directory, lambda text: None)
    except SprayccError as exc:
        remedy = f"its log: {log}; when it has ended, the next build starts another"
        yield failed("server", str(exc), remedy, essential=True)
        return
    if connection is None:
        last = f"; log of the last server: {log}" if os.path.exists(log) else ""
        yield passed("server", f"no server runs; a build starts one{last}")
        return
    state, welcome = connection.status().get("server", {}).get("state_dir", "?"), connection.welcome
    yield passed("server", f"{welcome.release} runs, process {welcome.pid}, log {state}/server.log")
    connection.close()


def descriptors(settings: Settings) -> Finding:
    """Whether the server may open as many files as it needs."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = _DESCRIPTORS_PER_EXECUTOR * settings.executors_in_force + _SPARE_DESCRIPTORS
    unlimited = hard == resource.RLIM_INFINITY
    allowed = "any number of" if unlimited else str(hard)
    text = f"{allowed} open files allowed, {settings.executors_in_force} executors need about {need}"
    if unlimited or hard >= need:
        return passed("limits", text)
    return failed("limits", text, "have the hard limit raised (ulimit -Hn), or lower --executors")


def _real_path() -> str:
    return os.fsdecode(environ_path(without_build(os.environb)))


def _find(name: str) -> bytes | None:
    try:
        return find_program(os.fsencode(name), os.fsencode(_real_path()))
    except ToolNotFound:
        return None


def _output(command: list[str | bytes]) -> tuple[str, str]:
    """(output, problem) of a command; the problem is empty if the status is 0."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {_ANSWER_TIMEOUT_S:g} s"
    except OSError as exc:
        return "", exc.strerror or str(exc)
    if done.returncode:
        return done.stdout.strip(), done.stderr.strip() or f"ended with {done.returncode}"
    return done.stdout.strip(), ""

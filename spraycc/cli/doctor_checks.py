"""The checks of ``spraycc doctor``. If it does no harm, a check does the thing itself."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spraycc import __version__, config, directories, runner_files, runtime_dir, workspace
from spraycc.cli import server_start
from spraycc.cli.build_tool import ToolNotFound, environ_path, find_program
from spraycc.cli.tool_environment import without_build
from spraycc.cli.tool_kinds import is_jobserver_ninja, version_line
from spraycc.commands.interception import LIBRARY_NAME
from spraycc.config.load import DEFAULT_ORIGIN
from spraycc.errors import RuntimeDirError, SprayccError
from spraycc.settings import Settings
from spraycc.system.filesystems import FileSystems

#: Descriptors for each executor (its connection, its task's runner, a file that is written), and for the rest.
_DESCRIPTORS_PER_EXECUTOR = 3
_SPARE_DESCRIPTORS = 100
_ANSWER_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    subject: str
    ok: bool
    text: str
    #: the next step for the user
    remedy: str = ""
    #: True if no task can go to an executor until this is repaired
    essential: bool = False


def all_findings(flags: Mapping[str, Any]) -> Iterator[Finding]:
    """All checks in order.

    Raises:
        SprayccError: the configuration or the workspace is wrong, so the other checks are impossible.
    """
    yield Finding("spraycc", True, f"{__version__}, Python {sys.version.split()[0]} ({sys.executable})")
    root = workspace.find()
    loaded = config.load(root, flags=flags)
    yield Finding("workspace", True, os.fsdecode(root))
    files = sorted({origin for origin in loaded.origins.values() if origin != DEFAULT_ORIGIN})
    yield Finding("configuration", True, ", ".join(files) if files else "defaults")
    for text in loaded.warnings:
        yield Finding("configuration", False, text, "unset it, or correct its name")
    yield from runner(loaded.settings)
    yield from box(root, loaded.settings)
    yield user_namespaces()
    yield from build_tools()
    yield compilers()
    yield state_directory(loaded.settings)
    yield from server_directory(root)
    yield descriptors(loaded.settings)


def runner(settings: Settings) -> Iterator[Finding]:
    """Whether the runner exists, is native, and can be executed in its place; and how compilers are intercepted."""
    try:
        installed = runner_files.installed_runner()
        files = runner_files.install()
    except SprayccError as exc:
        yield Finding("runner", False, str(exc), "without a runner no task goes to an executor", essential=True)
        return
    if files.problem:
        yield Finding("data directory", False, files.problem)
    said, problem = _output([os.fsdecode(files.runner), "--version"])
    if problem:
        yield Finding(
            "runner",
            False,
            f"{os.fsdecode(files.runner)}: {problem}",
            "is that file system mounted noexec, or shared with hosts of another architecture? "
            "Set XDG_DATA_HOME to a directory that is neither",
            essential=True,
        )
    elif "native" in said:
        yield Finding("runner", True, f"{said}, {installed}")
    else:
        yield Finding(
            "runner",
            False,
            f"{installed} is the Python fallback: correct, but slow to start",
            "install a C compiler, then SprayCC again (SPRAYCC_RUNNER=native pip install ...)",
        )
    yield interception(files, settings)


def interception(files: runner_files.RunnerFiles, settings: Settings) -> Finding:
    """Whether compilers are intercepted where they are executed: a program loads the library, and says nothing."""
    subject, remedy = "interception", "compilers that are called by a path stay on this host (docs/interception.md)"
    if settings.intercept == "path":
        return Finding(subject, True, f"by shims on PATH (intercept = path): {remedy}")
    if files.library is None:
        return Finding(
            subject,
            False,
            f"by shims on PATH, because {LIBRARY_NAME} is not installed, or can't be loaded from {files.data}/lib",
            f"{remedy}; install a C compiler, then SprayCC again",
        )
    # The loader complains on standard error.
    said, problem = _output(["env", b"LD_PRELOAD=" + files.library, "sh", "-c", "exec 2>&1; exec sh -c :"])
    if problem or said:
        return Finding(subject, False, f"{os.fsdecode(files.library)}: {problem or said}", "use --intercept path")
    return Finding(subject, True, os.fsdecode(files.library))


def box(root: bytes, settings: Settings) -> Iterator[Finding]:
    """Whether an executor on this host could capture a command's outputs, by the executor's own trial."""
    import trio

    from spraycc.executor.box import find_box
    from spraycc.executor.host import Host, explore

    remedy = "compiles run on this host only, unless an executor's host can capture"
    try:
        program = find_box()
    except FileNotFoundError as exc:
        yield Finding("capture", False, str(exc), remedy)
        return
    is_elsewhere = settings.cluster != "local" or bool(settings.executor_prefix)
    needs_recorder = is_elsewhere or FileSystems().is_shared(root)
    host = Host(program, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    try:
        trio.run(explore, host, root, settings.scratch_dir, f"doctor-{os.getpid()}")
        if host.scratch is not None:
            where = os.fsdecode(os.path.dirname(host.scratch.path))
            yield Finding("capture", True, f"{' and '.join(host.captures)}; scratch files in {where}")
        else:
            yield Finding("capture", False, f"no overlay: {host.refusals.get('overlay', 'no reason given')}", remedy)
        if host.recorder is not None:
            yield Finding("recorder", True, os.fsdecode(host.recorder))
        elif needs_recorder and (reason := host.refusals.get("recorder")):
            yield Finding("recorder", False, reason, "a cluster's hosts need it: docs/nfs.md")
    finally:
        if host.scratch is not None:
            host.scratch.remove()
        host.mounts.close()
        os.close(host.null)


def user_namespaces() -> Finding:
    """Whether an unprivileged process may make a user namespace, and the setting that forbids it."""
    subject = "user namespaces"
    if os.getuid() == 0:
        return Finding(subject, True, "not needed by root")
    for knob, bad, remedy in (
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "an AppArmor profile for spraycc-box with `userns,`, "
            "or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        try:
            with open(knob) as file:
                value = file.read().strip()
        except OSError:
            continue
        if value == bad:
            return Finding(subject, False, f"{knob} is {value}", f"root can change it: {remedy}")
    return Finding(subject, True, "allowed")


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
            ok = is_jobserver_ninja(version)
            yield Finding(
                name,
                ok,
                f"{version} ({os.fsdecode(program)})" + ("" if ok else " knows no jobserver"),
                "install ninja 1.13 or later (pip install ninja); this one keeps the -j of its start",
            )
        else:
            said, problem = _output([os.fsdecode(program), "--version"])
            first = said.splitlines()[0] if said else problem
            gnu = first.startswith("GNU Make")
            yield Finding(name, gnu, f"{first} ({os.fsdecode(program)})", "only GNU make is a client of the jobserver")
    if not found:
        yield Finding(
            "make", False, "neither make nor ninja is on PATH", "any other build goes through `spraycc build -- CMD`"
        )


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
        return Finding(
            "compilers",
            False,
            "none on PATH",
            "a compiler by another name is wrapped with --wrap NAME, or `wrap` in .spraycc.toml",
        )
    return Finding("compilers", True, " ".join(sorted(names)))


def state_directory(settings: Settings) -> Finding:
    """The directory for all that servers write, and whether it is the usual one and has space."""
    try:
        place = directories.state(probe=True)
    except RuntimeDirError as exc:
        return Finding("state directory", False, str(exc), essential=True)
    if place.problem:
        return Finding("state directory", False, place.problem)
    remedy = "executors on other hosts can't read it; set XDG_STATE_HOME to a directory that all hosts share"
    return Finding("state directory", not place.is_last_resort or settings.cluster == "local", place.path, remedy)


def server_directory(root: bytes) -> Iterator[Finding]:
    """The runtime directory, and the server in it."""
    try:
        directory = runtime_dir.locate(root)
        for known in (os.path.dirname(directory), directory):
            if os.path.lexists(known):
                runtime_dir.check(known)
    except RuntimeDirError as exc:
        yield Finding("runtime directory", False, str(exc), essential=True)
        return
    yield Finding("runtime directory", True, os.fsdecode(directory))
    try:
        connection = server_start.connect(directory, lambda text: None)
    except SprayccError as exc:
        yield Finding("server", False, str(exc), essential=True)
        return
    if connection is None:
        log = os.path.join(runtime_dir.state_directory_of(root), "server.log")
        last = f"; log of the last server: {log}" if os.path.exists(log) else ""
        yield Finding("server", True, f"no server runs; a build starts one{last}")
        return
    log = connection.status().get("server", {}).get("state_dir", "?")
    yield Finding(
        "server", True, f"{connection.welcome.release} runs, process {connection.welcome.pid}, log {log}/server.log"
    )
    connection.close()


def descriptors(settings: Settings) -> Finding:
    """Whether the server may open as many files as it needs."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = _DESCRIPTORS_PER_EXECUTOR * settings.executors_in_force + _SPARE_DESCRIPTORS
    unlimited = hard == resource.RLIM_INFINITY
    allowed = "any number of" if unlimited else str(hard)
    text = f"{allowed} open files allowed, {settings.executors_in_force} executors need about {need}"
    return Finding(
        "limits", unlimited or hard >= need, text, "have the hard limit raised (ulimit -Hn), or lower --executors"
    )


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

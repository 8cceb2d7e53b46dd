"""``spraycc clean``: removes what SprayCC keeps on this host and in the home directory, and nothing that is in use."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click

from spraycc import directories, leftovers, runtime_dir
from spraycc.errors import SprayccError

_HELP = """Remove what SprayCC keeps on this host and in the home directory.

That is: the directories of servers with logs and records of builds, the history of durations, and the copies of the
runner and the library.

Idle servers are ended. Nothing that a running build uses is removed, here or on another host. Configuration files are
yours, and stay.

Shims stay, too: shells that `spraycc env` has prepared find them on PATH, and CMake may have written their paths into
build directories. Use --shims if there are no such shells and build directories any more."""

#: Below the data directory: what each build makes anew, and the shims.
_PROGRAMS = ("bin", "lib")
_SHIMS = "paths"
#: The slot of runners whose server's directory was deleted (native/runner/local_slots.c).
_LAST_SLOTS = "fallback-slots"
_END_TIMEOUT_S = 10.0


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_clean,
        help=_HELP,
        short_help="Remove what SprayCC keeps on this host and in the home directory.",
        params=[
            click.Option(["--workspace", "one"], is_flag=True, help="Only what belongs to this workspace."),
            click.Option(["--shims"], is_flag=True, help="Shims, too."),
            click.Option(["--dry-run", "-n"], is_flag=True, help="Remove nothing, and say what would be removed."),
        ],
    )


@dataclass(slots=True)
class _Report:
    dry: bool
    removed_bytes: int = 0
    #: something was kept because it is in use
    is_used: bool = False

    def remove(self, path: str) -> None:
        if not os.path.lexists(path):
            return
        if self.dry:
            size, left = leftovers.size_of(path), False
        else:
            size = leftovers.remove(path)
            left = os.path.lexists(path)
        self.removed_bytes += size
        click.echo(f"{'would remove' if self.dry else 'removed'} {size_text(size):>9}  {path}")
        if left:
            self.keep(path, "a part can't be removed")

    def keep(self, path: str, why: str, *, is_used: bool = False) -> None:
        self.is_used |= is_used
        click.echo(f"{'would keep' if self.dry else 'kept'} {'':9}  {path}: {why}")


def _clean(one: bool, shims: bool, dry_run: bool) -> int:
    report = _Report(dry_run)
    root = _workspace() if one else None
    base = directories.base()
    states = [state for place in directories.places("state") for state in leftovers.states(place)]
    here = [state for state in states if state.host == os.uname().nodename]
    for name in sorted({*leftovers.servers(base), *(state.name for state in here)}):
        if root is None or runtime_dir.is_of(root, name):
            _clean_server(report, os.path.join(base, name.encode()), [state for state in here if state.name == name])
    if root is not None:
        _clean_history(report, root)
    else:
        _clean_shared(report, base, [state for state in states if state not in here], shims)
    click.echo(f"{size_text(report.removed_bytes)} {'would be ' if dry_run else ''}removed")
    return int(report.is_used)


def _workspace() -> bytes:
    from spraycc import workspace

    return workspace.find()


def _clean_server(report: _Report, directory: bytes, states: list[leftovers.State]) -> None:
    """Remove one server's directories, unless they are in use."""
    shown = os.fsdecode(directory)
    try:
        is_there = os.path.lexists(directory)
        use = _end_if_idle(directory, report.dry)
        if not use and not is_there:
            # No locks to see: the server may run in a container with a /tmp of its own.
            alive = [state.path for state in states if leftovers.may_live(state, time.time())]
            use = "its server may run in a container" if alive else ""
        if use:
            report.keep(shown if is_there else states[0].path, use, is_used=True)
            return
        if report.dry:
            # A server that lives and is idle would cancel its batch jobs at its end.
            _remove_server(report, shown if is_there else None, states, cancels=_server_lives(directory))
            return
        with leftovers.claimed(directory) as use:
            if use:
                report.keep(shown, use, is_used=True)
            else:
                _remove_server(report, shown if is_there else None, states)
        if not is_there:
            leftovers.remove(shown)  # only claimed() has made it
    except (OSError, SprayccError) as exc:
        report.keep(shown, str(exc), is_used=True)


def _remove_server(
    report: _Report, directory: str | None, states: list[leftovers.State], *, cancels: bool = False
) -> None:
    kept = [state for state in states if not cancels and leftovers.has_batch_jobs(state.path)]
    # Without the directory, the server whose state stays would seem to run in a container.
    if directory is not None and not kept:
        report.remove(directory)
    for state in states:
        if state in kept:
            report.keep(state.path, "batch jobs of a killed server may be left; run `spraycc server stop --force`")
        else:
            report.remove(state.path)


def _end_if_idle(directory: bytes, dry: bool) -> str:
    """End the server in this directory if it has no build. Returns why it runs on; empty: no server runs."""
    from spraycc.cli import server_start

    connection = server_start.connect(directory, lambda text: None)
    if connection is None:
        return ""
    try:
        status = connection.status()
        builds = len(status.get("builds", ()))
        if builds:
            workspace = status.get("server", {}).get("workspace", "?")
            return f"{builds} build{'' if builds == 1 else 's'} of {workspace} run{'s' if builds == 1 else ''}"
        if not dry:
            # A build that begins now is not disturbed: the server ends after it.
            connection.stop(now=False)
            _await_end(directory)
        return ""
    finally:
        connection.close()


def _server_lives(directory: bytes) -> bool:
    from spraycc.cli import server_start

    return server_start.server_lives(directory)


def _await_end(directory: bytes) -> None:
    """Wait until a server that has closed its socket has removed its files, too."""
    deadline = time.monotonic() + _END_TIMEOUT_S
    while _server_lives(directory) and time.monotonic() < deadline:
        time.sleep(0.01)


def _clean_history(report: _Report, root: bytes) -> None:
    from pathlib import Path

    from spraycc.history.store import FILE_NAME, Store

    for place in directories.places("state"):
        path = Path(place) / FILE_NAME
        if path.exists() and not report.dry:
            count = Store(path, os.path.realpath(root), lambda text: None).clear()
            click.echo(f"forgotten: {count} targets of {os.fsdecode(root)} in {path}")


def _clean_shared(report: _Report, base: bytes, elsewhere: list[leftovers.State], shims: bool) -> None:
    """Remove what all servers and builds of this user share, unless one of them may use it."""
    for state in elsewhere:
        report.keep(state.path, f"of the host {state.host}; run `spraycc clean` on that host")
    alive = sorted({state.host for state in elsewhere if leftovers.may_live(state, time.time())})
    why = "something above is in use" if report.is_used else ""
    why = why or (f"a server may run on {alive[0]}, which shares this directory" if alive else "")
    from spraycc.history.store import FILE_NAME

    for place in directories.places("state"):
        for name in (FILE_NAME, f"{FILE_NAME}-journal", f"{FILE_NAME}.damaged", "packs"):
            path = os.path.join(place, name)
            if why and os.path.lexists(path):
                report.keep(path, why)
            else:
                report.remove(path)
        _remove_empty(report, place)
    # A server may have started meanwhile. Its first build copies the programs again if it does not find them.
    started = [] if report.dry else [name for name in leftovers.servers(base) if _lives(base, name)]
    why = why or (f"{started[0]}: a server runs" if started else "")
    for place in directories.places("data"):
        for name in _PROGRAMS:
            path = os.path.join(place, name)
            user = why or _user_of(path)
            if user and os.path.lexists(path):
                report.keep(path, user)
            else:
                report.remove(path)
        path = os.path.join(place, _SHIMS)
        if shims and not why:
            report.remove(path)
        elif os.path.lexists(path):
            report.keep(path, why or "shells and build directories may name these shims; --shims removes them")
        _remove_empty(report, place)
    slots = os.path.join(os.fsdecode(base), _LAST_SLOTS)
    if runtime_dir.is_locked(os.path.join(os.fsencode(slots), b"0")):
        report.keep(slots, "a build goes on without its server", is_used=True)
    else:
        report.remove(slots)
    if not os.environ.get("SPRAYCC_RUNTIME_DIR"):  # the user may have made that directory
        _remove_empty(report, os.fsdecode(base))


def _lives(base: bytes, name: str) -> bool:
    return runtime_dir.is_locked(os.path.join(base, name.encode(), runtime_dir.LOCK))


def _remove_empty(report: _Report, path: str) -> None:
    if not report.dry:
        try:
            os.rmdir(path)
        except OSError:
            return  # it has files, or is not there


def _user_of(path: str) -> str:
    """A process that has a file below ``path`` in its memory; empty if there is none.

    Programs that a build has left running still load the library into all that they start. Without the library the
    loader would complain on the standard error of each program.
    """
    start = f"{os.path.realpath(path)}/".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for line in _maps(pid):
            if start in line and line.partition(b"/")[2].startswith(start[1:]):
                return f"process {pid} uses it"
    return ""


def _maps(pid: str) -> Iterator[bytes]:
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            yield from file
    except OSError:
        return  # it has ended, or is another user's


def size_text(size: int) -> str:
    """A size in words."""
    for unit in ("bytes", "kB"):
        if size < 1000:
            return f"{size} {unit}"
        size = round(size / 1000)
    return f"{size} MB"

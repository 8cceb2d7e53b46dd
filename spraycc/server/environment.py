"""What of a command's environment goes with it to an executor, and where it may write (pure but for ``real_path``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from spraycc.jobserver.makeflags import without_jobserver_in
from spraycc.model import Command
from spraycc.server.looks import real_path


def remote_environment(env: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The environment without what belongs to the build on the submit host: its jobserver and SprayCC's own
    variables."""
    return without_jobserver_in(tuple([entry for entry in env if not entry.startswith(b"SPRAYCC_")]))


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """Which directories an attempt's capture must hold."""

    #: absolute real paths that must be captured
    roots: tuple[bytes, ...]
    #: captured where the executor's host can
    optional_roots: tuple[bytes, ...]
    #: absolute paths of the known outputs, the named one last
    outputs: tuple[bytes, ...]


#: Captured wherever possible, as commands leave things there; never required, as a mount may lie below.
TMP = b"/tmp"


def plan_capture(
    command: Command,
    outputs: tuple[bytes, ...],
    workspace: bytes,
    home: bytes,
    realpath: Callable[[bytes], bytes] = real_path,
) -> CapturePlan | None:
    """The roots for one command: the workspace, and whatever else it works in or is known to write to.

    None where that would be a directory that can't or must not be overlaid as a whole (``/``, the home directory,
    /tmp as working directory): such a command runs on the submit host.
    """
    refused = {b"/", home, TMP, b"/var/tmp", b"/dev/shm"}
    roots = [workspace]
    cwd = realpath(command.cwd)
    if not is_below(cwd, workspace):
        roots.append(cwd)
    named = []
    # most outputs are named without a directory
    directories = {command.cwd: cwd, cwd: cwd}
    for output in outputs:
        path = os.path.join(cwd, output)
        if path.startswith(b"/dev/"):
            continue
        directory, name = os.path.split(path)
        real = directories.get(directory)
        if real is None:
            real = directories[directory] = realpath(directory)
            if not any(is_below(real, root) for root in roots) and not is_below(real, TMP):
                roots.append(real)
        named.append(os.path.join(real, name))
    if any(root in refused for root in roots):
        return None
    return CapturePlan(tuple(roots), (TMP,), tuple(named))


def is_below(path: bytes, root: bytes) -> bool:
    """True where ``path`` is ``root`` or lies in it; both absolute and normal."""
    return path == root or path.startswith(root.rstrip(b"/") + b"/")

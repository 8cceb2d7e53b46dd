"""The environment of a command on an executor, and the directories that its capture must hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from spraycc.model import Command, Description
from spraycc.server.tasks.command_files import environment_of, real_path
from spraycc.system.paths import is_inside


def remote_environment(env: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The environment without the variables of the build on the submit host: its jobserver's and SprayCC's own."""
    return environment_of(env).remote


@dataclass(frozen=True, slots=True)
class CaptureRoots:
    """The directories that an attempt's capture must hold."""

    #: absolute real paths that must be captured
    roots: tuple[bytes, ...]
    #: captured if the executor's host can
    optional_roots: tuple[bytes, ...]
    #: absolute paths of the known outputs; the output named by -o comes last. A path that ends with a slash is a
    #: directory in which the command makes files with unknown names
    outputs: tuple[bytes, ...]


#: Optional roots. Commands leave files in them, but an overlay may be impossible, because a mount may lie below.
TMP = b"/tmp"
SHARED_MEMORY = b"/dev/shm"


def capture_roots(
    command: Command,
    description: Description,
    workspace: bytes,
    home: bytes,
    realpath: Callable[[bytes], bytes] = real_path,
    is_directory: Callable[[bytes], bool] = os.path.isdir,
) -> CaptureRoots | None:
    """The roots for one command: the workspace, its working directory, and the known directories of its outputs.

    If all outputs are known, only their directories are captured. The command reads all other files through the bare
    mount. This costs an NFS server less: the client caches names, but an overlay looks up each name again.

    None: one of the roots can't or must not be overlaid as a whole (``/``, the home directory, /tmp as working
    directory). The command then runs on the submit host.
    """
    refused = {b"/", home, TMP, b"/var/tmp", SHARED_MEMORY}
    cwd = realpath(command.cwd)
    roots: list[bytes] = []
    named: list[bytes] = []
    # most outputs are named without a directory
    directories = {command.cwd: cwd, cwd: cwd}
    for output in (*(name + b"/" for name in description.directories), *description.outputs):
        path = os.path.join(cwd, output)
        if path.startswith(b"/dev/") and not is_inside(path, SHARED_MEMORY):
            continue
        directory, name = os.path.split(path)
        real = directories.get(directory)
        if real is None:
            real = directories[directory] = realpath(directory)
        named.append(os.path.join(real, name))
    written = dict.fromkeys(os.path.dirname(path) for path in named)
    if not (description.complete and all(map(is_directory, written))):
        written = {workspace: None, cwd: None, **written}
    for directory in written:
        is_optional = is_inside(directory, TMP) or is_inside(directory, SHARED_MEMORY)
        if not any(is_inside(directory, root) for root in roots) and (directory == cwd or not is_optional):
            roots.append(directory)
    if any(root in refused for root in roots):
        return None
    return CaptureRoots(tuple(roots), (TMP, SHARED_MEMORY), tuple(named))

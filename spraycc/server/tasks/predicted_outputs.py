"""The predicted capture on the submit host's side: which lines it takes, and that nothing special is in their way."""

from __future__ import annotations

import os
import stat
from functools import lru_cache

from spraycc.commands.predict import Prediction, predict
from spraycc.model import Command
from spraycc.server.tasks.command_files import Environment, read_response_file


def redirect(command: Command) -> Prediction | None:
    """The line that writes elsewhere, its outputs with their absolute real paths; None where it must run here."""

    def read_file(name: bytes) -> bytes | None:
        return read_response_file(os.path.join(command.cwd, name))

    found = predict(command.argv, _behind_links(command.program), Environment(command.env), read_file)
    if found is None:
        return None
    outputs = []
    # Where they are one file the compiler refuses, and must see it.
    source = os.path.realpath(os.path.join(command.cwd, found.source))
    for place, name in found.outputs:
        directory, base = os.path.split(os.path.join(command.cwd, name))
        real = os.path.realpath(directory)
        path = os.path.join(real, base)
        if path == source or not _is_clear(real, path):
            return None
        outputs.append((place, path))
    return Prediction(found.argv, tuple(outputs), found.source)


def _is_clear(directory: bytes, path: bytes) -> bool:
    """Whether a plain file can be made or replaced there. What can't is for the compiler itself to report."""
    if not os.access(directory, os.W_OK | os.X_OK):
        return False
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and status.st_uid == os.geteuid()
        and os.access(path, os.R_OK | os.W_OK)
    )


@lru_cache(maxsize=256)
def _behind_links(program: bytes) -> bytes:
    return os.path.realpath(program)

"""``spraycc config init``: a commented ``.spraycc.toml`` for the cluster that this host belongs to."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from typing import Any

from spraycc import config, workspace
from spraycc.cli.messages import inform
from spraycc.cli.settings_text import found_text, workspace_file
from spraycc.cluster.driver import Reply
from spraycc.cluster.registry import client_environment
from spraycc.cluster.search import MANAGERS, PROGRAMS, Manager, Queue
from spraycc.config.load import DEFAULT_ORIGIN
from spraycc.config.sources import WORKSPACE_FILE
from spraycc.errors import ConfigError
from spraycc.settings import Settings

#: A cluster manager that answers does so in less than a second; its commands try for longer if a daemon is down.
_ANSWER_TIMEOUT_S = 20.0


def init(flags: Mapping[str, Any]) -> None:
    """Search for a cluster manager, write the file, and say what was found and done.

    Raises:
        ConfigError: there is a file with contents already, or it can't be written.
        SprayccError: the directory is no workspace, or a configuration file is wrong.
    """
    root = workspace.find()
    path = os.path.join(os.fsdecode(root), WORKSPACE_FILE)
    was_empty = _is_empty(path)
    if os.path.lexists(path) and not was_empty:
        raise _exists(path)
    loaded = config.load(root, flags=flags)
    manager, queues, why = search(loaded.settings)
    origin = loaded.origins["cluster"]
    cluster = manager.cluster if manager is not None else None
    if loaded.settings.allocation is not None and origin.startswith(loaded.settings.allocation.name):
        cluster = None
        why.append(f"{origin} is used without a setting; a `cluster` here would overrule that")
    elif origin != DEFAULT_ORIGIN:
        cluster = None
        why.append(f"`cluster` is set already, to {loaded.settings.cluster!r} by {origin}")
    elif cluster is None:
        why.append("builds use the CPUs of this host (cluster local); for hosts by ssh, set `cluster` and `hosts`")
    text = workspace_file(cluster, manager, queues, why)
    try:
        # Errors: a path that is not UTF-8 may stand in a comment.
        with open(path, "a" if was_empty else "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):  # the file has a part of the text
            with contextlib.suppress(OSError):
                os.truncate(path, 0) if was_empty else os.unlink(path)
        raise ConfigError(f"{path} can't be written: {exc.strerror}; write settings into it by hand") from None
    for line in why:
        inform(line)
    if cluster is not None:
        inform(f"wrote {path}: cluster is {cluster}; `spraycc doctor --cluster` tries it")
    else:
        inform(f"wrote {path}: comments only, which change nothing; `spraycc config show` prints what is in force")


def _is_empty(path: str) -> bool:
    """True for a file without contents: such a file marks the workspace, and says nothing."""
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return stat.S_ISREG(found.st_mode) and not found.st_size
    return False


def _exists(path: str) -> ConfigError:
    return ConfigError(f"{path} exists, and is kept; `spraycc config show` prints the settings in force")


def search(settings: Settings) -> tuple[Manager | None, list[Queue], list[str]]:
    """(the first cluster manager that answers, its queues, lines for the user about all that were found)."""
    on_path = {program for program in PROGRAMS if shutil.which(program) is not None}
    why: list[str] = []
    for manager in MANAGERS:
        if not manager.is_installed(on_path):
            continue
        reply = _reply(manager.list_command, settings)
        if reply.status == 0:
            queues = manager.parse(reply.out)
            if manager.cluster == "lsf" and _is_openlava(settings):
                manager = _as_openlava(manager)
            return manager, queues, [*why, found_text(manager, queues)]
        program = manager.list_command[0]
        words = f"{program}: {reply.words.removeprefix(f'{program}: ')}"
        why.append(f"{manager.name} is installed and does not answer ({words})")
    if not why:
        why.append("no cluster manager's programs are on PATH")
    return None, [], why


def _as_openlava(manager: Manager) -> Manager:
    return dataclasses.replace(manager, cluster="openlava", name="OpenLava")


def _is_openlava(settings: Settings) -> bool:
    return shutil.which("lsid") is not None and "openlava" in _reply(("lsid",), settings).text.lower()


def _reply(command: tuple[str, ...], settings: Settings) -> Reply:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_TIMEOUT_S,
            env=client_environment(os.environ, settings.kept_variables),
        )
    except subprocess.TimeoutExpired:
        return Reply(1, stderr=b"no answer within %d s" % _ANSWER_TIMEOUT_S)
    except OSError as exc:
        return Reply(1, stderr=str(exc).encode())
    return Reply(done.returncode, done.stdout, done.stderr)

"""Messages that a user reads once in each workspace: the limit of executors, and a cluster that builds leave unused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from spraycc import runtime_dir
from spraycc.cli.messages import inform
from spraycc.notices import ending, starting
from spraycc.settings import Settings

#: File in the state directory of the workspace's server: a line for each message that the user has read.
_FILE = "told"
#: The submit commands of cluster managers.
_SUBMITS = ("sbatch", "bsub", "qsub")
#: Further messages are not shown: a user who has read this many needs no more.
_MOST_BYTES = 4096


def tell(settings: Settings, origins: Mapping[str, str], root: bytes) -> None:
    """Show the messages that this workspace's user has not read. Call it when a server runs for ``root``.

    No error: a message that can't be noted is not shown, because each build would show it.
    """
    for key, text in messages(settings, origins):
        _tell_once(key, text, root)


def tell_unused_cluster(figures: Mapping[str, Any], origins: Mapping[str, str], root: bytes, path: bytes) -> None:
    """Show once that a long build compiled on this host only, because no configuration names a cluster.

    Args:
        figures: those of the build's end.
        origins: as for :func:`messages`.
        path: the user's PATH. A submit command on it shows that this host may belong to a cluster.
    """
    from spraycc.config.load import DEFAULT_ORIGIN
    from spraycc.ui import no_executor

    if origins["cluster"] != DEFAULT_ORIGIN or not no_executor.expected_none(figures):
        return
    program = next((name for name in _SUBMITS if shutil.which(name, path=os.fsdecode(path))), None)
    if program is not None:
        _tell_once("unused", ending.CLUSTER_UNUSED.text(program=program), root)


def _tell_once(key: str, text: str, root: bytes) -> None:
    with suppress(OSError):
        if _is_first(os.path.join(runtime_dir.state_directory_of(root), _FILE), key):
            inform(text)


def messages(settings: Settings, origins: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The messages for builds with these settings, each with its key.

    On the submit host: only that a configured `executors` cuts -j. A user who has just typed both knows that.

    Args:
        settings: with the build's -j in ``jobs``.
        origins: the source of each setting, as in :class:`spraycc.config.Loaded`.
    """
    most, jobs, cluster = settings.executors_in_force, settings.jobs, settings.cluster
    where = "on this host" if cluster == "local" else f"of cluster {cluster}"
    if cluster == "local" and origins.get("executors") == "--executors":
        return
    # Without executors, the compile slots are the limit itself.
    beside = settings.compile_slots_in_force if settings.starts_executors else 0
    if settings.executors is not None and jobs is not None and jobs > most + beside:
        source = f"`executors`, from {origins['executors']}"
        if settings.executors > most:
            source = "the CPUs of the allocation"
        limit = _counted(most) if settings.starts_executors else f"{_compiles(most)} at once"
        slots = f", and {_compiles(beside)} on this host beside them" if beside else ""
        text = starting.CUT.text(jobs=jobs, limit=limit, where=where, source=source, beside=slots)
        yield f"cut {jobs} {most + beside}", text
        return
    if cluster == "local" or settings.step_slots:
        return  # each build in an allocation says so
    is_set = settings.executors is not None
    source = f"`executors`, from {origins['executors']}" if is_set else "`executors` in .spraycc.toml sets another"
    if jobs is None or jobs == most:
        source += "" if is_set else " limit"
        if jobs is not None:
            source = f"-j{jobs}{' and' if is_set else ';'} {source}"
        text = starting.MAY_USE.text(executors=_counted(most), where=where, source=source)
    else:
        usable = _counted(min(jobs, most))
        text = starting.MAY_USE_JOBS.text(executors=usable, where=where, jobs=jobs, limit=most, source=source)
    yield f"cluster {cluster}", text


def _counted(executors: int) -> str:
    return f"{executors} executor{'' if executors == 1 else 's'}"


def _compiles(count: int) -> str:
    return f"{count} compile{'' if count == 1 else 's'}"


def _is_first(path: str, key: str) -> bool:
    """True if the file lacks the key. Adds the key.

    Raises:
        OSError: the file can't be read or written.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        told = os.read(fd, _MOST_BYTES)
        if key.encode() in told.splitlines() or len(told) == _MOST_BYTES:
            return False
        os.write(fd, key.encode() + b"\n")
        return True
    finally:
        os.close(fd)

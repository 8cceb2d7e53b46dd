"""The recorded builds of the workspace, for the subcommands that show them."""

from __future__ import annotations

import gc
import os
import time
from contextlib import suppress
from typing import NamedTuple

import click

from spraycc.cli.messages import inform
from spraycc.errors import SprayccError
from spraycc.records import read
from spraycc.records.liveness import is_open
from spraycc.ui.recorded_builds import BuildRow, build_row, lost_line


def build_argument() -> click.Argument:
    """``[BUILD]``: a number or an id of ``spraycc builds``."""
    return click.Argument(["build"], required=False, default="")


def build_option() -> click.Option:
    """``--build N|ID``."""
    return click.Option(
        ["--build"],
        default="",
        metavar="N|ID",
        help="A build by its number (1 is the newest) or id in `spraycc builds`. Default: the last build with tasks.",
    )


def recorded_builds() -> tuple[str, list[read.Found]]:
    """The workspace, and the records of its builds on this host, the newest first.

    Raises:
        SprayccError: the working directory is in no workspace.
        OSError: the records can't be listed.
    """
    from spraycc import runtime_dir, workspace

    root = workspace.find()
    return os.fsdecode(root), read.found_in(runtime_dir.state_directories_of(root), time.time())


class Chosen(NamedTuple):
    """The build that the user means."""

    #: the workspace
    root: str
    #: all builds, the newest first
    records: list[read.Found]
    found: read.Found
    record: read.Record


def choose(build: str) -> Chosen | None:
    """The build that the user means; empty is the newest with tasks. None: there is none, and the user was told.

    Raises:
        SprayccError, OSError: as :func:`recorded_builds`.
    """
    root, records = recorded_builds()
    if not records:
        inform(f"no build was recorded for {root} on this host")
        return None
    # A record has millions of objects and no cycles. The collector would take a third of the time.
    gc.disable()
    try:
        found = read.find(records, build)
        record = read.read(found.path)
    except SprayccError as exc:
        inform(f"error: {exc}")
        return None
    except OSError as exc:
        inform(f"error: the record can't be read: {exc.filename}: {exc.strerror}")
        return None
    if record.is_lost:
        inform(f"error: the record of build {found.number} has no line that can be read: {found.path}")
        return None
    if not build:
        lost = [each for each in read.passed_over(records, found) if not _runs(each)]
        if lost:
            inform(f"note: {lost_line(lost, found)}")
    return Chosen(root, records, found, record)


def row_of(found: read.Found) -> BuildRow:
    """A build's row in the list. Reads the first and the last line; the whole record if it has no end."""
    header, end = read.read_header(found.path), read.read_end(found.path)
    row = build_row(found, header, end, is_open=not end and is_open(header))
    if row.tasks is not None:
        return row
    with suppress(OSError):
        tasks = read.read(found.path).tasks
        return row._replace(
            tasks=len(tasks),
            remote=sum(task.ran == "remote" for task in tasks),
            failed=sum(task.has_failed for task in tasks),
        )
    return row


def _runs(found: read.Found) -> bool:
    return not read.read_end(found.path) and is_open(read.read_header(found.path))

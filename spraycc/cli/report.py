"""``spraycc report [BUILD]``: a page with the timeline of a build, for a browser."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path

import click

#: The file without -o, in the working directory.
_DEFAULT = "report.html"


def command(name: str) -> click.Command:
    """The subcommand."""
    from spraycc.cli.recorded import build_argument

    return click.Command(
        name,
        callback=_report,
        help="Write a page that shows a build in a browser: its timeline, what its end waited for, what stands out. "
        "The page is one file that loads nothing. BUILD is a number or an id of `spraycc builds`; default: the last "
        "build with tasks.",
        short_help="Write a page with the timeline of a build.",
        params=[
            build_argument(),
            click.Option(
                ["-o", "--output"],
                default=_DEFAULT,
                show_default=True,
                metavar="FILE",
                help='An older report of that name is replaced, another file is not. "-" is standard output.',
            ),
            click.Option(["-f", "--force"], is_flag=True, help="Replace FILE, whatever it is."),
        ],
    )


def _report(build: str, output: str, force: bool) -> int:
    from spraycc.cli.messages import inform
    from spraycc.cli.recorded import choose, recorded_builds
    from spraycc.records import read
    from spraycc.ui.findings import counted
    from spraycc.ui.report import page
    from spraycc.ui.summary import size

    root, records = recorded_builds()
    found = choose(records, root, build)
    if found is None:
        return 1
    try:
        record = read.read(found.path)
        before = read.before(records, found)
        earlier = read.read(before.path) if before else None
    except OSError as exc:
        inform(f"error: the record of build {found.number} can't be read: {exc.filename}: {exc.strerror}")
        return 1
    text = page(record, earlier, root=os.path.realpath(root)).encode()
    if output == "-":
        return _to_standard_output(text)
    path = Path(output)
    try:
        _write(path, text, force=force)
    except _Foreign:
        inform(f"error: {output} exists and is no report of SprayCC. Name another file with -o, or give --force")
        return 1
    except OSError as exc:
        inform(f"error: {output}: {exc.strerror}. Name another file with -o")
        return 1
    inform(
        f"{output}: {counted(len(record.tasks), 'task')} of build {found.number}, {size(len(text))}. "
        f"Open it in a browser: {path.absolute().as_uri()}"
    )
    return 0


class _Foreign(Exception):
    """The file exists and is no report."""


def _write(path: Path, text: bytes, *, force: bool) -> None:
    """Write the file as a whole: a reader, or a full disk, never meets half a page.

    Raises:
        _Foreign: the file exists, is no report of ours, and ``force`` is not given.
        OSError: the file can't be written.
    """
    from spraycc.ui.report import is_report

    target = Path(os.path.realpath(path))  # a symbolic link stays one
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        target.write_bytes(text)  # a device or a FIFO
        return
    if stat.S_ISREG(mode) and not force:
        with open(target, "rb") as file:
            begin = file.read(4096)
        if begin and not is_report(begin):
            raise _Foreign
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory")
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    try:
        with open(beside, "xb") as file:
            file.write(text)
            if mode:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _to_standard_output(text: bytes) -> int:
    from spraycc.cli.messages import inform

    try:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    except OSError as exc:
        # Python would write the rest again at its end, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):
            inform(f"error: standard output: {exc.strerror}")
        return 1
    return 0

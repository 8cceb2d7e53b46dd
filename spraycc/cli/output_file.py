"""Writes what a subcommand makes of a build to the file that the user names with ``-o``."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from spraycc.cli.messages import inform
from spraycc.records.files import open_regular

#: Bytes of an existing file by which it is known to be ours.
_BEGIN_BYTES = 4096
#: Command lines hold passwords and tokens now and then, so only the user may read a new file.
_MODE = 0o600


def options(default: str, noun: str) -> list[click.Parameter]:
    """``-o FILE`` and ``-f``. ``noun``: a file of ours, such as "report"."""
    text = f'An older {noun} of that name is replaced, another file is not. "-" is standard output.'
    return [
        click.Option(["-o", "--output"], default=default, show_default=True, metavar="FILE", help=text),
        click.Option(["-f", "--force"], is_flag=True, help="Replace FILE, whatever it is."),
    ]


def write(output: str, chunks: Iterable[bytes], *, noun: str, is_ours: Callable[[bytes], bool], force: bool) -> bool:
    """Write to standard output, or to a file as a whole; tells the user why not.

    Args:
        output: the value of ``-o``.
        chunks: the contents.
        noun: see :func:`options`.
        is_ours: whether a file that begins with these bytes may be replaced without ``force``.
        force: the value of ``-f``.

    Returns:
        Whether the contents are there.
    """
    if output == "-":
        for chunk in chunks:
            click.echo(chunk, nl=False)
        return True
    if not output:
        raise click.UsageError('-o needs the name of a file; "-" is standard output')
    try:
        _write(Path(output), chunks, is_ours, force=force)
    except _Foreign:
        inform(f"error: {output} exists and is no {noun} of SprayCC. Name another file with -o, or give --force")
        return False
    except (OSError, ValueError) as exc:  # ValueError: a zero byte in the name
        inform(f"error: {output}: {getattr(exc, 'strerror', None) or exc}. Name another file with -o")
        return False
    return True


class _Foreign(Exception):
    """The file exists and is not ours."""


def _write(path: Path, chunks: Iterable[bytes], is_ours: Callable[[bytes], bool], *, force: bool) -> None:
    """Write the file as a whole: a reader, or a full disk, never meets half of it.

    Raises:
        _Foreign: the file exists, is not ours, and ``force`` is not given.
        OSError: the file can't be written.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        # A device or a FIFO, by the name that the user gave: that of a pipe in /proc can't be resolved.
        with open(path, "wb") as file:
            file.writelines(chunks)
        return
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    if stat.S_ISREG(mode) and not force:
        with open_regular(target) as file:
            begin = file.read(_BEGIN_BYTES)
        if begin and not is_ours(begin):
            raise _Foreign
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory")
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with open(fd, "wb") as file:
            file.writelines(chunks)
            if mode:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise

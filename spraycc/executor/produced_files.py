"""Reads the upper layers after a command has ended, and makes messages of all that the command produced.

In an overlay mounted with ``userxattr`` (Documentation/filesystems/overlayfs.rst, kernel 6.18), a character device 0:0
is a deletion. A directory with ``user.overlay.opaque`` = "y" was removed and made again. All other entries are as the
command saw them. Some kernels mark any new directory as opaque, so the mark counts only if the lower layer has a
directory too.

Order: deletions, directories (parents first), symbolic links, files, and the known outputs as the last files, in their
order, so that no object is newer than a missing depfile. Other files come in the order of their times: the server gives
them new times in the order of the messages, and make compares the outputs of one command with each other. A file with
several names is refused, because the command may have meant to change only one of them. Names and statuses are held in
memory, and of contents one piece at a time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.box import Layer
from spraycc.executor.file_attributes import is_owner_changed, lost_attribute
from spraycc.executor.file_piece import FilePiece
from spraycc.executor.prepare import Prepared, stamp
from spraycc.model import TaskId
from spraycc.system.filesystems import FileSystems
from spraycc.system.paths import shown
from spraycc.wire.executor import PIECE_BYTES, Deleted, FileHole, MadeDirectory, MadeFile, MadeSymlink
from spraycc.wire.framing import CHUNK_BYTES

#: A file's time may lie this far outside the command's life and still be "now", because the clock of file systems ticks
#: every few milliseconds.
CLOCK_SLACK_NS = 50_000_000
_SECOND_NS = 1_000_000_000

_OPAQUE = b"user.overlay.opaque"

#: This many bytes at the beginning of each reported hole are read. The rest is trusted: to read a sparse image of a
#: terabyte would stop the event loop for minutes, and data that begins with more zeros than this is rare.
_CHECKED_BYTES = 64 * 1024 * 1024
_ZEROS = bytes(CHUNK_BYTES)

#: A FilePiece is valid until the next message is asked for.
ProducedMessage = Deleted | MadeDirectory | MadeSymlink | MadeFile | FileHole | FilePiece


@dataclass(frozen=True, slots=True)
class _File:
    path: bytes
    upper: bytes
    status: os.stat_result
    mtime_ns: int | None


@dataclass(slots=True)
class _Found:
    deleted: list[Deleted] = field(default_factory=list)
    directories: list[MadeDirectory] = field(default_factory=list)
    symlinks: list[MadeSymlink] = field(default_factory=list)
    files: list[_File] = field(default_factory=list)


class _LayerReader:
    """Lists the entries of the upper layers; reads no contents."""

    def __init__(self, task: TaskId, prepared: Prepared, began_ns: int, ended_ns: int) -> None:
        self._task = task
        self._prepared = prepared
        self._earliest_ns = began_ns - CLOCK_SLACK_NS
        self._latest_ns = ended_ns + CLOCK_SLACK_NS
        self.found = _Found()

    def layer(self, layer: Layer) -> None:
        """Everything in one upper layer."""
        directories = [(layer.upper, layer.root, True)]
        self._directory(layer.upper, layer.root, os.lstat(layer.upper), is_new=False, is_root=True)
        while directories:
            upper, path, is_merged = directories.pop()
            within = os.lstat(upper)
            with os.scandir(upper) as entries:
                # Sorted, so that the file system's order has no effect on the messages.
                for entry in sorted(entries, key=lambda e: e.name):
                    below = path.rstrip(b"/") + b"/" + entry.name
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        is_merged_too = self._subdirectory(entry.path, below, status, is_merged, within)
                        directories.append((entry.path, below, is_merged_too))
                    else:
                        self._entry(entry.path, below, status, is_merged, within)

    def _explicit_mtime(self, status: os.stat_result) -> int | None:
        mtime_ns = status.st_mtime_ns
        earliest_ns = self._earliest_ns
        if mtime_ns % _SECOND_NS == 0:  # the file system of the scratch directory may keep whole seconds only
            earliest_ns -= earliest_ns % _SECOND_NS
        return None if earliest_ns <= mtime_ns <= self._latest_ns else mtime_ns

    def _subdirectory(
        self, upper: bytes, path: bytes, status: os.stat_result, is_merged: bool, within: os.stat_result
    ) -> bool:
        """Note a directory; True if the lower layer's directory shows through."""
        below = _lstat(path) if is_merged else None
        is_new = below is None or not stat.S_ISDIR(below.st_mode)
        if below is not None and is_new:
            self.found.deleted.append(Deleted(self._task, path))
        if is_new:
            _refuse_lost_attribute(upper, status, within, path)
        elif below is not None and is_owner_changed(status, below):
            raise CaptureError(CaptureRefusal.UNSUPPORTED, f"{shown(path)} has another owner or group")
        return self._directory(upper, path, status, is_new)

    def _entry(
        self, upper: bytes, path: bytes, status: os.stat_result, is_merged: bool, within: os.stat_result
    ) -> None:
        """Note an entry other than a directory."""
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFCHR and status.st_rdev == 0:
            self.found.deleted.append(Deleted(self._task, path))
            return
        if kind not in (stat.S_IFREG, stat.S_IFLNK):
            raise CaptureError(CaptureRefusal.UNSUPPORTED, f"{shown(path)} is {_kind_name(kind)}")
        below = _lstat(path) if is_merged else None
        if below is not None and stat.S_ISDIR(below.st_mode):
            self.found.deleted.append(Deleted(self._task, path))
        elif kind == stat.S_IFREG and _is_linked(status, below):
            raise CaptureError(CaptureRefusal.UNSUPPORTED, f"{shown(path)} is a file of several names")
        if self._prepared.files.get(path) == stamp(status):
            return
        _refuse_lost_attribute(upper, status, within, path)
        if kind == stat.S_IFLNK:
            mtime_ns = self._explicit_mtime(status)
            self.found.symlinks.append(MadeSymlink(self._task, path, os.readlink(upper), mtime_ns))
        else:
            self.found.files.append(_File(path, upper, status, self._explicit_mtime(status)))

    def _directory(
        self, upper: bytes, path: bytes, status: os.stat_result, is_new: bool, is_root: bool = False
    ) -> bool:
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o500 != 0o500:
            os.chmod(upper, mode | 0o700)  # the executor must read it; the layer is removed afterwards
        if is_new:
            self.found.directories.append(
                MadeDirectory(self._task, path, mode, emptied=False, mtime_ns=self._explicit_mtime(status))
            )
            return False
        emptied = _is_opaque(upper)
        known = os.lstat(path)
        known_mode = self._prepared.directories.get(path)
        if known_mode is None:
            known_mode = stat.S_IMODE(known.st_mode)
        # A change inside a directory changes its time by itself.
        mtime_ns = self._explicit_mtime(status)
        known_ns = self._prepared.directory_times.get(path, known.st_mtime_ns)
        touched = status.st_mtime_ns != known_ns and (mtime_ns is not None or not os.listdir(upper))
        if is_root:
            if emptied or mode != known_mode:
                reason = f"{shown(path)} was changed, and the server makes changes inside of it only"
                raise CaptureError(CaptureRefusal.UNSUPPORTED, reason)
        elif emptied or mode != known_mode or touched:
            self.found.directories.append(MadeDirectory(self._task, path, mode, emptied, mtime_ns))
        return not emptied


def produced_messages(
    task: TaskId,
    layers: Sequence[Layer],
    prepared: Prepared,
    outputs: Sequence[bytes],
    began_ns: int,
    ended_ns: int,
) -> Iterator[ProducedMessage]:
    """Messages for all that the command produced.

    Args:
        task: goes into the messages.
        layers: none inside another; no process runs in them any more.
        prepared: the entries that the executor made before the start.
        outputs: the files that come last, in this order.
        began_ns: wall clock before the start.
        ended_ns: wall clock after the end. Times of files between the two are the command's "now".

    Raises:
        CaptureError: (UNSUPPORTED) a socket, fifo or device; an entry whose owner or attributes would be lost; a
            layer's own directory with another mode.
        OSError: the layer can't be read.
    """
    reader = _LayerReader(task, prepared, began_ns, ended_ns)
    for layer in layers:
        reader.layer(layer)
    found = reader.found
    yield from found.deleted
    yield from found.directories
    yield from found.symlinks
    rank = {path: number for number, path in enumerate(outputs, start=1)}
    for file in sorted(found.files, key=lambda f: (rank.get(f.path, 0), f.status.st_mtime_ns)):
        yield from file_messages(task, file.path, file.upper, file.status, file.mtime_ns)


def file_messages(
    task: TaskId, path: bytes, where: bytes, status: os.stat_result, mtime_ns: int | None
) -> Iterator[ProducedMessage]:
    """Messages for the file at ``where``, as the produced file ``path``."""
    mode = stat.S_IMODE(status.st_mode)
    if not mode & 0o400:
        os.chmod(where, mode | 0o400)
    with open(where, "rb", buffering=0) as source:
        left = status.st_size
        small = _read(source.fileno(), left) if left <= CHUNK_BYTES else b""
        yield MadeFile(task, path, mode, left, mtime_ns, small)
        if small:
            return
        at = 0
        is_sparse = status.st_blocks * 512 < left
        for is_data, size in _extents(source.fileno(), left, where) if is_sparse else [(True, left)]:
            end = at + size
            if not is_data:
                yield FileHole(task, size)
            else:
                for begin in range(at, end, PIECE_BYTES):
                    yield FilePiece(task, source.fileno(), begin, min(PIECE_BYTES, end - begin))
            at = end


def _extents(descriptor: int, size: int, where: bytes) -> Iterator[tuple[bool, int]]:
    """The parts of the file at ``where``: (True for data and False for a hole, size).

    A generator, so that other coroutines run between the readings of two holes.

    OpenZFS before 2.1.14 and 2.2.2 could report data that was just written as a hole
    (https://github.com/openzfs/zfs/issues/15526). So on ZFS and unknown file systems a reported hole counts only if it
    reads as zeros.
    """
    has_true_holes = FileSystems().has_true_holes(os.path.dirname(where))
    at = 0
    while at < size:
        try:
            data = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:  # no more data
                raise
            data = size
        hole = os.lseek(descriptor, data, os.SEEK_HOLE) if data < size else size
        if data > at:
            yield not (has_true_holes or _begins_with_zeros(descriptor, at, data - at)), data - at
        if hole > data:
            yield True, hole - data
        at = hole


def _begins_with_zeros(descriptor: int, begin: int, size: int) -> bool:
    end = begin + min(size, _CHECKED_BYTES)
    while begin < end:
        data = os.pread(descriptor, min(len(_ZEROS), end - begin), begin)
        if not data:
            raise OSError(f"a produced file is {end - begin} bytes shorter than it was")
        if not _ZEROS.startswith(data):
            return False
        begin += len(data)
    return True


def _read(descriptor: int, size: int) -> bytes:
    """Exactly ``size`` bytes."""
    data = b""
    while len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            raise OSError(f"a produced file is {size - len(data)} bytes shorter than it was")
        data += more
    return data


def _refuse_lost_attribute(upper: bytes, status: os.stat_result, within: os.stat_result, path: bytes) -> None:
    """Raise CaptureError if the write-back would lose an owner or attribute."""
    why = lost_attribute(upper, status, within, path)
    if why:
        raise CaptureError(CaptureRefusal.UNSUPPORTED, f"{shown(path)} {why}")


def _lstat(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _is_linked(status: os.stat_result, below: os.stat_result | None) -> bool:
    """True if the file has other names, or has other names on the submit host and was changed in place."""
    return status.st_nlink > 1 or (below is not None and below.st_nlink > 1 and stat.S_ISREG(below.st_mode))


def _is_opaque(upper: bytes) -> bool:
    try:
        return os.getxattr(upper, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False  # ENODATA, as a rule


def _kind_name(kind: int) -> str:
    return {
        stat.S_IFSOCK: "a socket",
        stat.S_IFIFO: "a fifo",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }.get(kind, "of an unknown kind")

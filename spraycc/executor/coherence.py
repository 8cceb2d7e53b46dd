"""File coherence on the executor: stamps told by the server, the fence before a command, the proof after it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

from spraycc.executor.box import BoxOrder
from spraycc.executor.fence import Fence
from spraycc.executor.own_disk import OwnDisk, is_in
from spraycc.executor.proof import ToldStamp, directory_of, prove
from spraycc.executor.recorder import RecordFile, environment
from spraycc.stamps import (
    FILE,
    LINK,
    NAMES,
    PERMISSIONS,
    Lookup,
    Stamp,
    is_regular,
)
from spraycc.system.file_cache import cached
from spraycc.system.file_contents import FileContents
from spraycc.system.filesystems import FileSystems
from spraycc.system.paths import is_inside
from spraycc.system.preload import can_preload
from spraycc.system.threads import run_in_thread
from spraycc.wire.executor import Reads, StartTask

_log = logging.getLogger(__name__)

#: Directories on hosts' own disks in which users put inputs. A command must not read a file in them that only the
#: executor's host has. (Files that the command itself makes do not count as read.)
_USERS = (b"/tmp", b"/var/tmp", b"/dev/shm", b"/home", b"/root")
#: Files of Java's shared counters. Each host has its own, and Java does not depend on them.
_OF_EACH_HOST = re.compile(rb"/tmp/(hsperfdata_|\.java_pid|\.attach_pid)")
#: The executor sends no longer list of lookups. The record then counts as incomplete.
_MOST_BYTES = 8 * 1024 * 1024
#: The executor keeps the real paths of this many directories at most.
_MOST_DIRECTORIES = 10_000
#: The kinds of lookups that a fence can refresh.
_FENCED = (FILE, NAMES, LINK)


class Coherence:
    """An executor has one. A task goes through :meth:`fence`, :meth:`recorded`, its run, and :meth:`reads`."""

    def __init__(
        self,
        workspace: bytes,
        library: bytes | None,
        scratch: bytes | None,
        fence: Fence | None = None,
        look: Callable[[Lookup], Stamp] = cached,
        file_systems: FileSystems | None = None,
    ) -> None:
        """
        Args:
            workspace: files in the workspace always count, whatever its file system.
            library: the recorder, or None if it is not installed or does not work on this host.
            scratch: the executor's scratch directory, or None.
        """
        self._workspace = workspace
        self._library = library
        self._scratch = scratch
        self._fence = fence or Fence()
        self._look = look
        self._file_systems = file_systems or FileSystems()
        self._contents = FileContents()
        self._real_directories: dict[bytes, bytes] = {}
        self._told: dict[Lookup, ToldStamp] = {}
        self._by_number: dict[int, Lookup] = {}
        self._record: RecordFile | None = None
        self._is_recording = False

    async def fence(self, start: StartTask) -> None:
        """Take the stamps that came with a task, and bring this host's file cache to them.

        Stamps of files on this host's own disks are not compared: hosts may have a tool or a library each.

        Raises:
            CaptureError: (STALE) this host still sees another state. Server and executor then forget the stamps.
        """
        stamps = []
        for number, lookup, stamp in start.stamps:
            if (old := self._by_number.pop(number, None)) is not None:
                self._told.pop(old, None)
            if not stamp:
                continue
            self._by_number[number] = lookup
            self._told[lookup] = ToldStamp(number, stamp)
            if lookup[:1] in _FENCED and self._concerns(directory_of(lookup)):
                stamps.append((lookup, stamp))
        try:
            await self._fence.pass_with(stamps)
            if self._refreshes(start):
                await self._fence.refresh_all(start.refresh)
        except BaseException:
            for number, lookup, _ in start.stamps:
                self._told.pop(lookup, None)
                self._by_number.pop(number, None)
            raise

    def recorded(self, start: StartTask, order: BoxOrder) -> BoxOrder:
        """The order with the recorder in it, if the server wants a proof and the program can be recorded."""
        self._is_recording = False
        if not self._can_record(start):
            return order
        assert self._scratch is not None
        assert self._library is not None
        try:
            if self._record is None:
                self._record = make_record(self._scratch)
            else:
                self._record.reset()
        except OSError as exc:
            _log.warning("the command can't be recorded: %s", exc)
            return order
        self._is_recording = True
        writable = order.writable if order.in_place else (*order.writable, os.path.dirname(self._record.path))
        return replace(order, env=environment(order.env, self._library, self._record.path), writable=writable)

    async def reads(self, start: StartTask, copied: Mapping[bytes, Stamp], failed: bool) -> Reads | None:
        """The files that the ended command read, for the server. None if the server does not ask.

        Args:
            copied: outputs of which the command saw a copy, with the stamps of the originals.
            failed: the command's status was not 0.
        """
        if not start.prove:
            return None
        # Some file systems keep each cached name for a fixed time, so a refresh may not reach the file server.
        refreshed = self._refreshes(start) and self._file_systems.names_follow_directory(self._workspace)
        if not self._is_recording or self._record is None:
            return Reads(start.task, False, refreshed)
        reads = self._record.read()
        # An assembler examines the old object before it makes the new one, which does not depend on the old one. But
        # if the command appends to an output (-MJ of Clang 15), the old contents are an input.
        # The recorder belongs to the executor, and may be in a directory of this host alone.
        ignored = frozenset((*start.outputs, self._library)) - reads.kept
        scratch = self._scratch or b"/dev"
        products = _ProductsByRealPath()
        lookups = [
            (lookup, stamp) for lookup, stamp, is_write in reads.entries
            if not (
                products.take(lookup[1:], is_write) or is_inside(lookup[1:], scratch)
                or (lookup[1:] in ignored and lookup[:1] not in PERMISSIONS)
                or _OF_EACH_HOST.match(lookup[1:])
            )
        ]  # fmt: skip
        if copied:
            lookups = [
                (lookup, copied.get(lookup[1:], stamp) if is_regular(stamp) else stamp) for lookup, stamp in lookups
            ]
        own = OwnDisk(self._contents, self._real, reads.opened, failed=failed, compiles=bool(start.same))
        concerns = cache(self._concerns)
        if unread := own.unread(lookups, concerns):
            await run_in_thread(own.read, unread)
        proof = prove(
            lookups,
            self._told,
            concerns,
            own.compared,
            self._file_systems.names_follow_directory,
            self._look,
        )
        if sum(len(lookup) + len(stamp) for lookup, stamp in proof.others) > _MOST_BYTES:
            return Reads(start.task, False, refreshed)
        return Reads(start.task, reads.complete, refreshed, proof.matched, proof.others)

    def _refreshes(self, start: StartTask) -> bool:
        """True if directories are refreshed before this command, because the record of its reads will be incomplete."""
        return start.incomplete or (bool(start.refresh) and not self._can_record(start))

    def _can_record(self, start: StartTask) -> bool:
        return start.prove and None not in (self._library, self._scratch) and can_preload(start.program, start.env)

    def _concerns(self, directory: bytes) -> bool:
        """True if files in this directory must be the submit host's."""
        if is_inside(directory, self._workspace) or is_in(self._real(directory), _USERS):
            return True
        return self._file_systems.is_shared(directory)

    def _real(self, directory: bytes) -> bytes:
        """The directory without links and dots. The answer may be old: it is kept."""
        if len(self._real_directories) >= _MOST_DIRECTORIES:
            self._real_directories.clear()
        real = self._real_directories.get(directory)
        if real is None:
            real = self._real_directories[directory] = os.path.realpath(directory)
        return real


class _ProductsByRealPath:
    """The files that a command has made by now, under whatever path it names them."""

    def __init__(self) -> None:
        self._names: set[bytes] = set()
        self._files: set[tuple[bytes, bytes]] = set()
        self._real: dict[bytes, bytes] = {}

    def take(self, path: bytes, is_write: bool) -> bool:
        """The command has written or read this file. Returns whether the file is its product."""
        directory, name = os.path.split(path)
        if is_write:
            self._names.add(name)
            self._files.add((self._real_of(directory), name))
            return True
        return name in self._names and (self._real_of(directory), name) in self._files

    def _real_of(self, directory: bytes) -> bytes:
        real = self._real.get(directory)
        if real is None:
            real = self._real[directory] = os.path.realpath(directory)
        return real


def make_record(scratch: bytes) -> RecordFile:
    """A file for the recorder, in its own directory, to which commands may write.

    Raises:
        OSError: the scratch disk is full, or can't be written.
    """
    directory = os.path.join(scratch, b"record")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    return RecordFile(os.path.join(directory, b"reads"))

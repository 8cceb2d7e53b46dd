"""Write-back: collects the changes of one attempt, then makes all of them visible.

A :class:`Staging` collects an attempt's files while they arrive. Small files stay in memory. Large files go to unnamed
files (O_TMPFILE) on the file system of their final place, so a killed server leaves no file behind. NFS and some other
file systems have no unnamed files: there the files get temporary names, and the next server removes the left-overs
(server/host/temp_names.py).

``commit`` makes the changes visible in the order in which the executor sent them: directories, links, files. The file
named by -o comes last, so that no object is newer than a missing dependency file. One link or rename makes each file
appear whole, under its name. Deletions follow: if a change fails before them, the command runs again, and finds the
files that it removes or renames. A deletion that makes room for another change comes first.

Trust: an executor belongs to the user, but its paths are still checked. A path must be normal and lie in the roots of
the attempt. No directory on the way may be a symbolic link: an overlay's upper layer has no such path. The server never
makes a file with a setuid or setgid bit for an executor: the command runs on the submit host and sets the bit itself.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from spraycc.errors import ProtocolError, WriteBackError
from spraycc.server.host.temp_names import Temporaries
from spraycc.server.writeback.new_files import create, link_unnamed
from spraycc.server.writeback.removal import Remover
from spraycc.server.writeback.rights import check_rights, kept_directory, made_paths
from spraycc.system.paths import is_inside
from spraycc.system.threads import exact_modes
from spraycc.wire.executor import Deleted, FileHole, MadeDirectory, MadeFile, MadeSymlink

#: A message that reports a changed file, or a hole in its contents.
Change = Deleted | MadeDirectory | MadeSymlink | MadeFile | FileHole

#: With more contents of one attempt in memory, the contents should go to disk.
MEMORY_BYTES = 256 * 1024
#: The most files that one attempt holds open. Further files get a temporary name, and are closed when they are whole.
_OPEN_FILES = 16


@dataclass(slots=True)
class _File:
    made: MadeFile
    #: contents that are still in memory; a number is the size of a hole in bytes
    pieces: list[bytes | int]
    received_bytes: int = 0
    #: open file with the contents that were spilled; -1 before, and for a named file that was closed
    fd: int = -1
    #: name of the file with the contents; empty if it is unnamed, or not made yet
    temporary: bytes = b""
    #: permission bits of this file
    mode: int = 0

    @property
    def is_spilled(self) -> bool:
        """True if contents are in a file, and not only in memory."""
        return self.fd >= 0 or bool(self.temporary)


class Staging:
    """The changes of one attempt. Not thread-safe: a call may run in another thread if no other call does."""

    def __init__(
        self,
        roots: tuple[bytes, ...],
        token: bytes,
        temporaries: Temporaries,
        since_ns: int | None = None,
        is_shared: Callable[[bytes], bool] = lambda directory: False,
        *,
        is_repeatable: bool = False,
    ) -> None:
        """
        Args:
            roots: directories in which the attempt may make files.
            token: part of the names of temporary files: digits and dashes, unique among the attempts of this server.
            temporaries: makes the names of temporary files.
            since_ns, is_shared: which files of parallel tasks are not removed, as :class:`Remover` takes them.
            is_repeatable: the command gives the same files after a part of them was written, as a compile does. Then
                only a removal needs checks before the first change. They cost requests to an NFS server.
        """
        self._remover = Remover(since_ns, is_shared)
        self._is_repeatable = is_repeatable
        self._roots = roots
        self._token = token
        self._temporaries = temporaries
        self._changes: list[Deleted | MadeDirectory | MadeSymlink | _File] = []
        self._current: _File | None = None
        #: size of the contents that are not on disk yet
        self.memory_bytes = 0
        self._open = 0
        #: paths of deletions, and of directories that are emptied
        self.removed: set[bytes] = set()
        #: paths of directories that are made or get another mode
        self._directories: set[bytes] = set()
        #: The directory of the last change, kept open: changes reach this directory even if its path is replaced.
        self._directory = b""
        self._directory_fd = -1
        #: Directories with their final modes. Modes and times are set after all changes in the directories.
        self._finishing: list[tuple[MadeDirectory, int]] = []
        self.bytes_received = 0

    @property
    def changes(self) -> int:
        """The number of files, directories, links and deletions."""
        return len(self._changes)

    @property
    def wants_spill(self) -> bool:
        """True if :meth:`spill` should be called."""
        return self.memory_bytes > MEMORY_BYTES

    def emptied_blindly(self) -> bytes | None:
        """A directory that the command has emptied, if files of parallel tasks in it would be removed as well."""
        for change in self._changes:
            if isinstance(change, MadeDirectory) and change.emptied and not self._remover.knows_times(change.path):
                return change.path
        return None

    def take(self, message: Change) -> None:
        """Note a change, or a hole in the last file.

        Raises:
            ProtocolError: a path out of bounds, or contents of another size than announced.
            WriteBackError: a setuid or setgid file, or the disk is full.
        """
        if isinstance(message, FileHole):
            self._add_hole(self._current_file(), message.size_bytes)
            return
        self._finish_current()
        self._check_path(message.path)
        if isinstance(message, MadeFile):
            if message.mode & (stat.S_ISUID | stat.S_ISGID):
                reason = OSError(errno.EPERM, "setuid or setgid: only its command may make it")
                raise WriteBackError(message.path, reason)
            file = _File(message, [])
            self._changes.append(file)
            self._current = file
            if message.data:
                self._add(file, message.data)
        else:
            self._changes.append(message)
            if isinstance(message, MadeDirectory):
                self._directories.add(message.path)
            if isinstance(message, Deleted) or (isinstance(message, MadeDirectory) and message.emptied):
                self.removed.add(message.path)

    def expect(self, size_bytes: int) -> None:
        """Note that so much of the last file's contents comes next, by :meth:`write`.

        Raises:
            ProtocolError: there is no file, or the file would get larger than announced.
        """
        self._count(self._current_file(), size_bytes)

    def write(self, contents: bytes | bytearray | memoryview) -> None:
        """Write contents of the last file to its unnamed file. May wait for the disk.

        Raises:
            ProtocolError: a directory on the way to the file is a symbolic link.
            WriteBackError: the disk is full, or the directory can't be written.
        """
        file = self._current_file()
        if file.fd < 0 or file.pieces:
            self._spill(file)
        try:
            view = memoryview(contents)
            self.bytes_received += len(view)
            while view:
                view = view[os.write(file.fd, view) :]
        except OSError as exc:
            raise WriteBackError(file.made.path, exc) from exc

    def spill(self) -> None:
        """Write the contents in memory to unnamed files. May wait for the disk.

        Raises:
            WriteBackError: the disk is full, or the directory can't be written.
        """
        for change in self._changes:
            if isinstance(change, _File) and change.pieces:
                self._spill(change)

    def commit(self) -> None:
        """Make everything visible.

        A file's new contents are on the disk before its old contents are replaced. If the command is not repeatable, or
        removes something, all contents are on the disk before the first change, and all directories can be changed. So
        after a full disk the command can run again: it finds the files that it has removed, renamed or changed.

        Raises:
            ProtocolError: the last file is incomplete.
            WriteBackError: a change could not be made. Later changes were not tried.
        """
        try:
            self._finish_current()
            making_room = made_paths(self._messages()) if self.removed else set()
            if self.removed or not self._is_repeatable:
                self._prepare(making_room)
            last: list[Deleted] = []
            for change in self._changes:
                if isinstance(change, Deleted) and change.path not in making_room:
                    last.append(change)
                else:
                    self._apply(change)
            for change in last:
                self._apply(change)
            if last:
                self._renew_times()
            for made, mode in reversed(self._finishing):
                try:
                    self._finish_directory(made, mode)
                except OSError as exc:
                    raise WriteBackError(made.path, exc) from exc
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget everything that is not visible yet."""
        for change in self._changes:
            if isinstance(change, _File):
                self._forget(change)
        self._changes.clear()
        self._current = None
        self._leave_directory()

    # -- collecting

    def _current_file(self) -> _File:
        if self._current is None:
            raise ProtocolError("file contents without a file")
        return self._current

    def _add_hole(self, file: _File, size: int) -> None:
        if size <= 0:
            raise ProtocolError(f"a hole of {size} bytes")
        self._count(file, size)
        file.pieces.append(size)

    def _count(self, file: _File, size: int) -> None:
        file.received_bytes += size
        if file.received_bytes > file.made.size_bytes:
            raise ProtocolError(f"more than the announced {file.made.size_bytes} bytes of {file.made.path!r}")

    def _add(self, file: _File, data: bytes) -> None:
        self._count(file, len(data))
        file.pieces.append(data)
        self.memory_bytes += len(data)
        self.bytes_received += len(data)

    def _finish_current(self) -> None:
        file = self._current
        if file is not None and file.received_bytes != file.made.size_bytes:
            raise ProtocolError(f"{file.received_bytes} of {file.made.size_bytes} bytes of {file.made.path!r}")
        self._current = None
        if file is not None and self._open > _OPEN_FILES:
            self._close_named(file)

    def _close_named(self, file: _File) -> None:
        """Close a file that is whole, if it has a name. On NFS the close says whether its contents are on the disk."""
        if file.temporary and file.fd >= 0:
            try:
                self._close(file)
            except OSError as exc:
                raise WriteBackError(file.made.path, exc) from exc

    def _close(self, file: _File) -> None:
        # The kernel has released the descriptor, whatever close(2) says, and another thread may have the number now.
        fd, file.fd = file.fd, -1
        self._open -= 1
        os.close(fd)

    def _check_path(self, path: bytes) -> None:
        if (
            b"\0" in path
            or not path.startswith(b"/")
            or os.path.normpath(path) != path
            or path in self._roots
            or not any(is_inside(path, root) for root in self._roots)
        ):
            raise ProtocolError(f"path {path!r} is not inside what was captured")

    # -- disk

    def _spill(self, file: _File) -> None:
        """Write the contents that the file has in memory."""
        try:
            if file.fd < 0:
                self._open_temporary(file)
            for piece in file.pieces:
                if isinstance(piece, int):
                    os.ftruncate(file.fd, os.lseek(file.fd, piece, os.SEEK_CUR))
                    continue
                view = memoryview(piece)
                while view:
                    view = view[os.write(file.fd, view) :]
        except OSError as exc:
            raise WriteBackError(file.made.path, exc) from exc
        self.memory_bytes -= sum(len(piece) for piece in file.pieces if not isinstance(piece, int))
        file.pieces.clear()
        if file is not self._current and self._open > _OPEN_FILES:
            self._close_named(file)

    def _open_temporary(self, file: _File) -> None:
        # The final mode, because each chmod is a SETATTR on NFS.
        mode = (file.made.mode & 0o777) | 0o600
        directory = kept_directory(os.path.dirname(file.made.path), self.removed, self._directories)
        while True:
            try:
                within = self._enter(directory)
                break
            except (FileNotFoundError, NotADirectoryError):  # a later change makes it
                directory = os.path.dirname(directory)
        if self._open < _OPEN_FILES:
            try:
                with exact_modes():
                    file.fd = os.open(b".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=within)
            except OSError as exc:
                # File systems and old kernels without O_TMPFILE answer with one of these.
                if exc.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                    raise
        if file.fd < 0:
            file.temporary = self._temporary_name(directory)
            with exact_modes():
                file.fd = create(file.temporary, mode)
        self._open += 1
        file.mode = stat.S_IMODE(os.fstat(file.fd).st_mode)

    def _temporary_name(self, directory: bytes) -> bytes:
        return self._temporaries.name(directory, self._token)

    def _prepare(self, making_room: set[bytes]) -> None:
        """Write all contents, and check that all changes are allowed, before the first change."""
        for change in self._changes:
            if isinstance(change, _File):
                if change.pieces or not change.is_spilled:
                    self._spill(change)
                self._close_named(change)
        check_rights(self._messages(), making_room)

    def _messages(self) -> list[Deleted | MadeDirectory | MadeSymlink | MadeFile]:
        return [change.made if isinstance(change, _File) else change for change in self._changes]

    def _apply(self, change: Deleted | MadeDirectory | MadeSymlink | _File) -> None:
        try:
            self._make_visible(change)
        except OSError as exc:
            path = change.made.path if isinstance(change, _File) else change.path
            raise WriteBackError(path, exc) from exc

    def _renew_times(self) -> None:
        """Give the files the present time again, in their order.

        The deletions have changed their directories. To make, a file must not be older than a directory in which its
        command has removed something before.
        """
        for change in self._changes:
            if isinstance(change, _File) and change.made.mtime_ns is None:
                directory, name = os.path.split(change.made.path)
                with suppress(OSError, ProtocolError):  # a parallel task has replaced or removed something
                    os.utime(name, dir_fd=self._enter(directory), follow_symlinks=False)

    def _make_visible(self, change: Deleted | MadeDirectory | MadeSymlink | _File) -> None:
        if isinstance(change, _File):
            self._put_file(change)
            return
        self._enter(os.path.dirname(change.path))
        # Forget the open directory: the change may replace it by a link.
        self._leave_directory()
        if isinstance(change, Deleted):
            self._remover.remove(change.path)
        elif isinstance(change, MadeSymlink):
            temporary = self._temporary_name(os.path.dirname(change.path))
            os.symlink(change.target, temporary)
            if change.mtime_ns is not None:
                os.utime(temporary, ns=(change.mtime_ns, change.mtime_ns), follow_symlinks=False)
            self._move(temporary, change.path)
        else:
            self._put_directory(change)

    def _put_directory(self, made: MadeDirectory) -> None:
        mode = made.mode & 0o7777
        with suppress(FileNotFoundError):
            if made.emptied or not stat.S_ISDIR(os.lstat(made.path).st_mode):
                self._remover.remove(made.path)
        is_new = True
        try:
            os.mkdir(made.path, 0o700)
        except FileExistsError:
            is_new = False
        # In a setgid directory the kernel makes setgid directories. Keep the bit: the capture's parent may lack it.
        here = os.lstat(made.path).st_mode
        wanted = mode | (here & stat.S_ISGID)
        if stat.S_IMODE(here) != wanted | 0o700:
            os.chmod(made.path, wanted | 0o700)
        if wanted & 0o700 != 0o700 or made.mtime_ns is not None or not is_new:
            self._finishing.append((made, wanted))

    def _finish_directory(self, made: MadeDirectory, mode: int) -> None:
        # A later change may have replaced the directory by a link.
        self._leave_directory()
        self._enter(os.path.dirname(made.path))
        try:
            fd = os.open(made.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if mode & 0o700 != 0o700:
                os.fchmod(fd, mode)
            if made.mtime_ns is None:
                os.utime(fd)
            else:
                os.utime(fd, ns=(made.mtime_ns, made.mtime_ns))
        finally:
            os.close(fd)

    def _put_file(self, file: _File) -> None:
        path = file.made.path
        late = file.is_spilled  # earlier, so its time must be set: a file's time is when it appears
        if file.pieces or not late:
            self._spill(file)
        if file.fd < 0:
            file.fd = os.open(file.temporary, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._open += 1
        directory, name = os.path.split(path)
        within = self._enter(directory)
        if file.mode != file.made.mode & 0o1777:
            os.fchmod(file.fd, file.made.mode & 0o1777)
        mtime_ns = file.made.mtime_ns
        if mtime_ns is not None:
            os.utime(file.fd, ns=(mtime_ns, mtime_ns))
        elif late:
            os.utime(file.fd)
        if not file.temporary:
            # A link can't replace a file: if the name is taken, link under a temporary name, and rename.
            try:
                link_unnamed(file.fd, name, within)
                self._close(file)
                return
            except FileExistsError:
                temporary = self._temporary_name(directory)
                link_unnamed(file.fd, os.path.basename(temporary), within)
                file.temporary = temporary
        self._close(file)  # an error comes before the old file is lost
        self._move(file.temporary, path)
        file.temporary = b""

    def _move(self, temporary: bytes, path: bytes) -> None:
        if self.removed:
            self._remover.will_replace(path)
        try:
            try:
                os.rename(temporary, path)
            except (IsADirectoryError, NotADirectoryError):
                self._remover.remove(path)
                os.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _enter(self, directory: bytes) -> int:
        """A descriptor of the directory, valid until the next call. Refuses a path through a symbolic link."""
        if directory != self._directory:
            self._leave_directory()
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            if os.readlink(b"/proc/self/fd/%d" % fd) != directory:
                os.close(fd)
                raise ProtocolError(f"directory {directory!r} is reached through a symbolic link")
            self._directory, self._directory_fd = directory, fd
        return self._directory_fd

    def _leave_directory(self) -> None:
        if self._directory_fd >= 0:
            os.close(self._directory_fd)
            self._directory, self._directory_fd = b"", -1

    def _forget(self, file: _File) -> None:
        if file.fd >= 0:
            with suppress(OSError):
                self._close(file)
        if file.temporary:
            with suppress(OSError):
                os.unlink(file.temporary)
            file.temporary = b""
        file.pieces.clear()

"""Fills the upper layers before the command starts.

In a user namespace only our own user and our primary group exist. The overlay can't copy up a directory or file of
another group (EOVERFLOW). Inside a setgid directory of another group (a project's tree, usual on clusters), even a new
file would belong to that group. So this module makes the chains of directories down to the known outputs outside the
namespace. These directories belong to us and have the same permissions; the overlay merges them and does not copy them.
This module also copies outputs of an earlier build that belong to another group. Entries that are unchanged afterwards
are no outputs.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from spraycc import stamps
from spraycc.executor.box import Layer
from spraycc.system.paths import is_inside

#: Identifies an unchanged file: inode, size, modification and change time (both ns).
Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Identity:
    """The user whose permissions count."""

    uid: int
    gid: int
    groups: frozenset[int]

    @classmethod
    def own(cls) -> Identity:
        """This process's identity: effective user and group, and all groups."""
        return cls(os.geteuid(), os.getegid(), frozenset((os.getegid(), *os.getgroups())))

    def is_mapped(self, status: os.stat_result) -> bool:
        """True if the owner and group of a file exist inside the namespace."""
        return self.uid == 0 or (status.st_uid == self.uid and status.st_gid == self.gid)

    def mode_as_owner(self, status: os.stat_result) -> int:
        """Permission bits that give us, as owner, our rights on the original (without access control lists)."""
        mode = stat.S_IMODE(status.st_mode)
        if self.uid in (0, status.st_uid):
            return mode
        ours = mode >> 3 if status.st_gid in self.groups else mode
        return (mode & ~0o700) | (ours & 0o7) << 6


@dataclass(slots=True)
class Prepared:
    """The prepared entries, with their paths for the command."""

    #: directory -> permission bits
    directories: dict[bytes, int] = field(default_factory=dict)
    #: directory -> the modification time (ns) that it got; the original's time may be newer by now
    directory_times: dict[bytes, int] = field(default_factory=dict)
    files: dict[bytes, Stamp] = field(default_factory=dict)
    #: a copied file -> the original's stamp, as the server compares it
    originals: dict[bytes, stamps.Stamp] = field(default_factory=dict)


def stamp(status: os.stat_result) -> Stamp:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def prepare_layers(
    layers: Iterable[Layer], directories: Iterable[bytes], outputs: Iterable[bytes], identity: Identity
) -> Prepared:
    """Fill the empty upper layers.

    Args:
        layers: none inside another.
        directories: to which the command writes, without symbolic links. Missing directories are left out.
        outputs: files that the command writes.
        identity: this process's identity.

    Raises:
        OSError: a root can't be examined, or the scratch disk is full.
    """
    prepared = Prepared()
    layers = tuple(layers)
    made: list[tuple[bytes, int, int]] = []
    for layer in layers:
        status = os.stat(layer.root)
        if identity.uid == 0:
            _give(layer.upper, status)
        mode = _mode(layer.root, status, identity)
        prepared.directories[layer.root] = mode
        prepared.directory_times[layer.root] = status.st_mtime_ns
        made.append((layer.upper, mode, status.st_mtime_ns))
    if identity.uid != 0:  # root has no user namespace, so the kernel's own copies have the right owners
        for directory in dict.fromkeys(directories):
            layer_of = _layer_of(directory, layers)
            if layer_of is not None:
                made += _make_chain(layer_of, directory, identity, prepared)
        for path in outputs:
            if os.path.dirname(path) in prepared.directories:
                layer_of = _layer_of(path, layers)
                assert layer_of is not None
                _copy_foreign(layer_of, path, identity, prepared)
    for upper, mode, mtime_ns in reversed(made):  # at the end, because a mode may lock us out of a directory
        os.utime(upper, ns=(mtime_ns, mtime_ns))
        os.chmod(upper, mode)
    return prepared


def _stamp_of(status: os.stat_result) -> stamps.Stamp:
    return stamps.of_status(
        stamps.FILE, status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def _layer_of(path: bytes, layers: tuple[Layer, ...]) -> Layer | None:
    return next((layer for layer in layers if is_inside(path, layer.root)), None)


def upper_path(layer: Layer, path: bytes) -> bytes:
    """The place in the upper layer of ``path``, which is inside the layer's root."""
    return layer.upper + path[len(layer.root.rstrip(b"/")) :]


def _give(path: bytes, like: os.stat_result) -> None:
    try:
        os.chown(path, like.st_uid, like.st_gid)
    except OSError as exc:
        # The owner has no number in this user namespace. Then the command may write to this copy of the directory,
        # though not to the directory: the server can't write there either, and runs the command itself.
        if exc.errno != errno.EINVAL:
            raise


def _mode(path: bytes, status: os.stat_result, identity: Identity) -> int:
    mode = identity.mode_as_owner(status)
    if identity.uid not in (0, status.st_uid):
        # An access control list may allow more than the bits. (os.access never reports less on a read-only mount.)
        for right in (os.R_OK, os.W_OK, os.X_OK):
            if os.access(path, right, effective_ids=True):
                mode |= right << 6
    return mode


def _make_chain(layer: Layer, directory: bytes, identity: Identity, prepared: Prepared) -> list[tuple[bytes, int, int]]:
    """Make the directories from the layer's root to ``directory``, as far as the originals exist.

    Returns:
        Each new directory's path in the upper layer, final mode and time.
    """
    made: list[tuple[bytes, int, int]] = []
    path = layer.root.rstrip(b"/")
    for name in directory[len(path) :].split(b"/")[1:]:
        path += b"/" + name
        if path in prepared.directories:
            continue
        try:
            status = os.lstat(path)
        except OSError:
            break
        if not stat.S_ISDIR(status.st_mode):
            break
        upper = upper_path(layer, path)
        os.mkdir(upper, 0o700)
        prepared.directories[path] = mode = _mode(path, status, identity)
        prepared.directory_times[path] = status.st_mtime_ns
        made.append((upper, mode, status.st_mtime_ns))
    return made


def _copy_foreign(layer: Layer, path: bytes, identity: Identity, prepared: Prepared) -> None:
    """Copy an output of an earlier run whose owner or group the namespace does not know."""
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or identity.is_mapped(status):
            return
        source = open(path, "rb", buffering=0)  # noqa: SIM115 - closed below
    except OSError:
        return  # missing or unreadable: the command can only replace it, which needs no copy
    upper = upper_path(layer, path)
    with source, open(upper, "xb", buffering=0) as target:
        # Before the copy: if the file changes meanwhile, this is not the submit host's stamp at the end.
        prepared.originals[path] = _stamp_of(os.fstat(source.fileno()))
        shutil.copyfileobj(source, target, 256 * 1024)
        os.fchmod(target.fileno(), identity.mode_as_owner(status))
        os.utime(target.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    prepared.files[path] = stamp(os.lstat(upper))

"""The kernel's table of mounts, and which file systems other hosts share."""

from __future__ import annotations

import os
import re

#: Types whose files only this host reads or changes. Every other type counts as shared, so that an unknown network file
#: system is not taken for a local file system.
_LOCAL_TYPES = frozenset(
    b"autofs bcachefs binfmt_misc bpf btrfs cgroup cgroup2 configfs cramfs debugfs devpts devtmpfs ecryptfs efivarfs "
    b"erofs exfat ext2 ext3 ext4 f2fs fusectl hfs hfsplus hugetlbfs iso9660 jffs2 jfs mqueue msdos nilfs2 nsfs ntfs "
    b"ntfs3 overlay proc pstore ramfs reiserfs rootfs securityfs selinuxfs squashfs sysfs tmpfs tracefs ubifs udf ufs "
    b"vfat xfs zfs".split()
)

#: Types whose clients look up cached names anew (missing names, too) as soon as the client sees that the directory has
#: changed.
_NAMES_FOLLOW = frozenset(b"nfs nfs4 lustre gpfs ceph".split()) | _LOCAL_TYPES

#: Types on which lseek(2) has never reported data as a hole. ZFS could, and so can network file systems above ZFS.
_TRUE_HOLES = frozenset(b"btrfs ext4 tmpfs xfs".split())

_OCTAL = re.compile(rb"\\([0-7]{3})")


def mounts(mountinfo: bytes) -> dict[bytes, bytes]:
    """The type of file system at each mount point, from the text of /proc/self/mountinfo.

    proc_pid_mountinfo(5): the fifth word is the mount point, with blanks in octal; the type follows the lone dash.
    If one mount covers another, the later line counts.
    """
    types = {}
    for line in mountinfo.splitlines():
        words, _, rest = line.partition(b" - ")
        point = words.split(b" ", 5)[4]
        if b"\\" in point:
            point = _OCTAL.sub(lambda m: bytes([int(m[1], 8)]), point)
        types[point] = rest.partition(b" ")[0]
    return types


class FileSystems:
    """Answers whether a directory's file system is shared."""

    def __init__(self, mountinfo: str = "/proc/self/mountinfo") -> None:
        self._mountinfo = mountinfo
        self._type_by_device: dict[int, bytes] = {}

    def is_shared(self, directory: bytes) -> bool:
        """True if other hosts may change files in this directory. A missing directory counts as its nearest parent."""
        return self._type(directory) not in _LOCAL_TYPES

    def names_follow_directory(self, directory: bytes) -> bool:
        """True if no cached name in this directory (missing names too) is older than the cached directory itself."""
        return self._type(directory) in _NAMES_FOLLOW

    def has_true_holes(self, directory: bytes) -> bool:
        """True if every hole that lseek(2) reports for a file in this directory reads as zeros."""
        return self._type(directory) in _TRUE_HOLES

    def _type(self, directory: bytes) -> bytes:
        while True:
            try:
                device = os.stat(directory).st_dev
                break
            except OSError:
                if directory in (b"/", b""):
                    return b""
                directory = os.path.dirname(directory)
        known = self._type_by_device.get(device)
        if known is None:
            known = self._type_by_device[device] = self._type_of(directory)
        return known

    def _type_of(self, directory: bytes) -> bytes:
        """The type by the nearest mount point: on Btrfs and overlays, mountinfo's device numbers are not st_dev."""
        with open(self._mountinfo, "rb") as file:
            types = mounts(file.read())
        path = os.path.realpath(directory)
        while path not in types and path != b"/":
            path = os.path.dirname(path)
        return types.get(path, b"")

"""What a produced file may have besides contents, mode and time, and that the way back does not carry.

Written back, a file is the user's own, of the group that its directory gives it, and has the attributes that the
directory hands down. A command that wants it otherwise (chown by root, setfattr, setcap, setfacl) runs on the submit
host.
"""

from __future__ import annotations

import os
import stat

_ACL = "system.posix_acl_access"
_DEFAULT_ACL = "system.posix_acl_default"
#: The overlay's own marks, and labels that each host's policy gives to files by itself.
_OTHERS = ("user.overlay.", "trusted.overlay.", "security.selinux")


def foreign(upper: bytes, status: os.stat_result, directory: os.stat_result, path: bytes) -> str:
    """In words, what of a new or changed entry would be lost; empty where nothing would.

    Args:
        upper: where it lies.
        status: its own, by lstat.
        directory: that of the directory it lies in, in the upper layer.
        path: as the command sees it.
    """
    group = directory.st_gid if directory.st_mode & stat.S_ISGID else os.getegid()
    if (status.st_uid, status.st_gid) != (os.geteuid(), group):
        return f"belongs to user {status.st_uid} and group {status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return ""
    found = [name for name in _attributes(upper) if not name.startswith(_OTHERS)]
    if found and _is_handed_down(os.path.dirname(path), os.path.dirname(upper)):
        found = [name for name in found if name not in (_ACL, _DEFAULT_ACL)]
    return f"has the attribute {found[0]}" if found else ""


def is_chowned(status: os.stat_result, below: os.stat_result) -> bool:
    """Whether a directory that was there has another owner or group now. Only root can do that where it would be seen:
    in a user namespace there is one of each."""
    return os.geteuid() == 0 and (status.st_uid, status.st_gid) != (below.st_uid, below.st_gid)


def _is_handed_down(*directories: bytes) -> bool:
    """Whether access control lists come with being made in one of these: on the submit host as well, where that was."""
    return any(_DEFAULT_ACL in _attributes(directory) for directory in directories)


def _attributes(path: bytes) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:  # a file system that has none; or a directory that is not there yet, and can hand down nothing
        return []

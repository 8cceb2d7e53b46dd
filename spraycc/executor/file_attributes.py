"""Finds owners and attributes of a produced file that the write-back would lose.

The write-back carries contents, mode and time. A file that the server writes belongs to the user, and gets its group
and inherited attributes from its directory. A command that sets others (chown by root, setfattr, setcap, setfacl) must
run on the submit host.
"""

from __future__ import annotations

import os
import stat

_ACL = "system.posix_acl_access"
_DEFAULT_ACL = "system.posix_acl_default"
#: The overlay's own marks, and labels that each host's security policy sets.
_OTHERS = ("user.overlay.", "trusted.overlay.", "security.selinux")


def lost_attribute(upper: bytes, status: os.stat_result, directory: os.stat_result, path: bytes) -> str:
    """In words, the property of a new or changed entry that the write-back would lose; empty if it loses none.

    Args:
        upper: the entry's path in the upper layer.
        status: the entry's status, by lstat.
        directory: status of the entry's directory in the upper layer.
        path: the entry's path for the command.
    """
    group = directory.st_gid if directory.st_mode & stat.S_ISGID else os.getegid()
    if (status.st_uid, status.st_gid) != (os.geteuid(), group):
        return f"belongs to user {status.st_uid} and group {status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return ""
    found = [name for name in _attributes(upper) if not name.startswith(_OTHERS)]
    if found and _inherits_acl(os.path.dirname(path), os.path.dirname(upper)):
        found = [name for name in found if name not in (_ACL, _DEFAULT_ACL)]
    return f"has the attribute {found[0]}" if found else ""


def is_owner_changed(status: os.stat_result, below: os.stat_result) -> bool:
    """True if an existing directory has another owner or group now.

    Only root's commands can change owner and group: a user namespace has one user and one group.
    """
    return os.geteuid() == 0 and (status.st_uid, status.st_gid) != (below.st_uid, below.st_gid)


def _inherits_acl(*directories: bytes) -> bool:
    """True if one of these directories gives new files an access control list, as it does on the submit host."""
    return any(_DEFAULT_ACL in _attributes(directory) for directory in directories)


def _attributes(path: bytes) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:  # a file system without attributes, or a missing directory
        return []

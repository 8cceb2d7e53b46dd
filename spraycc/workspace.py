"""Finds the workspace: the directory tree that a build works in. One server serves one workspace.

The workspace is the nearest ancestor of the working directory with a ``.spraycc.toml``. Without such an ancestor it is
the root of the version-controlled tree, else the working directory itself.

Some directories are never a workspace, because a capture of them would fail, or would contain files of no build: ``/``,
the home directory, and directories to which everybody may write (/tmp). Many users keep the dotfiles in their home
directory under version control. A file that a stranger has put into /tmp must not configure a build.
"""

from __future__ import annotations

import os
import stat

from spraycc import directories
from spraycc.config.sources import WORKSPACE_FILE
from spraycc.errors import WorkspaceError
from spraycc.notices import configuration

_VCS_MARKS = (b".git", b".hg", b".svn")
_NEVER = frozenset((b"/", b"/tmp", b"/var/tmp", b"/dev/shm", b"/home", b"/root", b"/usr", b"/var", b"/etc"))


def find(cwd: bytes | None = None, home: bytes | None = None) -> bytes:
    """The workspace's absolute real path.

    Args:
        cwd: in place of the working directory.
        home: in place of the home directories that HOME and the passwd entry name.

    Raises:
        WorkspaceError: the working directory does not exist any more, or neither it nor a directory above it may be a
            workspace.
    """
    try:
        start = os.path.realpath(os.getcwdb() if cwd is None else cwd)
    except FileNotFoundError:
        raise WorkspaceError(configuration.NO_WORKING_DIRECTORY.text()) from None
    names = map(os.fsencode, directories.known_homes()) if home is None else [home]
    homes = frozenset(map(os.path.realpath, names))
    mark = os.fsencode(WORKSPACE_FILE)
    vcs_root = None
    directory = start
    while True:
        if _may_be_root(directory, homes):
            if os.path.isfile(os.path.join(directory, mark)):
                return directory
            if vcs_root is None and any(os.path.lexists(os.path.join(directory, vcs)) for vcs in _VCS_MARKS):
                vcs_root = directory
        parent = os.path.dirname(directory)
        if parent == directory:
            break
        directory = parent
    if vcs_root is not None:
        return vcs_root
    # Not _may_be_root: the user has chosen this directory, even if everybody may write to it.
    if start in _NEVER | homes:
        raise WorkspaceError(configuration.NO_WORKSPACE.text(directory=os.fsdecode(start), file=WORKSPACE_FILE))
    return start


def _may_be_root(directory: bytes, homes: frozenset[bytes]) -> bool:
    if directory in _NEVER | homes:
        return False
    try:
        mode = os.stat(directory).st_mode
    except OSError:
        return False
    # Only with the sticky bit: without it strangers can change the project itself, and some file systems show 777
    # everywhere.
    return not (mode & stat.S_IWOTH and mode & stat.S_ISVTX)

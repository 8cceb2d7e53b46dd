"""Finds the workspace: the directory tree that a build works in. One server serves one workspace.

The nearest ancestor of the working directory with a ``.spraycc.toml``, else the root of the version-controlled tree,
else the working directory itself. Some directories are never a workspace, as capturing their contents can't work or
captures what is no build's: ``/``, the home directory, and the ones that everybody may write to, /tmp and its like.
(A home directory that is under version control for its dotfiles is the usual case; and what strangers can put into
/tmp must configure nobody's build.)
"""

from __future__ import annotations

import os
import stat

from spraycc.config.sources import WORKSPACE_FILE
from spraycc.errors import ConfigError

_VCS_MARKS = (b".git", b".hg", b".svn")
_NEVER = frozenset((b"/", b"/tmp", b"/var/tmp", b"/dev/shm", b"/home", b"/root", b"/usr", b"/var", b"/etc"))


def find(cwd: bytes | None = None, home: bytes | None = None) -> bytes:
    """The workspace's absolute real path.

    Args:
        cwd: in place of the working directory.
        home: in place of the home directory.

    Raises:
        ConfigError: there is none: the working directory does not exist any more, or may be no workspace and none
            lies above.
    """
    try:
        start = os.path.realpath(os.getcwdb() if cwd is None else cwd)
    except FileNotFoundError:
        raise ConfigError(
            "the working directory does not exist any more; change into the project's directory"
        ) from None
    home = os.path.realpath(os.path.expanduser(b"~") if home is None else home)
    mark = os.fsencode(WORKSPACE_FILE)
    vcs_root = None
    directory = start
    while True:
        if _may_be_root(directory, home):
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
    # Not _may_be_root: the directory one is in is one's own choice, where it is possible at all.
    if start in _NEVER or start == home:
        raise ConfigError(
            f"{os.fsdecode(start)} can't be a workspace as a whole; work in a subdirectory, one for each project "
            f"(its root is where {WORKSPACE_FILE}, .git, .hg or .svn is, else the directory you are in)"
        )
    return start


def _may_be_root(directory: bytes, home: bytes) -> bool:
    if directory in _NEVER or directory == home:
        return False
    try:
        mode = os.stat(directory).st_mode
    except OSError:
        return False
    # Only with the sticky bit: without it strangers can change the project itself, and some file systems show 777
    # everywhere.
    return not (mode & stat.S_IWOTH and mode & stat.S_ISVTX)

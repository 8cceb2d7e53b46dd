"""Reads the session file, after a check that no other user can have read or written it."""

from __future__ import annotations

import os
import stat

from spraycc.errors import ConfigError
from spraycc.wire.session_file import Session


def read_session(path: str) -> Session:
    """The session in a file that belongs to this user and that no other user can read or write.

    Raises:
        ConfigError: the file can't be read, other users have access to the file, or the file holds no session.
    """
    try:
        directory = os.stat(os.path.dirname(path) or ".")
        if directory.st_uid not in (os.geteuid(), 0) or directory.st_mode & 0o022:
            raise ConfigError(f"session file {path}: its directory belongs to another user, or others may write to it")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise ConfigError(f"session file {path}: must be a regular file of this user with mode 600")
            text = file.read()
    except OSError as exc:
        raise ConfigError(f"session file {path}: {exc.strerror}") from None
    try:
        return Session.from_json(text)
    except (KeyError, TypeError, ValueError) as exc:
        raise ConfigError(f"session file {path}: {type(exc).__name__}: {exc}") from None

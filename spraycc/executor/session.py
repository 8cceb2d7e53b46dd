"""The session file: where the server is, how it proves itself, and what proves us. Written by the server, 0600."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from typing import Any

from spraycc.errors import ConfigError
from spraycc.stamps import Lookup

#: Version of the file's layout.
SESSION_VERSION = 1


@dataclass(frozen=True, slots=True)
class Session:
    """Its contents."""

    #: host and port, in the order they are tried
    addresses: tuple[tuple[str, int], ...]
    #: the server's certificate, PEM: the only one that is accepted
    certificate: str
    #: 32 bytes
    secret: bytes
    workspace: bytes
    #: where scratch directories are wanted, or None
    scratch_dir: str | None
    heartbeat_s: float
    lost_after_s: float
    log_dir: str
    #: files of the workspace whose stamps the server wants to hear (spraycc/landmarks.py)
    landmarks: tuple[Lookup, ...] = ()


def read_session(path: str) -> Session:
    """The session in a file that nobody but us can have written or read.

    Raises:
        ConfigError: it can't be read, is not ours alone, or does not hold a session.
    """
    try:
        directory = os.stat(os.path.dirname(path) or ".")
        if directory.st_uid not in (os.geteuid(), 0) or directory.st_mode & 0o022:
            raise ConfigError(f"session file {path}: its directory is another user's, or others may write to it")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise ConfigError(f"session file {path}: it must be a file of our own with mode 600")
            content = json.loads(file.read())
    except OSError as exc:
        raise ConfigError(f"session file {path}: {exc.strerror}") from None
    except ValueError as exc:
        raise ConfigError(f"session file {path}: not JSON: {exc}") from None
    try:
        return _session(content)
    except (KeyError, TypeError, ValueError) as exc:
        raise ConfigError(f"session file {path}: {type(exc).__name__}: {exc}") from None


def _session(content: dict[str, Any]) -> Session:
    if content["version"] != SESSION_VERSION:
        raise ValueError(f"version {content['version']}, this is {SESSION_VERSION}")
    session = Session(
        addresses=tuple((str(host), int(port)) for host, port in content["addresses"]),
        certificate=str(content["certificate"]),
        secret=bytes.fromhex(content["secret"]),
        workspace=os.fsencode(content["workspace"]),
        scratch_dir=content["scratch_dir"],
        heartbeat_s=float(content["heartbeat_s"]),
        lost_after_s=float(content["lost_after_s"]),
        log_dir=str(content["log_dir"]),
        landmarks=tuple(os.fsencode(lookup) for lookup in content.get("landmarks", ())),
    )
    if len(session.secret) != 32 or not os.path.isabs(session.workspace):
        raise ValueError("secret of 32 bytes and an absolute workspace expected")
    return session

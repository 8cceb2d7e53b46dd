"""The session file, which the server writes: everything that an executor must know to join the server."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass

from spraycc.stamps import Lookup

#: Version of the file's layout.
SESSION_VERSION = 1
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """The contents of a session file."""

    #: the server's hosts and ports, in the order in which executors try them
    addresses: tuple[tuple[str, int], ...]
    #: the server's certificate, PEM: executors accept no other
    certificate: str
    #: proves to the server that a peer has read this file; SECRET_BYTES long
    secret: bytes
    #: absolute path
    workspace: bytes
    #: the directory in which executors make their scratch directories; None if each executor chooses
    scratch_dir: str | None
    heartbeat_s: float
    lost_after_s: float
    log_dir: str
    #: files of the workspace whose stamps each executor sends at its start (spraycc/landmarks.py)
    landmarks: tuple[Lookup, ...] = ()

    def to_json(self) -> str:
        """The text of the file."""
        content = dataclasses.asdict(self) | {
            "version": SESSION_VERSION,
            "secret": self.secret.hex(),
            "workspace": os.fsdecode(self.workspace),
            "landmarks": list(map(os.fsdecode, self.landmarks)),
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: bytes) -> Session:
        """The session in the text of a file.

        Raises:
            ValueError: the text is not JSON, has another version, or a value is wrong.
            KeyError, TypeError: a value is missing, or has another type.
        """
        content = json.loads(text)
        if content["version"] != SESSION_VERSION:
            raise ValueError(f"version {content['version']}, this is {SESSION_VERSION}")
        session = cls(
            addresses=tuple((str(host), int(port)) for host, port in content["addresses"]),
            certificate=str(content["certificate"]),
            secret=bytes.fromhex(content["secret"]),
            workspace=os.fsencode(content["workspace"]),
            scratch_dir=content["scratch_dir"],
            heartbeat_s=float(content["heartbeat_s"]),
            lost_after_s=float(content["lost_after_s"]),
            log_dir=str(content["log_dir"]),
            landmarks=tuple(map(os.fsencode, content.get("landmarks", ()))),
        )
        if len(session.secret) != SECRET_BYTES or not os.path.isabs(session.workspace):
            raise ValueError(f"secret of {SECRET_BYTES} bytes and an absolute workspace expected")
        return session

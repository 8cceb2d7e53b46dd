"""A file in the workspace by which executors on other hosts see that theirs is the same directory."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


class Witness:
    """Made for the time of a session. Its name is the same for each server of a host, so a kill leaves one at most."""

    def __init__(self, path: bytes, text: str) -> None:
        self._path = path
        #: what executors are told: the file's name and content
        self.told = (os.fsdecode(os.path.basename(path)), text)

    @classmethod
    def clear(cls, workspace: bytes, state_dir: Path) -> None:
        """Remove what a killed server of this host has left."""
        with suppress(OSError):
            os.unlink(cls.path_of(workspace, state_dir))

    @classmethod
    def make(cls, workspace: bytes, state_dir: Path) -> Witness | None:
        """None where nothing can be written in the workspace's root; then nothing is proved."""
        path = cls.path_of(workspace, state_dir)
        text = secrets.token_hex(16)
        try:
            with suppress(FileNotFoundError):
                os.unlink(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
        except OSError as exc:
            log.warning("%s: %s; executors' hosts are not checked", os.fsdecode(path), exc.strerror)
            return None
        return cls(path, text)

    @staticmethod
    def path_of(workspace: bytes, state_dir: Path) -> bytes:
        """Where the witness of that state directory's server is."""
        mark = hashlib.sha256(os.fsencode(state_dir.name)).hexdigest()[:8]
        return os.path.join(workspace, os.fsencode(f".spraycc-witness-{mark}"))

    def remove(self) -> None:
        """Remove it; one that is gone already is fine."""
        with suppress(OSError):
            os.unlink(self._path)

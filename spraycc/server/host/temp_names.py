"""Temporary names for files that are not in their place yet. They show which files a killed server has left."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from contextlib import suppress

_NAME = re.compile(rb"\.spraycc-([0-9a-f]{8})-(\d+)-[0-9-]+\.tmp")


class Temporaries:
    """The temporary names of one server. A name contains the host and the server's process id, so another server can
    see if its maker still lives.

    Few are needed: if the file system has unnamed files, only the replacement of an existing file needs a name.
    """

    def __init__(self) -> None:
        self._host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8].encode("ascii")
        self._pid = os.getpid()
        self._counter = 0
        #: directories in which left-over files were removed
        self._known: set[bytes] = set()

    def name(self, directory: bytes, token: bytes) -> bytes:
        """A path in ``directory`` that no other server uses. The first call for a directory removes left-over files."""
        if directory not in self._known:
            self._known.add(directory)
            self._clear(directory)
        self._counter += 1
        return b"%s/.spraycc-%s-%d-%s-%d.tmp" % (directory, self._host, self._pid, token, self._counter)

    def _clear(self, directory: bytes) -> None:
        with suppress(OSError):
            for name in os.listdir(directory):
                found = _NAME.fullmatch(name)
                if found is None or found[1] != self._host or int(found[2]) == self._pid:
                    continue
                if not os.path.exists(f"/proc/{int(found[2])}"):
                    os.unlink(os.path.join(directory, name))

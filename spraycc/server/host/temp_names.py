"""Temporary names for files that are not in their place yet. They show which files a killed server has left."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from contextlib import suppress

_NAME = re.compile(rb"\.spraycc-([0-9a-f]{8})-(\d+)-[0-9-]+\.tmp")
#: No server takes so long to write one file. Older files were left, whoever made them.
_LEFT_AFTER_S = 24 * 3600


class Temporaries:
    """The temporary names of one server. A name shows the server's process id, and the host and the process namespace
    in which the id is valid. So another server can see if the maker still lives.

    Few are needed: if the file system has unnamed files, only the replacement of an existing file needs a name.
    """

    def __init__(self) -> None:
        self._place = hashlib.sha256(f"{socket.gethostname()} {_process_namespace()}".encode()).hexdigest()[:8].encode()
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
        return b"%s/.spraycc-%s-%d-%s-%d.tmp" % (directory, self._place, self._pid, token, self._counter)

    def _clear(self, directory: bytes) -> None:
        with suppress(OSError):
            for name in os.listdir(directory):
                found = _NAME.fullmatch(name)
                if found is None:
                    continue
                path = os.path.join(directory, name)
                of_the_dead = found[1] == self._place and not os.path.exists(f"/proc/{int(found[2])}")
                if of_the_dead or time.time() - os.lstat(path).st_mtime > _LEFT_AFTER_S:
                    os.unlink(path)


def _process_namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0

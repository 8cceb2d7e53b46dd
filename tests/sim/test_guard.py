"""The guard fails tests of this folder that do something forbidden."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.guard import ForbiddenInFolderError


def _bind() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


@pytest.mark.parametrize(
    "act",
    [
        lambda: subprocess.run(["true"], check=True),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: time.sleep(0),
        _bind,
    ],
    ids=["process", "spawn", "sleep", "socket"],
)
def test_what_is_forbidden_fails(act: Callable[[], object]) -> None:
    with pytest.raises(ForbiddenInFolderError, match=r"tests/README\.md"):
        act()

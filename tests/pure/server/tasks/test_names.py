"""The names of tasks in the status."""

from __future__ import annotations

import pytest

from spraycc.server.tasks.names import name_in


@pytest.mark.parametrize(
    ("cwd", "name", "shown"),
    [
        (b"/w", b"a.o", "a.o"),
        (b"/w/sub", b"a.o", "sub/a.o"),
        (b"/w/sub", b"../b/a.o", "b/a.o"),
        (b"/w", b"/w/x/a.o", "x/a.o"),
        (b"/w", b"/usr/a.o", "/usr/a.o"),
        (b"/elsewhere", b"a.o", "/elsewhere/a.o"),
        (b"/w2", b"a.o", "/w2/a.o"),
        (b"/w", b"\xff.o", "\udcff.o"),
        (b"/w", b"", ""),
    ],
)
def test_name_in(cwd: bytes, name: bytes, shown: str) -> None:
    assert name_in(b"/w", cwd, name) == shown


def test_a_root_as_workspace() -> None:
    assert name_in(b"/", b"/w", b"a.o") == "w/a.o"

"""Whether a path is inside a directory."""

from __future__ import annotations

import pytest

from spraycc.system.paths import is_inside


@pytest.mark.parametrize(
    ("path", "directory", "inside"),
    [
        (b"/a/b", b"/a", True),
        (b"/a", b"/a", True),
        (b"/ab", b"/a", False),
        (b"/a", b"/a/b", False),
        (b"/x", b"/", True),
        (b"/", b"/", True),
        (b"/a/b", b"/a/", True),
    ],
)
def test_is_inside(path: bytes, directory: bytes, inside: bool) -> None:
    assert is_inside(path, directory) is inside

"""The configuration of the library that intercepts executions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hatch_build import EXEC_LIBRARY
from spraycc.commands.interception import LIBRARY_NAME, configuration, library_in, variables, without
from spraycc.commands.names import tool_of

NATIVE = Path(__file__).resolve().parents[3] / "spraycc" / "native"
PATHS: dict[str, Any] = {
    "runner": b"/bin/spraycc-run",
    "library": b"/lib/libspraycc-exec.so",
    "workspace": b"/home/u/p",
}


def lines(text: bytes) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, _, value in (line.partition(b"\t") for line in text.splitlines())]


def test_the_file_has_all_that_the_library_needs() -> None:
    text = configuration(**PATHS, wrap=["my-tool", "./unit", "tests/*", "*_test"], never=["x", "/opt/*"])
    found = lines(text)
    assert found[:4] == [
        (b"spraycc-exec", b"1"),
        (b"runner", b"/bin/spraycc-run"),
        (b"library", b"/lib/libspraycc-exec.so"),
        (b"workspace", b"/home/u/p"),
    ]
    assert [line for line in found if line[0] in (b"name", b"path", b"never")] == [
        (b"name", b"my-tool"),
        (b"path", b"./unit"),
        (b"path", b"tests/*"),
        (b"name", b"*_test"),
        (b"never", b"x"),
        (b"never", b"/opt/*"),
    ]
    assert {tool_of(value) for key, value in found if key == b"stem"} > {tool_of(b"gcc"), tool_of(b"ld")}
    assert text.endswith(b"\nend\n")


@pytest.mark.parametrize(
    "changes",
    [{"runner": b"spraycc-run"}, {"workspace": b""}, {"wrap": ["a\nend"]}, {"never": ["a\0b"]}, {"library": b"/a\nb"}],
)
def test_values_that_no_line_can_have(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="path"):
        configuration(**{**PATHS, **changes})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, b"/l.so"),
        (b"", b"/l.so"),
        (b"a.so b.so", b"a.so b.so:/l.so"),
        # A build inside a build: the library is there once.
        (b"a.so:/other/libspraycc-exec.so", b"a.so:/l.so"),
        (b"/other/libspraycc-exec.so a.so", b"a.so:/l.so"),
    ],
)
def test_variables(before: bytes | None, after: bytes) -> None:
    env = {b"A": b"1", b"SPRAYCC_EXEC": b"/old"} | ({} if before is None else {b"LD_PRELOAD": before})
    assert variables(env, b"/l.so", b"/c") == {b"LD_PRELOAD": after, b"SPRAYCC_EXEC": b"/c"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({b"A": b"1"}, {b"A": b"1"}),
        ({b"LD_PRELOAD": b"a.so b.so"}, {b"LD_PRELOAD": b"a.so b.so"}),
        ({b"LD_PRELOAD": b"a.so:/x/libspraycc-exec.so"}, {b"LD_PRELOAD": b"a.so"}),
        ({b"LD_PRELOAD": b"/x/libspraycc-exec.so"}, {}),
        ({b"SPRAYCC_EXEC": b"/c", b"SPRAYCC_PROGRAM": b"/gcc"}, {b"SPRAYCC_EXEC": b""}),
        ({b"SPRAYCC_EXEC": b""}, {}),
    ],
)
def test_without(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> None:
    assert without(before) == after


def test_the_library_in_a_configuration() -> None:
    assert library_in(configuration(**PATHS)) == PATHS["library"]
    assert library_in(b"") is None


def test_all_parts_call_the_library_by_the_same_name() -> None:
    assert LIBRARY_NAME == EXEC_LIBRARY
    assert f'#define EXEC_LIBRARY "{LIBRARY_NAME}"' in (NATIVE / "common/preload_list.h").read_text()
    fallback = (NATIVE.parent / "runner/fallback.py").read_text()
    assert f'EXEC_LIBRARY = b"{LIBRARY_NAME}"' in fallback

"""After a failure of SprayCC the tool runs, or the command line ends with an error."""

from __future__ import annotations

import pytest

from spraycc.cli import without_spraycc
from spraycc.cli.build_tool import ToolNotFound
from spraycc.errors import ConfigError, ConfigUnreadable, ServerUnavailable, WorkspaceError


@pytest.mark.parametrize(
    ("line", "tool"),
    [
        ("make -j8 all", "make -j8 all"),
        ("--executors 64 /usr/bin/make -j8", "/usr/bin/make -j8"),
        ("--shim ninja -j8", "ninja -j8"),
        ("--shim", None),
        ("build -- ./build.sh make", "./build.sh make"),
        ("build ./build.sh", "./build.sh"),
        ("build --", None),
        ("run --remote -- gcc -c u.c", "gcc -c u.c"),
        ("run --remote gcc -c u.c", "gcc -c u.c"),
        ("status", None),
        ("server stop", None),
        ("", None),
    ],
)
def test_the_tools_words(line: str, tool: str | None) -> None:
    assert without_spraycc.tool_words(line.split()) == (tool.split() if tool else None)


@pytest.mark.parametrize(
    ("exc", "words", "runs"),
    [
        (ConfigError("x"), "make", False),
        (ConfigError("x"), "--shim make", True),
        (ConfigUnreadable("x"), "make", True),
        (WorkspaceError("x"), "make", True),
        (ServerUnavailable("x"), "make", True),
        (ImportError("x"), "make", True),
        (MemoryError(), "make", True),
        (OSError(24, "x", "/f"), "build -- make", True),
        (ZeroDivisionError("x"), "make", True),
        (ToolNotFound("make", 2), "make", False),
        (ToolNotFound("make", 2), "--shim make", False),
        (ImportError("x"), "status", False),
        (ZeroDivisionError("x"), "status", False),
    ],
    ids=str,
)
def test_whether_the_tool_runs(
    exc: Exception, words: str, runs: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(without_spraycc, "_execute", lambda tool, by_shim: ran.append((list(tool), by_shim)))
    status = without_spraycc.after(exc, words.split())
    assert bool(ran) is runs
    if not runs:
        assert status == getattr(exc, "status", 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("spraycc: ")]
    assert lines[0].startswith("spraycc: warning: " if runs else "spraycc: error: ")

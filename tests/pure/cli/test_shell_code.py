"""Variables as code of a shell, and the language of the shell that started us."""

from __future__ import annotations

import pytest

from spraycc.cli.shell_code import exports, language, look_up, parents_shell
from spraycc.errors import SprayccError


@pytest.mark.parametrize(
    ("value", "shell", "line"),
    [
        (b"/a b:/c", "sh", b"export X='/a b:/c';"),
        (b"it's", "sh", b"export X='it'\\''s';"),
        (b"a\\b!", "fish", b"export X='a'\\\\'b!';"),
        (b"", "sh", b"unset X;"),
        (b"", "fish", b"set -e X;"),
        (b"/a b:/c", "csh", b"setenv X '/a b:/c';"),
        (b"it's \\ so!", "csh", b"setenv X 'it'\\''s '\\\\' so'\\!'';"),
        (b"", "csh", b"unsetenv X;"),
    ],
)
def test_values_are_quoted_for_the_shell(value: bytes, shell: str, line: bytes) -> None:
    assert exports({b"X": value}, shell) == [line]


def test_a_line_break_is_refused_for_csh() -> None:
    with pytest.raises(SprayccError, match=r"^PATH has a line break, which csh can't pass on; .* use bash or zsh$"):
        exports({b"PATH": b"/a\n/b"}, "csh")
    assert exports({b"PATH": b"/a\n/b"}, "sh") == [b"export PATH='/a\n/b';"]


@pytest.mark.parametrize(
    ("processes", "shell"),
    [
        ([("tcsh",)], "csh"),
        ([("bsd-csh", "csh")], "csh"),
        ([("tcsh", "setup.csh")], "csh"),
        ([("fish",)], "fish"),
        ([("bash",), ("tcsh",)], "sh"),
        ([("busybox", "sh")], "sh"),
        ([("sudo",), ("tcsh",)], "csh"),
        ([("timeout",), ("sudo",), ("fish",)], "fish"),
        # A program that is no shell reads what we print as it always did.
        ([("python3.11",), ("tcsh",)], "sh"),
        ([()], "sh"),
        ([("sudo",)] * 50, "sh"),
    ],
)
def test_the_parent_process_decides(processes: list[tuple[str, ...]], shell: str) -> None:
    def look(pid: int) -> tuple[tuple[str, ...], int]:
        return (processes[pid], pid + 1) if pid < len(processes) else ((), 0)

    assert language(parents_shell(0, look)) == shell


def test_a_process_that_is_gone_has_no_name() -> None:
    assert look_up(2**22 + 1) == ((), 0)

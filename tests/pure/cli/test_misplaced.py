"""Hints for options that stand in the wrong place."""

from __future__ import annotations

import pytest

from spraycc.cli.misplaced import after_tool
from spraycc.cli.subcommands import run

AFTER_NAME = "a build tool's options stand after its name: spraycc"
NO_NEAR = "`spraycc --help-all` lists all options"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-j8 make all", f"no option '-j8' of spraycc; {AFTER_NAME} make -j8 all"),
        ("-j 8 make", f"no option '-j' of spraycc; {AFTER_NAME} make -j 8"),
        ("--executors 3 -j8 make a b c d", f"no option '-j8' of spraycc; {AFTER_NAME} --executors 3 make -j8 a b …"),
        ("--jobs=3 /usr/bin/make", f"no option '--jobs=3' of spraycc; {AFTER_NAME} /usr/bin/make --jobs=3"),
        ("-C dir make", f"no option '-C' of spraycc; {AFTER_NAME} make -C dir"),
        ("-k", f"no option '-k' of spraycc; {AFTER_NAME} make -k"),
        (
            "status --executors 5",
            "status: no option '--executors': it stands before 'status', as all of SprayCC's options: "
            "spraycc --executors 5 status …",
        ),
        (
            "status --executors=5",
            "status: no option '--executors': it stands before 'status', as all of SprayCC's options: "
            "spraycc --executors=5 status …",
        ),
        (
            "config show --no-summary-line",
            "show: no option '--no-summary-line': it stands before 'config', as all of SprayCC's options: "
            "spraycc --no-summary-line config …",
        ),
        ("--executor 3 make", "no option '--executor' of spraycc; did you mean --executors?"),
        ("status --jso", "status: no option '--jso'; did you mean --json?"),
        ("status --unheard-of", "status: no option '--unheard-of'; `spraycc status --help` lists all options"),
        (
            "--patience 3 doctor",
            "no option '--patience' of spraycc; it is an option of 'doctor', and stands after that: "
            "spraycc doctor --patience",
        ),
        ("--unheard-of make", f"no option '--unheard-of' of spraycc; {NO_NEAR}"),
        ("--executors 3", "no build tool or command; for instance: spraycc make -j8"),
        ("mak", "no command 'mak'; did you mean 'make'? Any build goes through `spraycc build -- CMD`, "
                "one command through `spraycc run CMD`"),
        ("xyzzy", "no command 'xyzzy'; any build goes through `spraycc build -- CMD`, one command through "
                  "`spraycc run CMD`"),
    ],
)  # fmt: skip
def test_the_message_says_where_the_option_belongs(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    assert capsys.readouterr().err == f"spraycc: error: {message}\n"


@pytest.mark.parametrize(
    ("name", "words", "example"),
    [
        ("make", "-j8 --executors 4 all", "spraycc --executors 4 make …"),
        ("ninja", "--executors=4", "spraycc --executors=4 ninja …"),
        ("make", "--no-summary-line all", "spraycc --no-summary-line make …"),
        ("make", "--wait-for-cluster all", "spraycc --wait-for-cluster make …"),
        ("make", "--summary -k", "spraycc --summary make …"),
        ("make", "--executor 4", None),
        ("make", "-j8 executors", None),
        ("make", "-- --executors", None),
        ("build.sh", "--executors 4", None),
    ],
)
def test_a_tool_that_failed_at_our_option(name: str, words: str, example: str | None) -> None:
    hint = after_tool(name, words.encode().split())
    assert (hint and hint.rpartition(": ")[2]) == example


def test_spraycc_alone_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Usage: spraycc")
    assert len(said.splitlines()) <= 12
    assert sum(line.startswith("  spraycc ") for line in said.splitlines()) == 5

"""The user's rules about where commands run."""

from __future__ import annotations

import pytest

from spraycc.commands.policy import Policy, paths_of
from spraycc.model import Description, Kind, Placement
from spraycc.settings import Settings

POLICY = Policy(
    remote=("gen-*", "unit_test *", "ar", "moc"), here_heavy=("cc *-O3*huge.c*", "moc"), here_light=("gen-locks",)
)


@pytest.mark.parametrize(
    ("words", "program", "expected"),
    [
        (b"gen-tables x y", b"/opt/bin/gen-tables", Placement.REMOTE),
        (b"./tool x", b"/opt/bin/gen-tool", Placement.REMOTE),
        (b"/w/tests/unit_test --all", b"/w/tests/unit_test", Placement.REMOTE),
        (b"/w/tests/unit_test", b"/w/tests/unit_test", Placement.HERE_LIGHT),
        (b"gen-locks a", b"/opt/bin/gen-locks", Placement.HERE_LIGHT),
        (b"moc a", b"/usr/bin/moc", Placement.HERE_HEAVY),
        (b"cc -O3 -c huge.c", b"/usr/bin/gcc", Placement.HERE_HEAVY),
        (b"cc -O2 -c huge.c", b"/usr/bin/gcc", Placement.HERE_LIGHT),
        (b"gen-\xff\xfe", b"/opt/bin/gen-\xff\xfe", Placement.REMOTE),
        (b"", b"/usr/bin/x", Placement.HERE_LIGHT),
    ],
)
def test_the_first_rule_that_fits(words, program, expected):
    before = Description(Kind.UNKNOWN, Placement.HERE_LIGHT, "unknown program", (b"in",), (b"out",))
    after = POLICY.apply(before, words.split(), program)
    assert after.placement is expected
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)


def test_the_reason_names_the_rule():
    before = Description(Kind.UNKNOWN, Placement.HERE_LIGHT, "unknown program")
    assert POLICY.apply(before, (b"gen-x",), b"/gen-x").reason == "policy: remote = 'gen-*'"


def test_probes_are_left_alone():
    probe = Description(Kind.PROBE, Placement.HERE_NOW, "asks the compiler something")
    assert Policy(remote=("*",)).apply(probe, (b"gcc", b"--version"), b"/usr/bin/gcc") is probe


WS = b"/home/u/proj"
PATHS = [
    ("./unit_test", b"./unit_test", b"/elsewhere/unit_test", True),
    ("./unit_test", WS + b"/unit_test", WS + b"/unit_test", True),
    ("./unit_test", WS + b"/build/unit_test", WS + b"/build/unit_test", False),
    ("./unit_test", b"unit_test", b"/usr/bin/unit_test", False),
    ("./*", b"x", WS + b"/build/x", True),
    ("./*", b"x", b"/opt/x", False),
    ("build/tests/*", WS + b"/build/tests/a", WS + b"/build/tests/a", True),
    ("build/tests/*", b"tests/deep/a", WS + b"/build/tests/deep/a", True),
    ("build/tests/*", b"build/tests/a", b"/other/build/tests/a", True),
    ("build/tests/*", b"a", WS + b"-2/build/tests/a", False),
    ("/opt/x/bin/*", b"tool", b"/opt/x/bin/tool", True),
    ("/opt/x/bin/*", b"tool", b"/opt/y/bin/tool", False),
    ("tests/a --fast *", b"./a --fast 1", WS + b"/tests/a", True),
    ("tests/a --fast *", b"./a --slow 1", WS + b"/tests/a", False),
    ("tests/a", b"./a --fast", WS + b"/tests/a", True),
    ("a tests/x*", b"/w/a tests/x1", b"/w/a", True),
    ("tests/\udcff", b"x", WS + b"/tests/\xff", True),
]


@pytest.mark.parametrize(("pattern", "words", "program", "expected"), PATHS)
def test_rules_for_programs_by_their_paths(pattern, words, program, expected):
    policy = Policy(here_heavy=(pattern,))
    before = Description(Kind.UNKNOWN, Placement.HERE_LIGHT, "unknown program")
    argv = words.split()
    after = policy.apply(before, argv, program, paths_of(argv[0], [program], WS))
    assert (after.placement is Placement.HERE_HEAVY) is expected
    assert policy.has_paths is (not pattern.startswith("a "))


def test_patterns_that_select_programs_are_wrapped():
    settings = Settings(
        wrap=("mycc",),
        tools_like_gcc=("mpicc",),
        tools_overlay_only=("mpif*",),
        policy_remote=(
            "moc",
            "gen-*",
            "prog -x *",
            "/abs/p",
            "./t *",
            "build/tests/*",
            "* -x",
            "?*",
            "*/*",
            "/*",
            "[!a]*",
        ),
        policy_here_light=("ld.x", "moc", "**", "a\nb"),
    )
    expected = ("mycc", "mpicc", "mpif*", "moc", "gen-*", "prog", "/abs/p", "./t", "build/tests/*", "ld.x")
    assert settings.wrapped == expected
    assert settings.wrapped_names == ("mycc", "mpicc", "moc", "prog", "ld.x")

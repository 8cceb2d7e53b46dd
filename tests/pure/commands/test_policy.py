"""The user's rules about where commands run."""

from __future__ import annotations

import pytest

from spraycc.commands.policy import Policy
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


def test_names_that_rules_spell_out_get_a_shim():
    settings = Settings(
        wrap=("mycc",), policy_remote=("moc", "gen-*", "prog -x *", "/abs/p"), policy_here_light=("ld.x", "moc")
    )
    assert settings.wrapped == ("mycc", "moc", "prog", "ld.x")

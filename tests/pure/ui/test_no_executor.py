"""The sentence about a build that ran no compile on an executor."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc.ui.no_executor import LEAST_S, explanation

CAUSES = (
    *("switched-off", "by-path", "unknown-name", "static", "foreign", "set-id", "loader", "other-user", "workspace"),
    *("replaced", "system-call"),
)


def build(reasons: dict[str, int] | None = None, compiles: int | None = None, **more: Any) -> dict[str, Any]:
    """Figures of a build of 60 s."""
    reasons = reasons or {}
    here = {"reasons": reasons, "first": more.pop("first", {}), "unwrapped": more.pop("unwrapped", {})}
    compiles = sum(reasons.values()) if compiles is None else compiles
    return {"wall_s": 60.0, "compiles": compiles, "compiles_remote": 0, "compiles_here": here, **more}


def unwrapped(cause: str, culprit: str = "/opt/bazel") -> dict[str, Any]:
    return {"compiler": "/opt/gcc/bin/g++", "by": "/opt/bazel", "cause": cause, "culprit": culprit}


def test_the_user_has_ended_the_build() -> None:
    """Ctrl-C, or a tool that reports it by a status of its own."""
    assert explanation(build({}, compiles=8) | {"exit_status": 130}) is None
    assert explanation(build({"here: refused": 1}) | {"exit_status": 143}) is None
    assert explanation(build({}, compiles=8) | {"exit_status": 2}) is None
    assert explanation(build({"here: refused": 1}) | {"exit_status": 2}) is not None


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param({}, id="the server was gone"),
        pytest.param({"wall_s": 60.0, "tasks": 7}, id="an older server counts no compiles"),
        pytest.param(build(), id="no compile: documentation, make clean, a cache that had all results"),
        pytest.param(build({"link": 3}, compiles_remote=1), id="a compile ran on an executor"),
        pytest.param(build({"link": 3}, wall_s=LEAST_S - 0.1), id="short"),
        pytest.param(build(unwrapped=unwrapped("static"), compiles_remote=1), id="most compilers have a runner"),
    ],
)
def test_nothing_to_explain(figures: dict[str, Any]) -> None:
    assert explanation(figures) is None


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        (
            build(
                {"started through a launcher": 212},
                first={"started through a launcher": ["/usr/bin/ccache", "make"]},
            ),
            'none of 212 compiles ran on an executor: 212 were "started through a launcher" '
            "(/usr/bin/ccache, started by make); see 'spraycc why'",
        ),
        (
            build({"here: no-executor": 40}, first={"here: no-executor": ["/usr/bin/gcc", "make"]}),
            "none of 40 compiles ran on an executor: 40 found no executor in time; "
            "see 'spraycc status' and 'spraycc doctor'",
        ),
        (
            build({"here: attempts": 3, "here: gave-up": 30, "link": 1}),
            "none of 34 compiles ran on an executor: 30 came when the build had given up its executors, "
            "3 failed on executors; see 'spraycc why --all'",
        ),
        (
            build({"link": 1}, first={"link": ["/usr/bin/cc", ""]}),
            "the only compile ran on no executor: 1 was \"link\" (/usr/bin/cc); see 'spraycc why'",
        ),
        (
            build({"here: refused": 1, "policy: here-heavy = 'g++'": 2}),
            "none of 3 compiles ran on an executor: 2 were \"policy: here-heavy = 'g++'\", 1 was refused by executors; "
            "see 'spraycc why'",
        ),
        (
            build({}, compiles=8),
            "none of 8 compiles ran on an executor: 8 had no result when the build ended; "
            "see 'spraycc status' and 'spraycc doctor'",
        ),
        (
            build(unwrapped=unwrapped("static")),
            "no compile went through SprayCC: /opt/gcc/bin/g++ was executed by bazel "
            "(/opt/bazel is a static program, which can't be intercepted); "
            'see "Limits" on the page "Interception" of the documentation',
        ),
        (
            build(unwrapped=unwrapped("unknown-name", "mycc")),
            "no compile went through SprayCC: /opt/gcc/bin/g++ was executed by bazel "
            "(SprayCC knows no compiler of the name mycc); name it in the table [tools] of .spraycc.toml: like_gcc, like_clang or overlay_only",
        ),
        (
            build(unwrapped=unwrapped("workspace", "/w/python")),
            "no compile went through SprayCC: /opt/gcc/bin/g++ was executed by bazel "
            "(/w/python is in the workspace, and compilers below programs that a build has made are not intercepted); "
            "name the program with --intercept-below",
        ),
        (
            build(unwrapped=unwrapped("")),
            "no compile went through SprayCC: /opt/gcc/bin/g++ was executed by bazel "
            '(the cause is not known); see "Limits" on the page "Interception" of the documentation',
        ),
        (
            build({"link": 2}, unwrapped=unwrapped("replaced")),
            "none of 2 compiles ran on an executor: 2 were \"link\"; see 'spraycc why'; "
            "beside them, /opt/gcc/bin/g++ was executed below bazel "
            "(a program between them can't be intercepted: it is static, say, or it is in the workspace); "
            'see "Limits" on the page "Interception" of the documentation',
        ),
    ],
)
def test_sentences(figures: dict[str, Any], sentence: str) -> None:
    assert explanation(figures) == sentence


@pytest.mark.parametrize("why", ["no-executor", "attempts", "refused", "memory", "unfit", "gave-up"])
def test_each_reason_of_the_scheduler_has_words(why: str) -> None:
    assert "here:" not in str(explanation(build({f"here: {why}": 2})))


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_words(cause: str) -> None:
    text = str(explanation(build(unwrapped=unwrapped(cause))))
    assert "not known" not in text
    assert "{" not in text

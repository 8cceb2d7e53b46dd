"""The bound on local work, the reached width and the tokens, for every shape and with every tool.

With SHAPES_FIGURES the builds have the sizes of the table in docs/explanation/jobserver.md, and take a quarter of an hour. The variable
names a file, to which each build adds a line of JSON. Without it, the builds are smaller.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.system.jobserver.shapes import NAMES, Size, best_s, make_shape, write_make, write_ninja

FIGURES = os.environ.get("SHAPES_FIGURES")
EXECUTORS, LOCAL_SLOTS = (64, 4) if FIGURES else (24, 3)
SIZE = Size() if FIGURES else Size(remotes=72, locals=24, remote_s=(0.2, 0.4), local_s=0.1, long_s=0.5)
#: Shapes in which nothing prevents the use of all executors at once.
WIDE = ("remotes first", "all locals last", "two compilers in a recipe")
SMALL = Size(remotes=24, locals=12, remote_s=(0.1, 0.2), local_s=0.05, long_s=0.5, groups=3)


@pytest.fixture(params=["make", "make 4.4", "ninja"])
def tool(request: pytest.FixtureRequest, lab: Any) -> tuple[str, Path]:
    """A build tool's name and its program."""
    name: str = request.param
    if name == "make 4.4":
        return name, request.getfixturevalue("make_4_4")
    return name, Path(name) if name == "make" else lab.sandbox.bin / name


def check(run: Any, shape: Any, limit: int) -> None:
    figures = run.finished.figures
    assert len(run.local_marks) == 2 * shape.locals
    assert run.most_local <= limit
    assert figures["remote"] == shape.remotes
    assert figures["tokens_free_at_end"] == figures["tokens_issued"]
    assert figures["tokens_lost"] == 0


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["ten sub-makes"])
def test_unseen_recipes_are_bounded(lab: Any, name: str) -> None:
    """With a strict limit, without probing: never more than the local slots."""
    shape = make_shape(name, replace(SMALL, together="wide:4"))
    run = lab.run(shape, write_make, executors=8, local_slots=2, options=("--probing-limit", "2"))
    check(run, shape, 2)
    assert run.most_remote >= 4


@pytest.mark.e2e
@pytest.mark.slow
def test_ninja_is_bounded_after_its_first_window(lab: Any) -> None:
    # Eight executors need at least 1.8 s for the compiles, and the window lasts one second.
    shape = make_shape(
        "all locals last", Size(remotes=48, locals=12, remote_s=(0.3, 0.4), local_s=0.1, together="wide:8")
    )
    tool = lab.sandbox.bin / "ninja"
    run = lab.run(shape, write_ninja, executors=8, local_slots=2, tool=tool, options=("--probing-limit", "2"))
    check(run, shape, 2)
    assert run.most_remote == 8


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_shape(lab: Any, tool: tuple[str, Path], name: str) -> None:
    """With a strict limit and with probing, one after the other on one server with the same executors."""
    is_ninja = tool[0] == "ninja"
    wide = name in WIDE and not FIGURES
    limits = {"strict": LOCAL_SLOTS, "probing": 2 * LOCAL_SLOTS}
    for how, probing in limits.items():
        shape = make_shape(name, replace(SIZE, together=f"{how}:{EXECUTORS}") if wide else SIZE)
        write: Callable[..., list[str]] = write_ninja if is_ninja else write_make
        last = how == "probing"
        run = lab.run(
            shape, write, EXECUTORS, LOCAL_SLOTS, tool[1], ("--probing-limit", str(probing)), stop=last or bool(FIGURES)
        )
        if FIGURES:
            best = best_s(shape, EXECUTORS, LOCAL_SLOTS)
            row = [tool[0], name, probing, run.wall_s, best, run.most_local, run.above_s, run.most_remote, run.ramp_s]
            with open(FIGURES, "a") as file:
                file.write(json.dumps(row) + "\n")
        # ninja's first window allows this many, with and without probing.
        check(run, shape, max(8, 2 * LOCAL_SLOTS) if is_ninja else probing)
    if wide:
        assert run.counters["together"] == dict.fromkeys(limits, EXECUTORS)

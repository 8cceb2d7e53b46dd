"""The account of tokens: in status while the build runs, shared by builds, and in the log after each event."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness.waiting import HANG_S
from tests.system.jobserver.shapes import Size, make_shape, remotes, write_make

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WAIT = "while [ ! -e {} ]; do sleep 0.05; done"


@pytest.fixture
def ready(lab: Any) -> Any:
    """The lab with eight executors connected."""
    lab.start()
    lab.warm(8, 2)
    return lab


def tokens(lab: Any) -> dict[str, int]:
    """The account of the only build."""
    builds = lab.sandbox.status()["builds"]
    found: dict[str, int] = builds[0]["tokens"] if builds else {}
    return found


def test_status_shows_where_the_tokens_are(ready: Any) -> None:
    """Two local recipes wait for a file, at a strict limit of two. Remote recipes that end meanwhile are held."""
    local = "".join(f"l{i}:\n\t@touch began{i}; {WAIT.format('go')}\n" for i in range(2))
    makefile = f"all: l0 l1 r\n{local}{remotes('r', 12, 0.2)}"
    # In make's order the local recipes come last, once remote recipes have made room for them.
    makefile = makefile.replace("all: l0 l1 r", "all: r l0 l1 s") + remotes("s", 12, 0.2)
    ready.sandbox.write({"Makefile": makefile})
    command, summary = ready.sandbox.build_command(["make"], ["--probing-limit", "2"], executors=8, local_slots=2)
    with ready.sandbox.start(command) as process:
        account = ready.sandbox.wait_for(
            "completions are held while the local recipes wait",
            lambda: (found := tokens(ready)) and found["completions_held"] and found["unaccounted"] == 2 and found,
        )
        shown = ready.sandbox.run(ready.sandbox.bin / "spraycc", "status", env={"COLUMNS": "200"}).ok().out.decode()
        (ready.sandbox.workspace / "go").touch()
        assert process.wait(HANG_S) == 0
    # make has its own slot beside its tokens. Tokens that are not free belong to a runner's recipe or are unaccounted.
    assert account["issued"] == account["free"] + account["held"]
    assert account["held"] + account["clients"] == account["recipes"] + account["unaccounted"]
    assert account["limit"] == 2
    assert account["completions_held"] <= account["recipes"]
    assert "2 unaccounted" in shown
    assert "completions held" in shown
    assert ready.sandbox.figures(summary)["remote"] == 24


def test_the_log_has_the_account_after_each_event(lab: Any) -> None:
    lab.sandbox.settings["SPRAYCC_LOG_LEVEL"] = "DEBUG"
    shape = make_shape("interleaved 3:1", Size(remotes=24, locals=12, remote_s=(0.05, 0.1), local_s=0.1))
    run = lab.run(shape, write_make, executors=8, local_slots=2)
    (log,) = lab.sandbox.home.rglob("server.log")
    last = {}
    for line in log.read_text().splitlines():
        if "tokens of build " in line:
            build, _, entry = line.partition("tokens of build ")[2].partition(": ")
            last[build] = json.loads(entry)[-1]
    # the build that made the executors connect, and the shape's build
    assert len(last) == 2
    assert all((recipes, held) == (0, 0) for _, _, recipes, held in last.values())
    assert run.finished.figures["tokens_issued"] in {issued for issued, *_ in last.values()}


def test_builds_share_what_there_is_and_the_last_one_has_all(ready: Any) -> None:
    """Each build gets a share of the width, of the unseen work and of the tasks: halves of two builds, thirds of three."""
    trees: list[Path] = []
    for name in "abc":
        tree = ready.sandbox.workspace / name
        # Each build ends after its own file exists. Until then it always has work.
        rules = remotes("r", 400, 1).replace("\t@cc", f"\t@test -e ../stop-{name} || cc")
        trees.append(ready.sandbox.write({"Makefile": f"all: r\n{rules}"}, tree))

    def shares() -> list[tuple[int, int, bool]]:
        return sorted((b["width"], b["tokens"]["limit"], b["running"] > 0) for b in ready.sandbox.status()["builds"])

    with ExitStack() as stack:
        processes = []
        for tree, expected in zip(trees, ([8], [4, 4], [2, 3, 3]), strict=True):
            command, _ = ready.sandbox.build_command(["make"], executors=8, local_slots=6)
            processes.append(stack.enter_context(ready.sandbox.start(command, cwd=tree)))
            limits = [6 // len(expected)] * len(expected)
            wanted = [(width, limit, True) for width, limit in zip(expected, limits, strict=True)]
            ready.sandbox.wait_for(f"shares of {expected}", lambda wanted=wanted: shares() == wanted)
        for name, process, left in zip("ab", processes, (2, 1), strict=False):
            (ready.sandbox.workspace / f"stop-{name}").touch()
            assert process.wait(HANG_S) == 0
            ready.sandbox.wait_for(
                "those that are left have it all",
                lambda left=left: sum(w for w, _, _ in shares()) == 8 and len(shares()) == left,
            )
        (ready.sandbox.workspace / "stop-c").touch()
        assert processes[2].wait(60) == 0


def test_recipes_that_wait_for_a_later_one_get_it(ready: Any) -> None:
    """With -j8 make alone would start all four at once. The bound allows two, and one more each time that the build makes no
    progress. tests/sim checks the times on a virtual clock."""
    wait = WAIT.format("go").replace("0.05", "0.5")
    waiting = "".join(f"l{i}:\n\t@{wait}\n" for i in range(3))
    ready.sandbox.write({"Makefile": f"all: l0 l1 l2 opens\n{waiting}opens:\n\t@touch go\n"})
    finished = ready.sandbox.build("make", "-j8", options=("--probing-limit", "2"), executors=8, local_slots=2).ok()
    assert finished.figures["tokens_free_at_end"] == finished.figures["tokens_issued"]
    (log,) = ready.sandbox.home.rglob("server.log")
    assert log.read_text().count("nothing moves; one recipe more") == 2

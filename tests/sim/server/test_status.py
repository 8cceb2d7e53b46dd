"""The reply to ``spraycc status``: tasks by name, on executors and on the submit host. Each reply fits the schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from spraycc.server import status as status_module
from spraycc.wire import runner as wire
from tests.sim.server.world import serving, settle


async def test_tasks_have_names_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, local_slots=1, executors=1) as world:
        build = await world.build(cap=8)
        first = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1", host="node7")
        task = await executor.task()
        second = world.compile(build, "sub/b")
        await settle()
        links = []
        for name in "pq":
            links.append(world.link(build, name))
            await settle()
        assert isinstance((await links[0].result())[1], wire.RunHere)

        reply = await build.status()
        (shown,) = reply["executors"]
        assert (shown["host"], shown["task"]) == ("node7", shown["running"]["id"])
        running = shown["running"]
        assert (running["target"], running["source"], running["kind"]) == ("a.o", "a.c", "compile")
        assert (running["attempt"], running["second"]) == (1, False)
        assert running["command"] == "gcc -c -o a.o a.c"
        assert running["build"].encode() == build.build
        here = reply["submit_host"]
        assert [(it["target"], it["kind"]) for it in here["running"]] == [("p", "link")]
        assert [(it["target"], it["waits_for"], it["run_s"]) for it in here["waiting"]] == [
            ("sub/b.o", "executor", None),
            ("q", "slot", None),
        ]
        assert here["waiting_in_all"] == 2
        (progress,) = reply["builds"]
        assert [progress[key] for key in ("tasks", "done", "running", "running_here", "waiting")] == [4, 0, 1, 1, 2]

        await executor.done(task)
        await first.result()
        first.close()
        await settle()
        (progress,) = (await build.status())["builds"]
        assert [progress[key] for key in ("tasks", "done", "running", "running_here", "waiting")] == [4, 1, 1, 1, 1]
        for runner in (second, *links):
            runner.close()
        await settle()
        reply = await build.status()
        assert reply["submit_host"] == {"running": [], "waiting": [], "waiting_in_all": 0}
        assert reply["builds"][0]["done"] == 4


async def test_of_many_waiting_tasks_some_are_named_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "MOST_WAITING", 3)
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        build = await world.build()
        runners = []
        for number in range(5):
            runners.append(world.compile(build, f"u{number}"))
            await settle()
        here = (await build.status())["submit_host"]
        assert [it["target"] for it in here["waiting"]] == ["u0.o", "u1.o", "u2.o"]
        assert here["waiting_in_all"] == 5
        for runner in runners:
            runner.close()


async def test_names_that_are_not_text_do_not_break_the_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        build = await world.build()
        runner = world.compile(build, "\udcff")
        await settle()
        (task,) = (await build.status())["submit_host"]["waiting"]
        assert task["target"].endswith(".o")
        runner.close()


async def test_a_build_is_shown_as_the_user_has_typed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        typed, plain = await world.build(typed=(b"make", b"-j4")), await world.build()
        assert [build["argv"] for build in (await plain.status())["builds"]] == [["make", "-j4"], ["make"]]
        for build in (typed, plain):
            await build.finish()

"""The whole server: misbehaving peers of the Unix socket, and a shortage of descriptors."""

from __future__ import annotations

import errno
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import spraycc
from spraycc.server.frontend import frontend
from spraycc.wire import runner as wire
from tests.sim.server.world import CommandLine, Connection, serving


@pytest.mark.parametrize(
    ("item", "words"),
    [(["nonsense"], "nonsense"), (["build-close", 0, 1.0], "does not begin with"), ([], "")],
)
async def test_a_connection_that_begins_with_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: Any, words: str
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = Connection(world.door)
        peer.send_item(item)
        refused = await peer.receive()
        assert isinstance(refused, wire.Refused)
        assert words in refused.text
        assert await peer.receive() is None
        peer.close()


async def test_a_peer_that_says_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = Connection(world.door)
        began = trio.current_time()
        assert await peer.receive() is None
        assert trio.current_time() - began == pytest.approx(frontend.FIRST_FRAME_S)
        peer.close()


async def test_a_runner_of_another_version_is_refused_and_its_build_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        peer = Connection(world.door)
        peer.send_item(["task", 99, "auto", build.build, "what", "ever"])
        refused = await peer.receive()
        assert isinstance(refused, wire.Refused)
        peer.close()
        await build.finish()
        assert any("was installed anew" in text for text in build.notices)


@pytest.mark.parametrize("what", ["a second build", "close without a build", "a task's frame"])
async def test_a_command_line_that_breaks_the_protocol_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = await world.build() if what == "a second build" else CommandLine(world.door)
        if what == "a second build":
            peer.send(wire.OpenBuild(None, (b"make",), b"/", {}))
        else:
            await peer.hello()
            peer.send(wire.CloseBuild(0, 1.0) if what.startswith("close") else wire.Done())
        assert isinstance(await peer.answer(), wire.Refused)
        assert await peer.answer() is None
        peer.close()


async def test_a_command_line_of_another_version_may_look_and_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = CommandLine(world.door)
        await peer.hello(version=99)
        assert (await peer.status())["server"]["release"] == spraycc.__version__
        peer.send(wire.OpenBuild(None, (b"make",), b"/", {}))
        assert isinstance(await peer.answer(), wire.Refused)
        peer.close()
        peer = CommandLine(world.door)
        await peer.hello(version=99)
        peer.send(wire.Stop(if_idle=True))
        await world.ended.wait()
        peer.close()


async def test_a_build_that_can_not_be_opened_is_refused_and_the_connection_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = CommandLine(world.door)
        await peer.hello()

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "mkfifo", fail)
            peer.send(wire.OpenBuild(None, (b"make",), b"/", asdict(world.settings)))
            refused = await peer.answer()
        assert isinstance(refused, wire.Refused)
        assert "No space left" in refused.text
        assert (await peer.status())["builds"] == []
        peer.close()


async def test_runners_wait_where_there_is_no_descriptor_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        for _ in range(5):
            world.door.fail(errno.EMFILE)
        began = trio.current_time()
        runner = world.runner(build, "gcc", "--version")
        await runner.result()
        assert trio.current_time() - began == pytest.approx(5 * frontend.SHORT_S)
        assert caplog.text.count("runners wait") == 1
        runner.close()


async def test_an_error_of_accept_that_is_no_shortage_ends_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server retries only a named list of errors. Every other error ends the server."""
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with serving(tmp_path, monkeypatch) as world:
            world.door.fail(errno.EINVAL)
            await world.ended.wait()

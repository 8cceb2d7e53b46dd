"""The server's side of executors' connections, with real TLS on socket pairs: the handshake, and misbehaving peers."""

from __future__ import annotations

import errno
import os
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from spraycc.model import ExecutorId, TaskId
from spraycc.scheduler.events import AttemptEnded, ExecutorJoined, ExecutorLost, Outcome
from spraycc.server.fleet import connection, listener
from spraycc.server.fleet.connection import ExecutorLink
from spraycc.server.fleet.credentials import Credentials, make_credentials
from spraycc.wire import executor as wire
from spraycc.wire import framing as wire_framing
from spraycc.wire.framing import FrameReader, encode_frame
from tests.sim.server.executor_peers import (
    READY,
    ended,
    exactly,
    is_closed,
    send,
    send_contents,
    serving,
    task,
)


@pytest.fixture(scope="module")
def session() -> Credentials:
    return make_credentials()


async def test_an_executor_that_knows_the_secret_joins_and_its_end_is_an_event(session: Credentials) -> None:
    async with serving(session) as server:
        stream = await server.ready()
        await trio.aclose_forcefully(stream)
        assert await server.hub.events.receive() == ExecutorLost(ExecutorId("e1"))
        assert server.hub.links == {}


async def test_a_wrong_secret_gets_nothing(session: Credentials) -> None:
    async with serving(session) as server:
        stream = await server.proved(secret=b"x" * 32)
        assert await is_closed(stream)
        assert server.hub.events.statistics().current_buffer_used == 0


async def test_a_replayed_proof_gets_nothing(session: Credentials) -> None:
    async with serving(session) as server:
        first = await server.tls()
        nonce = wire.read_challenge(await exactly(first, wire.CHALLENGE_BYTES))
        second = await server.tls()
        assert wire.read_challenge(await exactly(second, wire.CHALLENGE_BYTES)) != nonce
        await second.send_all(wire.proof(session.secret, nonce, b"e1"))
        assert await is_closed(second)


@pytest.mark.parametrize("name", [b"", b"a/b", b"\xff", b"a b"])
async def test_an_id_that_is_no_name_gets_nothing(session: Credentials, name: bytes) -> None:
    async with serving(session) as server:
        assert await is_closed(await server.proved(name))


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.0\r\n\r\n", b"\0" * 5000, b"\xff" * 100])
async def test_a_peer_without_tls_gets_no_byte_of_ours(session: Credentials, garbage: bytes) -> None:
    async with serving(session) as server:
        stream = await server.plain()
        await stream.send_all(garbage)
        received = b""
        with trio.fail_after(5):
            try:
                while more := await stream.receive_some(4096):
                    received += more
            except trio.BrokenResourceError:
                pass
        assert len(received) < 16  # a TLS alert at most
        assert b"spraycc" not in received


async def test_an_older_tls_is_refused(session: Credentials) -> None:
    async with serving(session) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=session.certificate)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        stream = trio.SSLStream(await server.plain(), context)
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()


async def test_an_executor_of_another_session_does_not_trust_this_server(session: Credentials) -> None:
    async with serving(session) as server:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await server.tls(make_credentials())
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("stage", ["plain", "tls", "proof"])
async def test_a_silent_peer_is_closed_after_the_handshakes_time(session: Credentials, stage: str) -> None:
    async with serving(session) as server:
        began = trio.current_time()
        if stage == "plain":
            stream: Any = await server.plain()
        elif stage == "tls":
            stream = await server.tls()
            await exactly(stream, wire.CHALLENGE_BYTES)
        else:
            stream = await server.proved()
        assert await is_closed(stream)
        limit_s = connection.READY_S if stage == "proof" else listener.HANDSHAKE_S
        assert trio.current_time() - began == pytest.approx(limit_s)


@pytest.mark.parametrize("stage", ["tls", "proof", "ready"])
async def test_a_peer_that_sends_byte_by_byte_gains_no_time(session: Credentials, stage: str) -> None:
    async with serving(session) as server:
        began = trio.current_time()
        if stage == "tls":
            stream: Any = await server.plain()
            data = b"\x16\x03\x01\x02\x00\x01" + bytes(500)
        elif stage == "proof":
            stream = await server.tls()
            nonce = wire.read_challenge(await exactly(stream, wire.CHALLENGE_BYTES))
            data = wire.proof(session.secret, nonce, b"slow")
        else:
            stream = await server.proved()
            data = encode_frame(wire.FROM_EXECUTOR.pack(wire.Ready("0", "host" * 100, 1, ("overlay",), {})))
        limit_s = connection.READY_S if stage == "ready" else listener.HANDSHAKE_S

        async def send_slowly() -> None:
            for at in range(len(data)):
                await stream.send_all(data[at : at + 1])
                await trio.sleep(1.0)

        with pytest.raises(trio.BrokenResourceError):
            await send_slowly()
        assert trio.current_time() - began == pytest.approx(limit_s, abs=1.0)
        assert server.hub.links == {}


async def test_more_than_a_proof_from_one_who_has_none_is_not_read(session: Credentials) -> None:
    async with serving(session) as server:
        stream = await server.tls()
        await exactly(stream, wire.CHALLENGE_BYTES)
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(bytes(8 << 20))  # more than the kernel's buffers hold
        assert server.hub.links == {}


async def test_silent_peers_do_not_keep_an_honest_one_out_for_ever(session: Credentials) -> None:
    """The listener serves a limited number at once. An honest peer waits while the peers before it time out."""
    async with serving(session) as server:
        for _ in range(2 * listener.UNPROVED):
            await server.plain()
        await trio.testing.wait_all_tasks_blocked()
        assert server.pairs.waiting == listener.UNPROVED
        began = trio.current_time()
        await server.ready()
        assert trio.current_time() - began == pytest.approx(2 * listener.HANDSHAKE_S)


async def test_executors_that_have_proved_themselves_take_no_place_of_others(session: Credentials) -> None:
    async with serving(session) as server:
        for number in range(listener.UNPROVED + 1):
            await server.ready(b"e%d" % number)
        assert len(server.hub.links) == listener.UNPROVED + 1
        assert trio.current_time() == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.ENETDOWN])
async def test_an_accept_that_fails_is_tried_again(
    session: Credentials, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(session) as server:
        for _ in range(2 * listener.UNPROVED):  # no failed accept takes a place permanently
            server.pairs.fail(number)
        await server.ready()
        assert trio.current_time() == pytest.approx(2 * listener.UNPROVED * listener.ACCEPT_AGAIN_S)
        assert os.strerror(number) in caplog.text


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">I", 2**31) + b"x",
        struct.pack(">I", 3) + b"\xff\xff\xff",
        encode_frame(["unknown"]),
        encode_frame(["start"]),
        encode_frame(["ended", 1]),
        encode_frame({"a": 1}),
        encode_frame(["ready", 1, 2, 3, 4, 5]),
    ],
)
async def test_garbage_after_the_handshake_costs_that_executor_alone(session: Credentials, frame: bytes) -> None:
    async with serving(session) as server:
        good = await server.ready(b"good")
        bad = await server.ready(b"bad")
        await bad.send_all(frame)
        assert await server.hub.events.receive() == ExecutorLost(ExecutorId("bad"))
        assert list(server.hub.links) == ["good"]
        await send(good, wire.Ping(7))
        reader = FrameReader()
        while (item := reader.next_item()) is None:
            reader.feed(await good.receive_some(4096))
        assert item == ["pong", 7, {}, 0]


async def test_a_task_goes_out_without_our_variables_and_its_result_comes_back(
    session: Credentials, tmp_path: Path
) -> None:
    async with serving(session) as server:
        stream = await server.ready()
        work = task(tmp_path)
        server.hub.links[ExecutorId("e1")].start(work, 1)
        reader = FrameReader()
        while (item := reader.next_item()) is None:
            reader.feed(await stream.receive_some(65536))
        start = wire.TO_EXECUTOR.unpack(item)
        assert isinstance(start, wire.StartTask)
        assert start.env == (b"A=b",)
        made = wire.MadeFile(TaskId(1), os.fsencode(tmp_path / "a.o"), 0o640, 6, None, b"object")
        await send(stream, wire.TaskOutput(TaskId(1), 2, b"warning\n"), made, ended())
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e1"), TaskId(1), Outcome.DONE)
        assert (tmp_path / "a.o").read_bytes() == b"object"
        assert server.hub.finished == [(1, 0, 0)]
        work.answer(0, 0)
        assert work.peer.sent == [["out", 2, b"warning\n"], ["exit", 0, 0]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "outcome"), [({"refusal": "copy-up"}, Outcome.REFUSED), ({"signal": 9}, Outcome.KILLED)]
)
async def test_an_attempt_that_does_not_count_leaves_no_trace(
    session: Credentials, tmp_path: Path, changes: dict[str, Any], outcome: Outcome
) -> None:
    async with serving(session) as server:
        stream = await server.ready()
        work = task(tmp_path)
        server.hub.links[ExecutorId("e1")].start(work, 1)
        made = wire.MadeFile(TaskId(1), os.fsencode(tmp_path / "a.o"), 0o640, 9, None, b"part")
        await send(stream, wire.TaskOutput(TaskId(1), 2, b"words"), made, ended(**changes))
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e1"), TaskId(1), outcome)
        assert list(tmp_path.iterdir()) == []
        assert server.hub.finished == []
        assert work.peer.sent == []  # type: ignore[attr-defined]


async def test_an_executor_that_cancels_unasked_is_leaving_and_gets_no_more(
    session: Credentials, tmp_path: Path
) -> None:
    async with serving(session) as server:
        stream = await server.ready()
        server.hub.links[ExecutorId("e1")].start(task(tmp_path), 1)
        await send(stream, ended(cancelled=True))
        assert await server.hub.events.receive() == ExecutorLost(ExecutorId("e1"))


def outside(root: Path) -> list[Callable[[], wire.MadeFile]]:
    names = [b"/etc/x", os.fsencode(root) + b"/../x", os.fsencode(root) + b"/a/../../x", b"x"]
    return [lambda name=name: wire.MadeFile(TaskId(1), name, 0o644, 0, None, b"") for name in names]  # type: ignore[misc]


@pytest.mark.parametrize("number", range(4))
async def test_a_path_outside_the_capture_ends_the_connection_and_writes_nothing(
    session: Credentials, tmp_path: Path, number: int
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    async with serving(session) as server:
        stream = await server.ready()
        server.hub.links[ExecutorId("e1")].start(task(root), 1)
        await send(stream, outside(root)[number](), ended())
        assert await server.hub.events.receive() == ExecutorLost(ExecutorId("e1"))
    assert list(tmp_path.rglob("*")) == [root]


async def test_a_setuid_file_has_the_command_run_here(session: Credentials, tmp_path: Path) -> None:
    async with serving(session) as server:
        stream = await server.ready()
        server.hub.links[ExecutorId("e1")].start(task(tmp_path), 1)
        made = wire.MadeFile(TaskId(1), os.fsencode(tmp_path / "su"), 0o4755, 1, None, b"x")
        await send(stream, made, ended())
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e1"), TaskId(1), Outcome.REFUSED)
    assert list(tmp_path.iterdir()) == []


async def test_one_that_comes_again_replaces_itself(session: Credentials, tmp_path: Path) -> None:
    """A batch job was started again, and the server does not know yet that its first connection is dead."""
    async with serving(session) as server:
        first = await server.ready()
        server.hub.links[ExecutorId("e1")].start(task(tmp_path), 1)
        second = await server.proved()
        await send(second, READY)
        assert await server.hub.events.receive() == ExecutorLost(ExecutorId("e1"))
        assert await server.hub.events.receive() == ExecutorJoined(ExecutorId("e1"), host="host", holds_all=True)
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            while await first.receive_some(1000):  # the task that the first connection was given
                pass
        server.hub.links[ExecutorId("e1")].start(task(tmp_path, 2), 1)
        await send(second, ended(2))
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e1"), TaskId(2), Outcome.DONE)


async def test_an_id_stands_for_one_executor_whichever_listener_it_came_by(session: Credentials) -> None:
    """When settings change, the server makes a second session. Executors of the first session stay for a while."""
    links: dict[ExecutorId, ExecutorLink] = {}
    async with serving(session, links) as first, serving(session, links, first.hub) as second:
        older = await first.ready()
        newer = await second.proved()
        await send(newer, READY)
        assert await first.hub.events.receive() == ExecutorLost(ExecutorId("e1"))
        assert await first.hub.events.receive() == ExecutorJoined(ExecutorId("e1"), host="host", holds_all=True)
        assert await is_closed(older)
        assert len(links) == len(first.hub.links) == 1


async def test_three_of_one_id_at_once_leave_one(session: Credentials) -> None:
    async with serving(session) as server:
        await server.ready()
        for stream in [await server.proved() for _ in range(3)]:
            with suppress(trio.BrokenResourceError):
                await send(stream, READY)
        held = 1
        with trio.move_on_after(1):
            while True:
                held += 1 if isinstance(await server.hub.events.receive(), ExecutorJoined) else -1
                assert held in (0, 1)
        assert held == len(server.hub.links) == 1


async def test_a_silent_executor_is_given_up(session: Credentials) -> None:
    async with serving(session) as server:
        await server.ready()
        link = server.hub.links[ExecutorId("e1")]
        await trio.sleep(20.0)
        link.beat(1, heartbeat_s=5.0, lost_after_s=20.0)
        await trio.testing.wait_all_tasks_blocked()
        assert list(server.hub.links) == ["e1"]
        await trio.sleep(0.1)
        link.beat(2, heartbeat_s=5.0, lost_after_s=20.0)
        assert await server.hub.events.receive() == ExecutorLost(ExecutorId("e1"))


async def test_an_executor_that_can_capture_nothing_is_not_used(session: Credentials) -> None:
    async with serving(session) as server:
        stream = await server.proved()
        await send(stream, wire.Ready("0", "node7", 1, (), {"overlay": "EPERM"}))
        reader = FrameReader()
        while (item := reader.next_item()) is None:
            reader.feed(await stream.receive_some(4096))
        assert item == ["leave"]
        assert server.hub.unfit
        assert "node7" in server.hub.unfit[0]
        assert "EPERM" in server.hub.unfit[0]


@pytest.mark.parametrize("what", ["executor_gone", "attempt_over"])
async def test_a_fault_at_the_end_of_a_connection_leaves_its_id_free(session: Credentials, what: str) -> None:
    async with serving(session) as server:
        stream = await server.ready()
        link = server.hub.links[ExecutorId("e1")]
        if what == "attempt_over":
            link.start(task(Path("/w")), 1)

        def fail(*_: object) -> None:
            raise RuntimeError("a fault of ours")

        setattr(server.hub, what, fail)
        await trio.aclose_forcefully(stream)
        with trio.fail_after(10):
            await link.ended.wait()
        delattr(server.hub, what)
        await server.proved()


async def test_a_large_output_below_a_link_has_the_command_run_here(session: Credentials, tmp_path: Path) -> None:
    """A directory on the submit host became a link after the task began: the executor is not at fault."""
    async with serving(session) as server:
        stream = await server.ready()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "d").symlink_to(tmp_path / "elsewhere")
        link = server.hub.links[ExecutorId("e1")]
        link.start(task(tmp_path), 1)
        size = 4 * wire_framing.CHUNK_BYTES
        await send(stream, wire.MadeFile(TaskId(1), os.fsencode(tmp_path / "d/big"), 0o644, size, None, b""))
        await send_contents(stream, bytes(size))
        await send(stream, ended())
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e1"), TaskId(1), Outcome.REFUSED)
        assert list((tmp_path / "elsewhere").iterdir()) == []

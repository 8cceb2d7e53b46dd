"""When an executor pings a silent server, and when it gives up on the server."""

from __future__ import annotations

from typing import cast

import pytest
import trio
from trio.testing import MockClock

from spraycc.executor.link import Link, LinkLost
from spraycc.executor.main import _watch_silence
from spraycc.wire.executor import Ping
from spraycc.wire.schema import Message
from spraycc.wire.session_file import Session

HEARTBEAT_S, LOST_AFTER_S = 5.0, 20.0
SESSION = Session((), "", bytes(32), b"/ws", None, HEARTBEAT_S, LOST_AFTER_S, "/l")


class QuietLink:
    """In place of a Link: records the time of each send, and receives an answer to the first pings."""

    def __init__(self, answers: int, sends: bool = True) -> None:
        self.heard_at = self._began = trio.current_time()
        self._answers = answers
        self._sends = sends
        #: number and time of each ping
        self.pings: list[tuple[int, float]] = []

    async def send(self, message: Message) -> None:
        assert isinstance(message, Ping)
        self.pings.append((message.number, trio.current_time() - self._began))
        if not self._sends:
            await trio.sleep_forever()
        if message.number <= self._answers:
            self.heard_at = trio.current_time()


async def watch(link: QuietLink) -> float:
    """Watches until the executor gives up on the server; returns the time of that."""
    began = trio.current_time()
    with pytest.RaisesGroup(pytest.RaisesExc(LinkLost, match="nothing was heard from the server for 20.0 s")):
        await _watch_silence(cast("Link", link), SESSION)
    return trio.current_time() - began


async def test_a_silent_server_is_asked_and_given_up(autojump_clock: MockClock) -> None:
    link = QuietLink(answers=0)
    assert await watch(link) == LOST_AFTER_S
    assert link.pings == [(1, 5.0), (2, 10.0), (3, 15.0)]


async def test_each_answer_is_worth_the_whole_time(autojump_clock: MockClock) -> None:
    link = QuietLink(answers=100)
    assert await watch(link) == 100 * HEARTBEAT_S + LOST_AFTER_S
    assert [at for _, at in link.pings] == [HEARTBEAT_S * n for n in range(1, 104)]


async def test_one_ping_at_a_time_waits_to_be_sent(autojump_clock: MockClock) -> None:
    link = QuietLink(answers=0, sends=False)
    assert await watch(link) == LOST_AFTER_S
    assert link.pings == [(1, HEARTBEAT_S)]

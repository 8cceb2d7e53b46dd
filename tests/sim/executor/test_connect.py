"""Which of the server's addresses an executor uses, and how long a silent address delays the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from spraycc.errors import ServerUnavailable
from spraycc.executor import link
from spraycc.executor.link import CONNECT_TIMEOUT_S, HEAD_START_S, Link, connect
from spraycc.wire.session_file import Session


def session(*hosts: str) -> Session:
    return Session(tuple((host, 1) for host in hosts), "", bytes(32), b"/ws", None, 5.0, 20.0, "/l")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds after which each host answers. All other hosts never answer."""
    found: dict[str, float] = {}

    async def run(own: Any, *_: object) -> Link:
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                await trio.sleep(found.get(own.host, float("inf")))
        except trio.TooSlowError:
            raise ServerUnavailable(f"{own.name}: no answer") from None
        return cast("Link", own.host)

    monkeypatch.setattr(link._Attempt, "run", run)
    monkeypatch.setattr(link, "tls_context", lambda certificate: None)
    return found


@pytest.mark.parametrize(
    ("hosts", "expected", "after_s"),
    [
        ({"a": 0.0, "b": 0.0}, "a", 0.0),
        ({"a": 0.5, "b": 0.0}, "a", 0.5),
        # an address has a head start; its attempt goes on when the head start is over
        ({"a": 3.0, "b": 0.5}, "b", HEAD_START_S + 0.5),
        ({"a": 1.2, "b": 0.5}, "a", 1.2),
        ({"a": float("inf"), "b": float("inf"), "c": float("inf"), "d": 0.0}, "d", 3 * HEAD_START_S),
    ],
)
async def test_the_first_that_answers_is_taken(
    autojump_clock: MockClock, answers: dict[str, float], hosts: Mapping[str, float], expected: str, after_s: float
) -> None:
    answers.update(hosts)
    began = trio.current_time()
    link: object = await connect(session(*hosts), "e1")
    assert link == expected
    assert trio.current_time() - began == pytest.approx(after_s)


async def test_where_none_answers_each_is_named(autojump_clock: MockClock, answers: dict[str, float]) -> None:
    with pytest.raises(ServerUnavailable, match="no server: a:1: no answer; b:1: no answer"):
        await connect(session("a", "b"), "e1")

"""Work goes on where a process may have no more threads."""

from __future__ import annotations

import threading

import pytest
import trio

from spraycc.threads import run_in_thread


async def test_it_is_done_in_a_thread() -> None:
    assert await run_in_thread(threading.get_ident) != threading.get_ident()


async def test_it_is_done_here_where_there_can_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio._threads, "start_thread_soon", refuse)
    assert await run_in_thread(threading.get_ident) == threading.get_ident()


async def test_its_own_failure_is_not_tried_twice() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError):
        await run_in_thread(fail)
    assert len(calls) == 1

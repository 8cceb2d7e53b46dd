"""How many more links fit into the submit host's memory."""

from __future__ import annotations

import pytest
import trio

from spraycc.server.host.memory import GROWS_S, PLENTY, MemoryRoom
from spraycc.system.memory import Memory


@pytest.mark.parametrize(
    ("available", "size", "begun", "room"),
    [(1000, 100, 0, 10), (1099, 100, 3, 7), (1000, 100, 20, 0), (None, 100, 3, PLENTY), (1000, 0, 3, PLENTY)],
)
async def test_processes_that_have_just_begun_count_with_their_size(
    monkeypatch: pytest.MonkeyPatch, available: int | None, size: int, begun: int, room: int
) -> None:
    monkeypatch.setattr(Memory, "available_bytes", lambda _memory: available)
    found = MemoryRoom()
    for _ in range(begun):
        found.begins()
    assert found.measure(size) == (room, available)


async def test_a_process_that_has_grown_shows_in_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "available_bytes", lambda _memory: 1000)
    found = MemoryRoom()
    found.begins()
    await trio.sleep(GROWS_S / 2)
    found.begins()
    assert found.measure(100)[0] == 8
    await trio.sleep(GROWS_S / 2 + 0.1)
    assert found.measure(100)[0] == 9
    await trio.sleep(GROWS_S)
    assert found.measure(100)[0] == 10

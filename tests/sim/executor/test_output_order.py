"""The order in which an executor sends a command's output, while the command writes to both streams."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from spraycc.executor import tasks
from spraycc.executor.box import Ended
from spraycc.executor.capture_errors import CaptureErrorScanner
from spraycc.executor.link import Link
from spraycc.executor.tasks import Tasks
from spraycc.wire.executor import FROM_EXECUTOR, TaskOutput
from spraycc.wire.framing import FrameReader

#: lines of each stream
LINES = 20


class SlowWire:
    """In place of a connection within one host: each send waits for the network."""

    is_within_host = True

    def __init__(self) -> None:
        self.received = FrameReader()

    async def send(self, data: Any) -> None:
        await trio.sleep(1)
        self.received.feed(data)


async def box_that_writes_to_both(*_: object, on_output: Any, on_tick: Any, **__: object) -> Ended:
    """Writes numbered lines to both streams; ticks come in between."""

    async def lines(descriptor: int) -> None:
        for number in range(LINES):
            await on_output(descriptor, b"%d\n" % number)
            await trio.sleep(0.05)

    async def ticks() -> None:
        for _ in range(LINES):
            await trio.sleep(0.2)
            await on_tick()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines, 1)
        nursery.start_soon(lines, 2)
        nursery.start_soon(ticks)
    return Ended(0, 0, 0.0, 0.0, 0)


async def test_each_stream_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "run_box", box_that_writes_to_both)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=trio.current_time))
    wire = SlowWire()
    host: Any = SimpleNamespace(
        workspace=b"/w", recorder=None, scratch=None, pid_namespace=False, box=b"", null=-1,
        memory=SimpleNamespace(kills=lambda: 0),
    )  # fmt: skip
    start: Any = SimpleNamespace(task=1, one_stream=False, terminals=(), window=(0, 0), env=())
    attempt = tasks._Attempt(start, 0.0, scanner=CaptureErrorScanner(()))
    order: Any = None
    await Tasks(host, Link(wire))._run(attempt, order)  # type: ignore[arg-type]
    sent = outputs(wire.received) + attempt.delayed.all()
    for descriptor in (1, 2):
        assert [int(data) for of, data in sent if of == descriptor] == list(range(LINES))


def outputs(reader: FrameReader) -> list[tuple[int, bytes]]:
    """All output that the server has received: (descriptor, bytes)."""
    found = []
    while (item := reader.next_item()) is not None:
        message = FROM_EXECUTOR.unpack(item)
        assert isinstance(message, TaskOutput)
        found.append((message.fd, message.data))
    return found

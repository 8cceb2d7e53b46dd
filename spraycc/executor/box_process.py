"""Runs one command in the box from start to end, and passes its output on as it arrives."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Awaitable, Callable

import trio

from spraycc.executor.box import BoxOrder, BoxProcess, Ended, NotStarted, Streams, parse_report, start_box

#: Called with a descriptor (1 or 2) and bytes. An exception ends the run.
OnOutput = Callable[[int, bytes], Awaitable[None]]
#: Called every TICK_S while the command runs. An exception ends the run.
OnTick = Callable[[], Awaitable[None]]
TICK_S = 0.2
#: Starts an order with a stdin and streams.
Start = Callable[[BoxOrder, int, Streams], BoxProcess]

#: Time for the box to end all processes after SIGTERM, and again to end itself after SIGKILL.
KILL_GRACE_S = 1.0

_READ_BYTES = 64 * 1024


async def run_box(
    box: bytes,
    order: BoxOrder,
    *,
    stdin: int,
    streams: Streams,
    on_output: OnOutput,
    on_start: Callable[[BoxProcess], None] = lambda process: None,
    on_tick: OnTick | None = None,
    start: Start | None = None,
) -> Ended | NotStarted:
    """Run a command, and wait for the end of the command and all its processes.

    A box of its own runs the command, unless ``start`` gives the process of another box.

    This reads output only as fast as ``on_output`` takes it. Also after an exception or a cancellation, no process of
    the command runs, unless it could not be killed within twice :data:`KILL_GRACE_S`.

    Raises:
        OSError: the box could not be started.
        Exception: any that ``on_output`` or ``on_tick`` raises.
    """
    process = start(order, stdin, streams) if start is not None else start_box(box, order, stdin, streams)
    try:
        on_start(process)
        report = await _follow(process, on_output, on_tick)
        process.reap()
        return parse_report(report)
    finally:
        if not process.is_reaped:
            await _kill_and_reap(process)
        process.close()


async def _follow(process: BoxProcess, on_output: OnOutput, on_tick: OnTick | None) -> bytes:
    failures: list[Exception] = []

    async def pump(descriptor: int, number: int) -> None:
        # Caught, because a nursery would wrap the exception in a group.
        try:
            while data := await _read(descriptor):
                await on_output(number, data)
        except Exception as exc:
            failures.append(exc)
            nursery.cancel_scope.cancel()

    over = trio.Event()

    async def tick(call: OnTick) -> None:
        try:
            while True:
                with trio.move_on_after(TICK_S):
                    await over.wait()
                    return
                await call()
        except Exception as exc:
            failures.append(exc)
            nursery.cancel_scope.cancel()

    async def pumps() -> None:
        async with trio.open_nursery() as both:
            both.start_soon(pump, process.stdout, 1)
            if process.stderr is not None:
                both.start_soon(pump, process.stderr, 2)
        over.set()

    report = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pumps)
        if on_tick is not None:
            nursery.start_soon(tick, on_tick)
        report = await _read_to_end(process.report)
    if failures:
        raise failures[0]
    return report


async def _read(descriptor: int) -> bytes:
    await trio.lowlevel.wait_readable(descriptor)
    try:
        return os.read(descriptor, _READ_BYTES)
    except OSError as exc:
        if exc.errno == errno.EIO:  # a terminal that no process has open any more
            return b""
        raise


async def _read_to_end(descriptor: int) -> bytes:
    data = b""
    while more := await _read(descriptor):
        data += more
    return data


async def _kill_and_reap(process: BoxProcess) -> None:
    """Kill the box and reap it, also in a cancelled scope."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.kill(signal_number)
        with trio.move_on_after(KILL_GRACE_S, shield=True) as scope:
            await _read_to_end(process.report)
        if not scope.cancelled_caught:
            process.reap()
            return

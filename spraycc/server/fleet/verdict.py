"""Whether an attempt's result counts: the executor's report, then the proof of the files that the command read."""

from __future__ import annotations

import os

from spraycc.errors import CaptureRefusal
from spraycc.model import Kind
from spraycc.notices import executors
from spraycc.scheduler.events import Outcome
from spraycc.server.coherence.inputs import Expected, Inputs, Mismatch, Told
from spraycc.server.fleet.in_flight import InFlight
from spraycc.stamps import MISSING, describe
from spraycc.system.paths import shown
from spraycc.wire.executor import TaskEnded

#: After this many attempts on hosts that saw other files than the submit host, a task runs on the submit host.
STALE_ATTEMPTS = 2


def reported(ended: TaskEnded, *, is_aborted: bool, is_unwritable: bool) -> Outcome:
    """The outcome by the executor's report alone.

    Args:
        is_aborted: the server has asked the executor to kill the task.
        is_unwritable: a part of the result can't be written.
    """
    if ended.cancelled or is_aborted:
        return Outcome.CANCELLED
    if ended.refusal == CaptureRefusal.STALE.value:
        return Outcome.STALE
    if ended.refusal == CaptureRefusal.DIFFERENT.value:
        return Outcome.UNFIT
    if ended.refusal or is_unwritable:
        return Outcome.REFUSED
    if ended.signal:
        return Outcome.OUT_OF_MEMORY if ended.out_of_memory else Outcome.KILLED
    return Outcome.DONE


async def judge(
    flight: InFlight, ended: TaskEnded, host: str, inputs: Inputs | None, told: Told
) -> tuple[Outcome, str]:
    """The outcome, and why the attempt does not count. After DONE the attempt is chosen: write its result.

    Args:
        host: the executor's host.
        inputs: None: the task needs no proof.
        told: the stamps that the executor was told.
    """
    task = flight.task
    why = ended.text or str(flight.failure or f"status {ended.code}, signal {ended.signal}")
    outcome = reported(ended, is_aborted=flight.aborted, is_unwritable=flight.failure is not None)
    if outcome is Outcome.STALE:
        why = f"host {host}: {why}"
    if outcome is Outcome.DONE and inputs is not None and task.expected is not None:
        outcome, why = await _prove(flight, ended, host, inputs, task.expected, told, why)
        if flight.aborted:
            outcome = Outcome.CANCELLED
    # Some kernels mark a new directory as emptied, too. A complete record shows whether it was there before.
    if outcome is Outcome.DONE and (flight.reads is None or not flight.reads.complete):
        emptied = flight.staging.emptied_blindly()
        if emptied is not None:
            outcome, why = Outcome.REFUSED, executors.EMPTIED_WITHOUT_RECORD.text(directory=shown(emptied))
    if outcome is Outcome.STALE:
        if inputs is not None:
            inputs.forget_told(flight.stamps, told)
        task.stale += 1
        if task.stale >= STALE_ATTEMPTS:
            outcome = Outcome.REFUSED
    if outcome is Outcome.DONE and not task.choose(flight.attempt):
        outcome = Outcome.CANCELLED  # the other attempt's result is being written
    return outcome, why


async def _prove(
    flight: InFlight, ended: TaskEnded, host: str, inputs: Inputs, expected: Expected, told: Told, why: str
) -> tuple[Outcome, str]:
    """DONE if the command read the same files as on the submit host, else another outcome and why."""
    reads = flight.reads
    # A compile must be proved. So must another command that failed: the file that it lacked may exist by now.
    must_be_complete = flight.task.description.kind is not Kind.UNKNOWN or ended.code != 0
    if reads is None or (must_be_complete and not reads.complete):
        return Outcome.REFUSED, executors.NO_RECORD.text()
    mismatch = await inputs.check(expected, told, flight.version, reads.matched, reads.others)
    if mismatch is not None and mismatch.is_of_own_disk:
        # Another host may have the same file. A command without a compiler has no need that the scheduler could know.
        return Outcome.UNFIT if flight.task.same else Outcome.REFUSED, _other_system(mismatch, host)
    if mismatch is not None:
        return Outcome.STALE, executors.SAW_OTHER_FILES.text(host=host, difference=mismatch)
    if not reads.complete and not reads.refreshed:
        unknown = executors.RECORD_INCOMPLETE.text(host=host)
        if inputs.was_incomplete(expected):
            return Outcome.REFUSED, executors.RECORD_UNSURE.text(incomplete=unknown)
        inputs.note_incomplete(expected)
        return Outcome.STALE, unknown
    return Outcome.DONE, why


def _other_system(mismatch: Mismatch, host: str) -> str:
    path = os.fsdecode(mismatch.lookup[1:])
    theirs, ours = describe(mismatch.theirs or MISSING), describe(mismatch.ours)
    return executors.OTHER_SYSTEM_FILE.text(file=path, host=host, theirs=theirs, ours=ours)

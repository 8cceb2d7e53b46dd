"""Says why no compile of a build ran on an executor. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from spraycc.notices import interception as notices

#: A shorter build gets no explanation: executors would have saved little.
LEAST_S = 10.0
#: Reasons that are named, the most frequent first.
_MOST_REASONS = 2
#: A shell's exit status above this means a signal: Ctrl-C, or a kill.
_SIGNALLED = 128

#: Reasons of the scheduler: words behind a count, and the next step.
_FELL_BACK = {
    "here: no-executor": notices.NO_EXECUTOR,
    "here: attempts": notices.ATTEMPTS,
    "here: refused": notices.REFUSED,
    "here: memory": notices.MEMORY,
    "here: unfit": notices.UNFIT,
    "here: left": notices.LEFT,
    "here: compile-slot": notices.COMPILE_SLOT,
    "here: gave-up": notices.GAVE_UP,
}
#: The build has no executors by its settings, so the user expects none.
_WITHOUT_EXECUTORS = "here: local"

#: Causes of ``spraycc.server.builds.unwrapped``: words about the culprit, and the next step.
_CAUSES = {
    "switched-off": (notices.SWITCHED_OFF, notices.SEE_LIMITS),
    "by-path": (notices.BY_PATH, notices.SEE_SHIMS),
    "unknown-name": (notices.UNKNOWN_NAME, notices.SEE_TOOLS),
    "static": (notices.STATIC, notices.SEE_LIMITS),
    "foreign": (notices.FOREIGN, notices.SEE_LIMITS),
    "set-id": (notices.SET_ID, notices.SEE_LIMITS),
    "loader": (notices.CANT_LOAD, notices.SEE_LIMITS),
    "other-user": (notices.OTHER_USER, notices.SEE_LIMITS),
    "workspace": (notices.IN_WORKSPACE, notices.NAME_BELOW),
    "replaced": (notices.REPLACED, notices.SEE_LIMITS),
    "system-call": (notices.SYSTEM_CALL, notices.SEE_LIMITS),
}
_UNKNOWN_CAUSE = (notices.UNKNOWN_CAUSE, notices.SEE_LIMITS)


def expected_none(figures: Mapping[str, Any], least_s: float = LEAST_S) -> bool:
    """Whether a build of at least ``least_s`` seconds has compiled without executors, as its settings say."""
    reasons = figures.get("compiles_here", {}).get("reasons", {})
    return _WITHOUT_EXECUTORS in reasons and float(figures.get("wall_s", 0.0)) >= least_s


def explanation(figures: Mapping[str, Any], least_s: float = LEAST_S) -> str | None:
    """One sentence for a build of at least ``least_s`` seconds that compiled, and had no compile on an executor.

    ``figures`` are those of the server, as docs/reference/protocol.md describes them. Older servers count no compiles.
    """
    if float(figures.get("wall_s", 0.0)) < least_s or figures.get("compiles_remote", 0):
        return None
    status = int(figures.get("exit_status", 0))
    here = figures.get("compiles_here", {})
    if _WITHOUT_EXECUTORS in here.get("reasons", {}):
        return None
    if status > _SIGNALLED or (status and not here.get("reasons") and not here.get("unwrapped")):
        return None  # the user has ended the build, so its compiles had no time to run anywhere
    compiles = int(figures.get("compiles", 0))
    unwrapped = here.get("unwrapped", {})
    if not compiles:
        return notices.NO_COMPILE_SEEN.text(reason=_unwrapped(unwrapped)) if unwrapped else None
    beside = f"; beside them, {_unwrapped(unwrapped)}" if unwrapped else ""
    reasons = f"{_reasons(compiles, here)}{beside}"
    if compiles == 1:
        return notices.ONLY_ONE_HERE.text(reasons=reasons)
    return notices.NONE_ON_EXECUTORS.text(count=compiles, reasons=reasons)


def _reasons(compiles: int, here: Mapping[str, Any]) -> str:
    counts = {reason: int(count) for reason, count in here.get("reasons", {}).items()}
    without = compiles - sum(counts.values())
    if without > 0:
        counts[""] = without
    parts = []
    steps = []
    for reason, count in sorted(counts.items(), key=lambda item: -item[1])[:_MOST_REASONS]:
        if not reason:
            text = notices.NO_RESULT.text()
        else:
            text = _FELL_BACK[reason].text() if reason in _FELL_BACK else notices.OTHER_REASON.text(reason=reason)
        words, _, step = text.rpartition("; ")  # the next step of the most frequent reason stands at the end
        programs = [] if reason in _FELL_BACK else here.get("first", {}).get(reason, [])
        if count == 1:
            words = words.replace("were ", "was ", 1)
        parts.append(f"{count} {words}{_started(*programs) if len(programs) == 2 else ''}")
        steps.append(step)
    return f"{', '.join(parts)}; {steps[0]}"


def _started(program: str, starter: str) -> str:
    return f" ({program}, started by {starter})" if starter else f" ({program})"


def _unwrapped(found: Mapping[str, Any]) -> str:
    """A compiler without a runner: its path, the program that executed it, and the cause."""
    names = {key: str(found.get(key, "?")) for key in ("compiler", "by", "culprit")}
    by = os.path.basename(names["by"])
    words, step = _CAUSES.get(str(found.get("cause")), _UNKNOWN_CAUSE)
    cause = words.text(program=names["culprit"]) if words.fields else words.text()
    executed = notices.EXECUTED_BELOW if words is notices.REPLACED else notices.EXECUTED_BY
    return executed.text(compiler=names["compiler"], program=by, cause=cause, step=step.text())

"""Says why no compile of a build ran on an executor. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

#: A shorter build gets no explanation: executors would have saved little.
LEAST_S = 10.0
#: Reasons that are named, the most frequent first.
_MOST_REASONS = 2
#: A shell's exit status above this means a signal: Ctrl-C, or a kill.
_SIGNALLED = 128

_SEE_WHY = "see 'spraycc why'"
_SEE_TASKS = "see 'spraycc why --all'"
_SEE_STATE = "see 'spraycc status' and 'spraycc doctor'"
_SEE_LIMITS = 'see docs/explanation/interception.md, "Limits"'

#: Reasons of the scheduler: words behind a count, and the next step.
_FELL_BACK = {
    "here: no-executor": ("found no executor in time", _SEE_STATE),
    "here: attempts": ("failed on executors", _SEE_TASKS),
    "here: refused": ("were refused by executors", _SEE_TASKS),
    "here: memory": ("needed more memory than the executors' hosts have", _SEE_TASKS),
    "here: unfit": ("suited no executor's host", _SEE_TASKS),
    "here: left": ("came when `spraycc` was gone, and no executor was connected", _SEE_TASKS),
    "here: compile-slot": ("took compile slots of this host, where no executor was free", _SEE_STATE),
    "here: gave-up": ("came when the build had given up its executors", _SEE_TASKS),
}
#: The build has no executors by its settings, so the user expects none.
_WITHOUT_EXECUTORS = "here: local"
_NO_RESULT = ("had no result when the build ended", _SEE_STATE)

#: Causes of ``spraycc.server.builds.unwrapped``: words about the culprit, and the next step.
_CAUSES = {
    "switched-off": ("an empty SPRAYCC_EXEC switches interception off", _SEE_LIMITS),
    "by-path": (
        "shims on PATH intercept in this build, and no shim sees a compiler that is called by its path",
        'see docs/explanation/interception.md, "Shims on PATH instead"',
    ),
    "unknown-name": (
        "SprayCC knows no compiler of the name {culprit}",
        'see docs/explanation/capture.md, "The user\'s own compilers"',
    ),
    "static": ("{culprit} is a static program, which can't be intercepted", _SEE_LIMITS),
    "foreign": ("{culprit} is a program for another kind of CPU, which can't be intercepted", _SEE_LIMITS),
    "set-id": ("{culprit} is setuid or setgid, so it can't be intercepted", _SEE_LIMITS),
    "loader": ("{culprit} can't load the library that intercepts", _SEE_LIMITS),
    "other-user": ("{culprit} runs as another user, so it can't be intercepted", _SEE_LIMITS),
    "workspace": (
        "{culprit} is in the workspace, and compilers below programs that a build has made are not intercepted",
        "name the program with --intercept-below",
    ),
    "replaced": (
        "a program between them can't be intercepted: it is static, say, or it is in the workspace",
        _SEE_LIMITS,
    ),
    "system-call": ("{culprit} executes programs without the C library", _SEE_LIMITS),
}


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
        return f"no compile went through SprayCC: {_unwrapped(unwrapped)}" if unwrapped else None
    beside = f"; beside them, {_unwrapped(unwrapped)}" if unwrapped else ""
    none = f"none of {compiles} compiles ran on an executor" if compiles > 1 else "the only compile ran on no executor"
    return f"{none}: {_reasons(compiles, here)}{beside}"


def _reasons(compiles: int, here: Mapping[str, Any]) -> str:
    counts = {reason: int(count) for reason, count in here.get("reasons", {}).items()}
    without = compiles - sum(counts.values())
    if without > 0:
        counts[""] = without
    parts = []
    steps = []
    for reason, count in sorted(counts.items(), key=lambda item: -item[1])[:_MOST_REASONS]:
        words, step = _FELL_BACK.get(reason, (f'were "{reason}"', _SEE_WHY)) if reason else _NO_RESULT
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
    text = f"{names['compiler']} was {'executed below' if found.get('cause') == 'replaced' else 'executed by'} {by}"
    words, step = _CAUSES.get(str(found.get("cause")), ("the cause is not known", _SEE_LIMITS))
    return f"{text} ({words.format(culprit=names['culprit'])}); {step}"

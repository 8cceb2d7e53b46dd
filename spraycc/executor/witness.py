"""Whether this host sees the server's workspace: a file that the server made there must be found here."""

from __future__ import annotations

import os

import trio

#: A shared file system may show a new file late: what it knows of a directory is some seconds old.
_PATIENCE_S = 5.0
_PAUSE_S = 0.25


async def missing_workspace(workspace: bytes, witness: tuple[str, str] | None) -> str:
    """Why the workspace is not the one of the submit host; empty where it is. Waits a few seconds at most.

    A directory of the same name on another disk would take outputs that nobody ever sees.
    """
    if witness is None:
        return ""
    name, text = witness
    path = os.path.join(workspace, os.fsencode(name))
    end = trio.current_time() + _PATIENCE_S
    while True:
        why = _differs(path, text)
        if not why or not os.path.isdir(workspace) or trio.current_time() >= end:
            break
        await trio.sleep(_PAUSE_S)
    if not why:
        return ""
    shown = os.fsdecode(workspace)
    if not os.path.isdir(workspace):
        return f"{shown} is not a directory on this host"
    return f"{shown} is not the submit host's directory of that name ({why})"


def _differs(path: bytes, text: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return "" if file.read(len(text) + 1) == text else "the server's file in it is another one"
    except OSError as exc:
        return f"the server's file is not in it: {exc.strerror}"

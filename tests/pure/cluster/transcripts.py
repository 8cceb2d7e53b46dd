"""The recorded output of real cluster managers: files of ``$ command``, ``[exit status, seconds]``, stdout, stderr."""

from __future__ import annotations

import re
from pathlib import Path

from spraycc.cluster.driver import Reply

_BLOCK = re.compile(
    r"^\$ (?P<command>.*)\n\[exit (?P<status>-?\d+), [\d.]+ s\]\n(?P<rest>(?:(?!^\$ ).*\n?)*)", re.MULTILINE
)
_ECHO = "; echo rc=$?"
_DIRECTORY = Path(__file__).parent / "transcripts"


class Transcript:
    """The replies of one system, by command. A command that was run several times has several replies."""

    def __init__(self, name: str) -> None:
        self.replies: dict[str, list[Reply]] = {}
        for block in _BLOCK.finditer((_DIRECTORY / f"{name}.txt").read_text()):
            out, _, err = block["rest"].rstrip("\n").partition("stderr:\n")
            out = out.partition("stdout:\n")[2]
            command, status = block["command"], int(block["status"])
            if command.endswith(_ECHO):
                command = command.removesuffix(_ECHO)
                out, _, code = out.rpartition("rc=")
                status = int(code)
            self.replies.setdefault(command, []).append(
                Reply(status, out.encode(), (err + "\n").encode() if err else b"")
            )

    def reply(self, command: str, number: int = 0) -> Reply:
        return self.replies[command][number]

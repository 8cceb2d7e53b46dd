"""The file to which executors, and the scripts that start them, write their errors."""

from __future__ import annotations

from pathlib import Path

from spraycc.cluster.formatting import SETUP_ENDED

#: The most of the file's end that is read.
_MOST_BYTES = 65536


class ExecutorsLog:
    """The lines that are added to the log from now on. All executors of the server write there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = self._size()

    def explain(self, text: str) -> str:
        """The text with the last new line of the log, and its path."""
        lines = self.lines()
        # The shell's own error, such as a command that it has not found, stands before the line of our script.
        words = "; ".join(lines[-2:] if lines and SETUP_ENDED in lines[-1] else lines[-1:])
        return f"{text}{f': {words}' if words else ''} (see {self.path})"

    def lines(self) -> list[str]:
        """The lines that were added since this was made, or since the last call, without empty ones."""
        begin, self._begin = self._begin, self._size()
        try:
            with open(self.path, "rb") as file:
                file.seek(max(begin, self._begin - _MOST_BYTES))
                lines = file.read(_MOST_BYTES).decode("utf-8", "replace").split("\n")
        except OSError:
            return []
        return [line.strip() for line in lines if line.strip()]

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

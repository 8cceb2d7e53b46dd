"""The file to which executors, and the scripts that start them, write their errors."""

from __future__ import annotations

from pathlib import Path

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
        return f"{text}{f': {lines[-1]}' if lines else ''} (see {self.path})"

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

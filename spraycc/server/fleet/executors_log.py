"""The file to which executors, and the scripts that start them, write their errors."""

from __future__ import annotations

from pathlib import Path

#: The most of the file's end that is read.
_MOST_BYTES = 65536


class ExecutorsLog:
    """The log of one state directory, from a certain place on. Other processes write there too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = self._size()

    def explain(self, text: str) -> str:
        """The text with the last line that was added to the log, and its path."""
        words = self.last_words()
        return f"{text}{f': {words}' if words else ''} (see {self.path})"

    def last_words(self) -> str:
        """The last line that was added since this was made, or since the last call; empty if there is none."""
        begin, self._begin = self._begin, self._size()
        try:
            with open(self.path, "rb") as file:
                file.seek(max(begin, self._begin - _MOST_BYTES))
                lines = file.read(_MOST_BYTES).decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

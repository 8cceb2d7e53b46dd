"""A directory watcher for tests in which no event may report a change."""

from __future__ import annotations

from spraycc.server.coherence.watcher import Change


class SilentWatcher:
    """Watches everything, and reports no change."""

    full = False

    def watch(self, directory: bytes) -> bool:
        return True

    def unwatch_all(self) -> None:
        pass

    def events(self) -> list[Change]:
        return []

    def close(self) -> None:
        pass

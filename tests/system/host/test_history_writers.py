"""Several servers share one history file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spraycc.history import store
from spraycc.history.store import Store

_WRITER = """
import sys
from pathlib import Path
from spraycc.history.estimates import Entry
from spraycc.history.store import Store
first = int(sys.argv[2])
store = Store(Path(sys.argv[1]), b"/w/one", print)
cleared, _ = store.load()
for number in range(25):
    store.save([(("compile", b"%d" % (first + number * 4 + n)), Entry(1.0, 0.1, 0, 1, 1)) for n in range(4)], cleared)
"""


def test_several_servers_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / store.FILE_NAME
    warnings: list[str] = []
    one = Store(path, b"/w/one", warnings.append)
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(first)], stdout=subprocess.PIPE)
        for first in (0, 100, 200)
    ]
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert (writer.returncode, out) == (0, b"")
    assert {int(name) for (_, name), _ in one.load()[1]} == set(range(300))
    assert warnings == []

"""``python -m spraycc.server.fleet.stale_jobs STATE_DIR``: cancels what a killed server has left in the cluster.

Prints how many submissions it found. Exit status 1 where the cluster manager can't be asked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from spraycc.errors import SprayccError
from spraycc.server.fleet.batch_launcher import cancel_leftovers
from spraycc.settings import Settings


def main() -> int:
    state_dir = Path(sys.argv[1])
    try:
        found = trio.run(cancel_leftovers, Settings(), state_dir)
    except SprayccError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    # Each holds a secret; their server is gone.
    for path in state_dir.glob("session-*.json"):
        path.unlink(missing_ok=True)
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

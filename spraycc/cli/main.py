"""The entry point of ``spraycc``. Builds import only the modules that they need: click alone takes 20 ms."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli.messages import inform
from spraycc.errors import USAGE_STATUS, SprayccError

#: First word of the shim of a build tool: ``spraycc --shim make -j8``. Not for users.
SHIM = "--shim"


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == [SHIM] and len(words) > 1:
            from spraycc.cli.build import build_by_shim

            return build_by_shim(words[1:])
        if words and words[0] in SUBCOMMANDS:
            from spraycc.cli.build import build

            return build(words, {})
        from spraycc.cli.subcommands import run

        return run(words)
    except SprayccError as exc:
        inform(f"error: {exc}")
        return int(getattr(exc, "status", USAGE_STATUS))
    except OSError as exc:
        # A build catches errors that it survives. Others come from a file of SprayCC that can't be read or written.
        name = os.fsdecode(exc.filename) if isinstance(exc.filename, bytes) else str(exc.filename or "")
        place = f"{name}: " if name else ""
        inform(f"error: {place}{exc.strerror or exc} (HOME and XDG_* say where SprayCC's files are)")
        return USAGE_STATUS
    except KeyboardInterrupt:
        # End by the signal, as any program that Ctrl-C ends, so that a script around us ends too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

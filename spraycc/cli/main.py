"""The entry point of ``spraycc``. Builds import only the modules that they need: click alone takes 20 ms."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli.without_spraycc import SHIM, after


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # command_script.py
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return _run(words)
    except Exception as exc:
        return after(exc, words)
    except KeyboardInterrupt:
        # End by the signal, as any program that Ctrl-C ends, so that a script around us ends too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT


def _run(words: Sequence[str]) -> int:
    if words[:1] == [SHIM] and len(words) > 1:
        from spraycc.cli.build import build

        return build(words[1:], {}, by_shim=True)
    if words and words[0] in SUBCOMMANDS:
        from spraycc.cli.build import build

        return build(words, {})
    from spraycc.cli.subcommands import run

    return run(words)


if __name__ == "__main__":
    sys.exit(main())

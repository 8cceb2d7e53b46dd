"""``python -m benchmarks [PART ...] [--quick] [--json FILE]``: run parts of the suite and print their figures."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import traceback
from pathlib import Path

import spraycc
from benchmarks.harness import machine, place
from benchmarks.parts import PARTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What SprayCC costs.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument("--quick", action="store_true", help="few runs, to see that every part works; quote none of it")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    # SIGTERM takes down the started servers and daemons, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    result = {
        "release": spraycc.__version__,
        "machine": machine(),
        "quick": arguments.quick,
        "at": time.strftime("%Y-%m-%d"),
        "parts": {},
    }
    failed = 0
    for name in arguments.parts or PARTS:
        began = time.monotonic()
        try:
            with place(arguments.quick) as here:
                figures = PARTS[name](here)
        except Exception as exc:  # the figures of the other parts are valid
            traceback.print_exc()
            figures = {"failed": f"{type(exc).__name__}: {exc}"[:500]}
            failed += 1
        result["parts"][name] = figures | {"took_s": round(time.monotonic() - began, 1)}
        print(f"{name}: {json.dumps(result['parts'][name])}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.compare BEFORE.json AFTER.json``: two runs' figures side by side, with their ratio."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Only these figures of a sample are compared.
_OF_A_SAMPLE = ("median", "p99")


def figures(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of a run, by their path."""
    if isinstance(value, dict):
        is_sample = {"n", "median"} <= value.keys()
        for key, inner in value.items():
            if "target" not in key and (not is_sample or key in _OF_A_SAMPLE):
                yield from figures(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, float(value)


def rows(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, float, float, float | None]]:
    """Name, both values and their ratio, for each figure that both have."""
    old, new = dict(figures(before["parts"])), dict(figures(after["parts"]))
    return [(name, old[name], new[name], new[name] / old[name] if old[name] else None) for name in old if name in new]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="Compares two runs.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    arguments = parser.parse_args()
    before, after = (json.loads(path.read_text()) for path in (arguments.before, arguments.after))
    for run in (before, after):
        if run["quick"]:
            print("warning: a --quick run says nothing of speed", file=sys.stderr)
    if before["machine"] != after["machine"]:
        print("warning: two machines, or two users of one", file=sys.stderr)
    for name, old, new, ratio in rows(before, after):
        print(f"{name:60} {old:12.3f} {new:12.3f} {'' if ratio is None else f'{ratio:8.2f} x'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Counts NFS operations: what a mount has sent to its server since it was mounted.

In the machine this is a program that prints the counts as JSON: operations.py MOUNT-POINT
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path


def counts(mountstats: str, mount_point: str) -> dict[str, int]:
    """Operation → requests sent, from the text of /proc/self/mountstats."""
    found: dict[str, int] = {}
    current = ""
    for line in mountstats.splitlines():
        if line.startswith("device "):
            current = line.split()[4]
        elif current == mount_point and (match := re.match(r"\s+([A-Z][A-Z_0-9]*): (\d+) ", line)):
            found[match[1]] = int(match[2])
    return found


def per_task(before: Mapping[str, int], after: Mapping[str, int], tasks: int) -> dict[str, float]:
    """Operations for each task between two counts, the most frequent first."""
    differences = {name: number - before.get(name, 0) for name, number in after.items()}
    ordered = sorted(differences.items(), key=lambda item: (-item[1], item[0]))
    return {name: number / tasks for name, number in ordered if number}


def row_text(title: str, rates: Mapping[str, float]) -> str:
    """One line of the table: the sum, then each operation."""
    single = "  ".join(f"{name} {rate:.1f}" for name, rate in rates.items() if rate >= 0.05)
    return f"{title:44} {sum(rates.values()):6.1f}   {single}"


if __name__ == "__main__":
    print(json.dumps(counts(Path("/proc/self/mountstats").read_text(encoding="utf-8"), sys.argv[1])))

"""Makes the table of docs/reliability.md of the lines that FAULT_TABLE collected: ``python tests/stress/table.py FILE``."""

from __future__ import annotations

import json
import sys
from collections import Counter


def main() -> None:
    runs: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    with open(sys.argv[1]) as file:
        for line in file:
            run = json.loads(line)
            if not run["late"]:
                runs[run["fault"]] += 1
                whole[run["fault"]] += run["whole"]
    print("| fault | runs | build ended well | ended as plain make's would, and the next one completed it |")
    print("| --- | ---: | ---: | ---: |")
    for name, count in runs.items():
        print(f"| {name} | {count} | {whole[name]} | {count - whole[name]} |")
    print(f"| all | {runs.total()} | {whole.total()} | {runs.total() - whole.total()} |")


if __name__ == "__main__":
    main()

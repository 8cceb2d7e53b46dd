"""The compiles of a real build, recorded: seconds and bytes of each unit, and a sample of them for a benchmark."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: One unit a line: seconds, bytes of the object, seconds and bytes of the preprocessor, source. All seconds are of CPU.
FILE = Path(__file__).parent / "units" / "llvm16.txt"


@dataclass(frozen=True)
class Unit:
    """One compile."""

    seconds: float
    size_bytes: int


def recorded(path: Path = FILE) -> Iterator[Unit]:
    """All units of the file, in its order."""
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            seconds, size, *_ = line.split()
            yield Unit(float(seconds), int(size))


def drawn(count: int, scale: float, seed: int = 1) -> list[Unit]:
    """``count`` units, drawn with replacement and the same in each run; times multiplied by ``scale``."""
    generator = random.Random(seed)
    chosen = generator.choices(list(recorded()), k=count)
    return [Unit(round(unit.seconds * scale, 6), unit.size_bytes) for unit in chosen]

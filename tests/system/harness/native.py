"""The C sources as the build hook lists them, and compiler flags with all warnings, for tests that compile the C code."""

from __future__ import annotations

from pathlib import Path

from hatch_build import FLAGS, RUNNER, sources_of

STRICT = [*FLAGS, "-Wshadow", "-Wmissing-prototypes", "-Wpedantic", "-Wvla", "-Werror"]
#: The directory of the C sources.
NATIVE = Path(__file__).resolve().parents[3] / "spraycc" / "native"


def runner_parts(*without: str) -> list[Path]:
    """The runner's sources except ``main.c`` and ``without``, for a test program with its own ``main``."""
    return [source for source in sources_of(RUNNER) if source.name not in ("main.c", *without)]

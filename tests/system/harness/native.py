"""For tests that compile the project's C: the sources as the build hook lists them, and the flags with all warnings."""

from __future__ import annotations

from pathlib import Path

from hatch_build import FLAGS, RUNNER, sources_of

STRICT = [*FLAGS, "-Wshadow", "-Wmissing-prototypes", "-Wpedantic", "-Wvla", "-Werror"]
#: The directory of the C sources.
NATIVE = Path(__file__).resolve().parents[3] / "spraycc" / "native"


def runner_parts(*without: str) -> list[Path]:
    """The runner's sources but ``main.c`` and these, for a test program that has a ``main`` of its own."""
    return [source for source in sources_of(RUNNER) if source.name not in ("main.c", *without)]

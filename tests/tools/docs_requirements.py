"""Prints the requirements of the extra ``docs``, one a line. ``pip`` would install SprayCC with its extra.

``python -m tests.tools.docs_requirements >FILE && pip install -r FILE``
"""

from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def requirements() -> list[str]:
    """The requirements, as pyproject.toml has them."""
    found: list[str] = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]["docs"]
    return found


if __name__ == "__main__":
    print(*requirements(), sep="\n")

"""``python -m spraycc.cli.reference DIRECTORY``: writes all generated files below DIRECTORY, for the build hook."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from spraycc import __version__
from spraycc.cli.option_table import table
from spraycc.cli.reference.files import PAGES, files

TEMPLATES = Path(__file__).parent / "man"


def date() -> str:
    """The day of SOURCE_DATE_EPOCH (UTC). Without the variable empty: the day of the build would change the wheel."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return time.strftime("%Y-%m-%d", time.gmtime(int(epoch))) if epoch else ""


def main(directory: str) -> None:
    """Write the files.

    Raises:
        OSError: a template can't be read, or a file can't be written.
        ValueError: SOURCE_DATE_EPOCH is no number of seconds.
    """
    templates = {name: (TEMPLATES / f"{name}.in").read_text(encoding="utf-8") for name in PAGES}
    for place, text in files(table(), templates, __version__, date()).items():
        path = Path(directory, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

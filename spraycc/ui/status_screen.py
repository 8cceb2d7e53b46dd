"""The status on a screen of fixed size. Pure: figures in, lines out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from spraycc.ui.printable import printable
from spraycc.ui.status import render


def lines(figures: Mapping[str, Any] | None, sort: str, messages: Sequence[str], width: int, height: int) -> list[str]:
    """At most ``height`` lines, each at most ``width`` columns wide, with the colours of a terminal.

    The executors' rows are cut if they do not fit. The last line says which keys there are.

    Args:
        figures: as in :func:`spraycc.ui.status.render`; None: there is no server.
        sort: as there.
        messages: lines above the figures.
        width, height: the terminal's size in characters.
    """
    keys = f"q: quit   s: sort (by {sort})"
    room = max(0, height - 2)
    executors = len((figures or {}).get("executors", ()))
    rows = min(executors, height)  # more can't fit, and a thousand rows take half a second
    body = _body(figures, sort, messages, width, rows)
    if (surplus := len(body) - room) > 0:
        # The line that counts the missing rows takes a row, too.
        body = _body(figures, sort, messages, width, max(0, rows - surplus - (rows == executors)))
    return [*body[:room], "", keys[:width]][:height]


def _body(
    figures: Mapping[str, Any] | None, sort: str, messages: Sequence[str], width: int, most_rows: int
) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, force_terminal=True, color_system="standard")
    for text in messages:
        console.print(Text(printable(text)), no_wrap=True, overflow="ellipsis")
    for part in render(figures, sort, most_rows=most_rows, whole_names=False) if figures else ():
        console.print(part, no_wrap=True, overflow="ellipsis")
    return file.getvalue().splitlines()

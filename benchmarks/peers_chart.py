"""``python -m benchmarks.peers_chart FILE.json FILE.svg``: the picture of the part *peers-farm*.

Bars in rows of one measure and columns of one number of slots. Text is text. The colours follow the reader's light or
dark scheme.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

_NAMES_PX, _COLUMN_PX, _GAP_PX, _VALUE_PX = 96, 250, 14, 62
_BAR_PX, _STEP_PX, _HEAD_PX, _TOP_PX = 13, 20, 44, 66

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.quiet { fill: #59636e; }
.ours { font-weight: 600; }
rect { fill: #9aa4af; }
rect.ours { fill: #0969da; }
line { stroke: #59636e; stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #9198a1; }
  rect { fill: #656c76; }
  rect.ours { fill: #4493f8; }
  line { stroke: #9198a1; }
}
"""


@dataclass(frozen=True)
class _Measure:
    title: str
    key: str
    shown: Callable[[float], str]
    #: a line through the bars, at this value
    line: float | None = None


_MEASURES = (
    _Measure("Time of the build over plain make's bound", "over_bound", lambda v: f"{v:.2f} times", 1.0),
    _Measure("CPU of the submit host for a unit", "cpu_ms", lambda v: f"{v:.1f} ms"),
    _Measure("Memory of the submit host (PSS)", "pss_mib", lambda v: f"{v:,.0f} MiB"),
)


def chart(part: dict[str, Any], about: str) -> str:
    """The picture, as SVG. ``about`` is one line about the machine."""
    widths = [name for name in part if name.isdigit()]
    tools = list(dict.fromkeys(name for width in widths for name in part[width] if not name.startswith("bound")))
    row_px = _HEAD_PX + _STEP_PX * len(tools)
    width_px = _NAMES_PX + (_COLUMN_PX + _GAP_PX) * len(widths)
    height_px = _TOP_PX + row_px * len(_MEASURES)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px} {height_px}" width="{width_px}" '
        f'height="{height_px}" role="img" aria-label="{escape(_summary(part), quote=True)}">',
        f"<style>{_STYLE}</style>",
        _text(0, 18, _summary(part), "title"),
        _text(0, 38, about, "quiet"),
    ]
    for number, measure in enumerate(_MEASURES):
        lines += _row(part, measure, widths, tools, _TOP_PX + number * row_px)
    return "\n".join([*lines, "</svg>", ""])


def _summary(part: dict[str, Any]) -> str:
    size = part["object_bytes"] / 1e6
    return f"{part['units']:,} C++ units of {part['compile_s']:.1f} s and {size:.1f} MB each, shorter is better"


def _row(part: dict[str, Any], measure: _Measure, widths: list[str], tools: list[str], top: int) -> Iterator[str]:
    yield _text(0, top + 16, measure.title, "title")
    found = [run[measure.key] for width in widths for run in part[width].values() if isinstance(run, dict)]
    scale = (_COLUMN_PX - _VALUE_PX) / max([*found, measure.line or 0.0, 1e-9])
    for index, tool in enumerate(tools):
        yield _text(0, _base(top, index), tool, _kind(tool))
    for column, width in enumerate(widths):
        left = _NAMES_PX + column * (_COLUMN_PX + _GAP_PX)
        yield _text(left, top + 34, f"{width} slots", "quiet")
        for index, tool in enumerate(tools):
            run = part[width].get(tool)
            if not isinstance(run, dict):
                yield _text(left, _base(top, index), "not measured", "quiet")
                continue
            length = run[measure.key] * scale
            yield (
                f'<rect x="{left}" y="{_base(top, index) - 11}" width="{length:.1f}" height="{_BAR_PX}" rx="2"'
                f"{_class(_kind(tool))}/>"
            )
            yield _text(left + length + 6, _base(top, index), measure.shown(run[measure.key]), _kind(tool))
        if measure.line is not None:
            x = left + measure.line * scale
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 38}" y2="{_base(top, len(tools) - 1) + 5}"/>'


def _base(top: int, index: int) -> int:
    """The base line of a tool's text."""
    return top + 52 + index * _STEP_PX


def _kind(tool: str) -> str:
    return "ours" if tool == "SprayCC" else ""


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{_class(kind)}>{escape(words)}</text>'


def about(run: dict[str, Any]) -> str:
    """One line about the machine of a run."""
    machine = run["machine"]
    return (
        f"All hosts are one machine with {machine['cpus']} cores ({machine['cpu']}); the farm's compiler waits for the "
        f"recorded time of a unit of LLVM."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers_chart", description="Draws the peers' figures.")
    parser.add_argument("file", type=Path)
    parser.add_argument("svg", type=Path)
    options = parser.parse_args()
    run = json.loads(options.file.read_text())
    options.svg.write_text(chart(run["parts"]["peers-farm"], about(run)))


if __name__ == "__main__":
    main()

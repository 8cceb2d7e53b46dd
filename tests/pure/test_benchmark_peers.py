"""The peers' figures: the sample of recorded units, the table and the picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks import peers_chart, peers_farm, recorded_units, table

RUN = {
    "elapsed_s": 30.0,
    "over_bound": 1.5,
    "cpu_ms": 4.25,
    "machine_cpu_ms": 9.0,
    "pss_mib": 1234.0,
    "processes": 1203,
}


def part() -> dict[str, Any]:
    return {
        "units": 2000, "compile_s": 1.62, "object_bytes": 492_000, "rounds": 1,
        "50": {"bound_s": 20.0, "bound_of_any_order_s": 19.0, "SprayCC": RUN, "nocc": "nocc is not <installed>"},
    }  # fmt: skip


def test_the_recorded_units_are_many_and_plausible() -> None:
    units = list(recorded_units.recorded())
    assert len(units) >= 150
    assert all(0 < unit.seconds < 60 and 1000 < unit.size_bytes < 1e8 for unit in units)


def test_the_sample_is_the_same_each_time_and_scaled() -> None:
    once, again = recorded_units.drawn(300, 0.5), recorded_units.drawn(300, 0.5)
    assert once == again
    whole = recorded_units.drawn(300, 1.0)
    assert [unit.size_bytes for unit in once] == [unit.size_bytes for unit in whole]
    assert [unit.seconds for unit in once] == pytest.approx([unit.seconds / 2 for unit in whole])


def test_the_table_has_a_row_for_each_width_and_tool() -> None:
    _, ours, peer = table.peers(part())
    assert ours == ("50", "SprayCC", "1.50 (30.0 s over 20.0 s)", "4.2 ms", "1,234 MiB", "1,203")
    assert peer == ("50", "nocc", "nocc is not <installed>", "", "", "")


def test_the_picture_is_well_formed_and_shows_each_figure_as_text() -> None:
    root = ET.fromstring(peers_chart.chart(part(), "two cores & more"))
    words = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"50 slots", "SprayCC", "nocc", "1.50 times", "4.2 ms", "1,234 MiB", "two cores & more"} <= set(words)
    assert words.count("not measured") == 3
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    assert len(bars) == 3
    width = float(root.attrib["width"])
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) < width for bar in bars)


def test_a_run_of_one_tool_replaces_its_figures_alone() -> None:
    new = {"rounds": 5, "50": {"bound_s": 20.0, "SprayCC": RUN | {"cpu_ms": 2.0}}, "200": {"bound_s": 9.0}}
    merged = peers_farm.merged(part(), new)
    assert merged["50"]["SprayCC"]["cpu_ms"] == 2.0
    assert merged["50"]["nocc"] == part()["50"]["nocc"]
    assert (merged["rounds"], merged["units"], merged["200"]) == (5, 2000, {"bound_s": 9.0})

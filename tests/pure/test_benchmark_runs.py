"""Several runs of a part of the benchmarks become one: medians."""

from __future__ import annotations

from benchmarks.__main__ import median_of


def test_each_number_is_the_median_of_its_own() -> None:
    runs = [
        {"ms": {"median": 3.0, "max": 9}, "busy": 0.5, "is_real": True},
        {"ms": {"median": 1.0, "max": 20}, "busy": 0.7, "is_real": True},
        {"ms": {"median": 2.0, "max": 10}, "busy": 0.6, "is_real": True},
    ]
    assert median_of(runs) == {"ms": {"median": 2.0, "max": 10}, "busy": 0.6, "is_real": True}


def test_a_figure_that_one_run_lacks_is_the_median_of_the_others() -> None:
    assert median_of([{"peer": {"ms": 3}}, {"peer": "did not start"}, {"peer": {"ms": 5}}]) == {"peer": {"ms": 4.0}}
    assert median_of([{"peer": "did not start"}, {"peer": {"ms": 5}}]) == {"peer": "did not start"}
    assert median_of([{"machine": "a"}, {"machine": "b"}]) == {"machine": "a"}

"""The number of Hypothesis examples, and whether each run draws the same examples.

By default each run draws the same examples. tests/stress draws random examples, and more of them::

    TESTS_EXAMPLES_FACTOR=20 pytest --hypothesis-seed=7 tests/pure tests/sim

The variable multiplies the number of examples of each test and makes the draw random. ``--hypothesis-seed`` makes a random
draw repeatable. If such a run finds a fault, add the failing example to its test: as ``@example``, or as a test of its own.
"""

from __future__ import annotations

import os

import hypothesis

#: None: the same examples in each run
_FACTOR = float(value) if (value := os.environ.get("TESTS_EXAMPLES_FACTOR")) else None
_DEFAULT = 100


def examples(count: int) -> int:
    """``count`` times TESTS_EXAMPLES_FACTOR, at least 1: for ``settings(max_examples=examples(500))``."""
    return max(1, round(count * (_FACTOR or 1)))


def load_profile() -> None:
    """Load the profile that the environment asks for. The settings of each test extend it."""
    hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
    hypothesis.settings.register_profile(
        "random",
        derandomize=False,
        database=None,
        deadline=None,
        print_blob=True,
        max_examples=examples(_DEFAULT),
        # Drawing many examples of a large input takes long.
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("fixed" if _FACTOR is None else "random")

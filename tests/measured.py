"""The variables that coverage needs in the processes of the tests: tests give these processes a new environment.

``coverage run`` with ``patch = subprocess`` (coverage 7.10) sets the variables. Without coverage there are none.
"""

from __future__ import annotations

import os

_NAMES = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")

ENVIRONMENT = {name: os.environ[name] for name in _NAMES if name in os.environ}

#: Words of the setting `kept_variables`, so that servers and executors keep the variables.
KEPT = tuple(ENVIRONMENT)

#: For a test that checks which modules a process imports: in an inherited environment these values turn coverage off.
WITHOUT = dict.fromkeys(ENVIRONMENT, "")

"""The variables that coverage needs in the processes of the tests, which get an environment of their own.

``coverage run`` with ``patch = subprocess`` (coverage 7.10) sets it; without coverage there is nothing.
"""

from __future__ import annotations

import os

_NAMES = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")

ENVIRONMENT = {name: os.environ[name] for name in _NAMES if name in os.environ}

#: in an environment that is inherited: for a process of which the test asks what it imports
WITHOUT = dict.fromkeys(ENVIRONMENT, "")

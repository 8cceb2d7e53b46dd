"""What coverage needs in the environment of processes that tests start with an environment of their own.

``coverage run`` with ``patch = subprocess`` (coverage 7.10) sets it; without coverage there is nothing.
"""

from __future__ import annotations

import os

ENVIRONMENT = {
    name: os.environ[name] for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START") if name in os.environ
}

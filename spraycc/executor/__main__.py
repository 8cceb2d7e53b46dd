"""``python -m spraycc.executor``; see main.py."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once: a traceback of the imports helps nobody

from spraycc.executor.main import run_and_exit  # noqa: E402

run_and_exit()

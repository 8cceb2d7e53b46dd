"""``python -m spraycc.executor``; see main.py."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # from the first: nobody needs a traceback of what is loaded just now

from spraycc.executor.main import run_and_exit  # noqa: E402

run_and_exit()

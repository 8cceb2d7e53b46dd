"""The options of GNU Make 3.81 to 4.4.1, in as much detail as it takes to find -j among them."""

from __future__ import annotations

from spraycc.jobserver.option_scan import Argument, Options, OptionUse

_NONE, _REQUIRED, _OPTIONAL = Argument.NONE, Argument.REQUIRED, Argument.OPTIONAL

JOBS = "jobs"
LOAD = "load"
#: --jobserver-auth and --jobserver-fds: one variable in make 4.2 and later
AUTH = "jobserver-auth"
#: make prints something and ends
INFORMATION = frozenset({"help", "version"})

_SHORT = {bytes([letter]): (chr(letter), _NONE) for letter in b"bmBdeikLnpqrRsStw"} | {
    b"h": ("help", _NONE),
    b"v": ("version", _NONE),
    b"j": (JOBS, Argument.DIGITS),
    b"l": (LOAD, Argument.NUMBER),
    b"O": ("output-sync", _OPTIONAL),
    **{bytes([letter]): (chr(letter), _REQUIRED) for letter in b"CEfIoW"},
}

_LONG = {
    b"always-make": ("B", _NONE),
    b"assume-new": ("W", _REQUIRED),
    b"assume-old": ("o", _REQUIRED),
    b"check-symlink-times": ("L", _NONE),
    b"debug": ("debug", _OPTIONAL),
    b"directory": ("C", _REQUIRED),
    b"dry-run": ("n", _NONE),
    b"environment-overrides": ("e", _NONE),
    b"eval": ("E", _REQUIRED),
    b"file": ("f", _REQUIRED),
    b"help": ("help", _NONE),
    b"ignore-errors": ("i", _NONE),
    b"include-dir": ("I", _REQUIRED),
    b"jobs": (JOBS, Argument.DIGITS),
    b"jobserver-auth": (AUTH, _REQUIRED),
    b"jobserver-fds": (AUTH, _REQUIRED),
    b"jobserver-style": ("jobserver-style", _REQUIRED),  # 4.4: the kind of jobserver that make itself starts
    b"just-print": ("n", _NONE),
    b"keep-going": ("k", _NONE),
    b"load-average": (LOAD, Argument.NUMBER),
    b"makefile": ("f", _REQUIRED),
    b"max-load": (LOAD, Argument.NUMBER),
    b"new-file": ("W", _REQUIRED),
    b"no-builtin-rules": ("r", _NONE),
    b"no-builtin-variables": ("R", _NONE),
    b"no-keep-going": ("S", _NONE),
    b"no-print-directory": ("no-print-directory", _NONE),
    b"no-silent": ("no-silent", _NONE),
    b"old-file": ("o", _REQUIRED),
    b"output-sync": ("output-sync", _OPTIONAL),
    b"print-data-base": ("p", _NONE),
    b"print-directory": ("w", _NONE),
    b"question": ("q", _NONE),
    b"quiet": ("s", _NONE),
    b"recon": ("n", _NONE),
    b"shuffle": ("shuffle", _OPTIONAL),
    b"silent": ("s", _NONE),
    b"stop": ("S", _NONE),
    b"sync-mutex": ("sync-mutex", _REQUIRED),
    b"touch": ("t", _NONE),
    b"trace": ("trace", _NONE),
    b"version": ("version", _NONE),
    b"warn-undefined-variables": ("warn-undefined-variables", _NONE),
    b"what-if": ("W", _REQUIRED),
}

#: In no version are ``--jo`` and ``--job`` abbreviations of --jobs: because of --jobserver-* make calls them ambiguous
#: (4.3 and 4.4.1), and so does this table. ``--jobserver-aut`` is an abbreviation of --jobserver-auth.
MAKE = Options(_SHORT, _LONG)


def jobs_count(use: OptionUse) -> int | None:
    """The number of a ``-j``; None: without a number, so without limit.

    Raises:
        ValueError: make rejects the argument (``-j0``, ``-jfoo``), or only some versions accept it (``-j+8``).
    """
    if use.value is None:
        return None
    if not use.value.isdigit() or (count := int(use.value)) == 0:
        raise ValueError("not a positive number")
    return count

"""Removes ``-j`` from a build tool's command line, because the option would make the tool leave the jobserver.

The tools treat ``-j`` as follows while MAKEFLAGS names a jobserver (tried with each):

- make 4.3 and 4.4 print ``warning: -j6 forced in makefile: resetting jobserver mode.`` and start a pool of their own.
- ninja 1.13 leaves the jobserver without a message. ``cmake --build -jN`` passes the option on to make or ninja.
- cargo keeps the jobserver and warns. The option is removed all the same, and its number becomes the build's cap.
- ctest runs at most N tests and at most as many as the jobserver allows. Without -jN it runs one test at a time, so its
  command line stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spraycc.build_tools import MAKES, NINJAS
from spraycc.jobserver.make_options import AUTH, INFORMATION, JOBS, LOAD, MAKE, jobs_count
from spraycc.jobserver.makeflags import parse
from spraycc.jobserver.option_scan import Argument, Options, OptionUse, cut, scan


@dataclass(frozen=True, slots=True)
class Stripped:
    """A command line for use under a jobserver."""

    #: the whole argument vector, argv[0] included
    argv: tuple[bytes, ...]
    #: the user's -j: recipes at once, at least 1; None: no -j, or a -j without a number
    cap: int | None
    #: the tool will use a jobserver; False: it builds nothing (``ninja -t``, ``make --version``) and runs unchanged
    jobserver: bool
    #: the removed words, for the log
    removed: tuple[bytes, ...] = ()
    #: the part of ``argv`` that another -j replaces: from the first index up to the second; None: there is none
    place: tuple[int, int] | None = None

    def with_jobs(self, jobs: int) -> tuple[bytes, ...]:
        """``argv`` with this -j, for a tool without a jobserver; unchanged if the tool takes none in this use."""
        if self.place is None:
            return self.argv
        start, end = self.place
        return (*self.argv[:start], b"-j%d" % jobs, *self.argv[end:])


def strip(tool: str, argv: Sequence[bytes], makeflags: bytes = b"", gnumakeflags: bytes = b"") -> Stripped:
    """Reads ``argv`` as ``tool`` will, and removes the options that set its parallelism.

    Errors (``-jfoo``, make's ``-j0``) stay, so that the tool reports them itself. Words after ``--`` and arguments of
    other options stay too.

    Args:
        tool: the tool's name or path; the command line of an unknown tool stays as it is.
        argv: the whole argument vector. argv[0] is ignored.
        makeflags: the user's own MAKEFLAGS, which has make's cap if the command line has none.
        gnumakeflags: the user's own GNUMAKEFLAGS. make reads it first, so a -j in MAKEFLAGS replaces its -j.
    """
    reader = _READERS.get(os.path.basename(tool))
    if reader is None or not argv:
        return Stripped(tuple(argv), None, jobserver=True)
    flags = parse(makeflags)
    return reader(tuple(argv), (flags if flags.parallel else parse(gnumakeflags)).jobs)


def _make(argv: tuple[bytes, ...], inherited: int | None) -> Stripped:
    words = argv[1:]
    uses = list(scan(words, MAKE))
    if any(use.name in INFORMATION for use in uses):
        return Stripped(argv, None, jobserver=False)
    kept, cap, removed = _take(words, uses, jobs_count, also=frozenset({LOAD, AUTH}))
    if not any(use.name == JOBS for use in uses):
        cap = inherited
    return Stripped((argv[0], *kept), cap, jobserver=True, removed=removed, place=(1, 1))


_NINJA = Options(
    {
        **{bytes([letter]): (chr(letter), Argument.REQUIRED) for letter in b"dfklwtC"},
        b"j": (JOBS, Argument.REQUIRED),
        b"n": ("n", Argument.NONE),
        b"v": ("v", Argument.NONE),
        b"h": ("help", Argument.NONE),
    },
    {
        b"help": ("help", Argument.NONE),
        b"version": ("version", Argument.NONE),
        b"verbose": ("v", Argument.NONE),
        b"quiet": ("quiet", Argument.NONE),
    },
)


def _ninja(argv: tuple[bytes, ...], _inherited: int | None) -> Stripped:
    words = argv[1:]
    uses = list(scan(words, _NINJA))
    # With -n ninja leaves the jobserver by itself. With -t ninja runs a subtool, where -j may mean anything.
    if any(use.name in {"n", "t", "help", "version"} for use in uses):
        return Stripped(argv, None, jobserver=False)
    kept, cap, removed = _take(words, uses, _ninja_count)
    return Stripped((argv[0], *kept), cap, jobserver=True, removed=removed, place=(1, 1))


def _ninja_count(use: OptionUse) -> int | None:
    if use.value is None or not use.value.isdigit():
        raise ValueError("not a number")
    return int(use.value) or None


def _take(
    words: tuple[bytes, ...],
    uses: Sequence[OptionUse],
    count: Callable[[OptionUse], int | None],
    also: frozenset[str] = frozenset(),
) -> tuple[tuple[bytes, ...], int | None, tuple[bytes, ...]]:
    """Removes valid uses of JOBS and all uses of ``also``: ``(words, cap, removed words)``. The last -j wins."""
    cap: int | None = None
    cuts = []
    for use in uses:
        if use.name == JOBS:
            try:
                cap = count(use)
            except ValueError:
                continue
        elif use.name not in also:
            continue
        cuts.append(use)
    kept, removed = cut(words, cuts)
    return kept, cap, removed


_CMAKE_BUILD = Options(
    {
        b"j": (JOBS, Argument.DIGITS),
        b"t": ("target", Argument.REQUIRED),
        b"v": ("verbose", Argument.NONE),
    },
    {
        b"build": ("build", Argument.REQUIRED),
        b"config": ("config", Argument.REQUIRED),
        b"parallel": (JOBS, Argument.DIGITS),
        b"preset": ("preset", Argument.REQUIRED),
        b"target": ("target", Argument.REQUIRED),
    },
)


def _cmake(argv: tuple[bytes, ...], inherited: int | None) -> Stripped:
    """``cmake --build DIR [-j [N]] [-- WORDS OF THE NATIVE TOOL]``. Other uses of cmake compile next to nothing."""
    words = argv[1:]
    if words[:1] != (b"--build",):
        return Stripped(argv, None, jobserver=True)
    end = words.index(b"--") if b"--" in words else len(words)
    own, native = words[:end], words[end + 1 :]
    own_uses = list(scan(own, _CMAKE_BUILD))
    kept, cap, removed = _take(own, own_uses, jobs_count)
    # The native tool may be make or ninja. By make's rules the arguments of ninja's -d, -k, -l, -t and -w are operands.
    # That changes nothing, as no such argument starts with a dash.
    native_uses = list(scan(native, MAKE))
    native_kept, native_cap, native_removed = _take(native, native_uses, jobs_count)
    if any(use.name == JOBS for use in native_uses):
        cap = native_cap
    elif not any(use.name == JOBS for use in own_uses):
        cap = inherited
    tail = (b"--", *native_kept) if end < len(words) else ()
    end = 1 + len(kept)
    return Stripped((argv[0], *kept, *tail), cap, True, removed=removed + native_removed, place=(end, end))


_CARGO = Options({b"j": (JOBS, Argument.REQUIRED)}, {b"jobs": (JOBS, Argument.REQUIRED)})


def _cargo(argv: tuple[bytes, ...], _inherited: int | None) -> Stripped:
    words = argv[1:]
    uses = [use for use in scan(words, _CARGO) if _spelt_out(words, use)]
    kept, cap, removed = _take(words, uses, jobs_count)
    # Not all of cargo's subcommands take a -j.
    place = (1 + uses[0].index, 1 + uses[0].index) if removed else None
    return Stripped((argv[0], *kept), cap, jobserver=True, removed=removed, place=place)


def _spelt_out(words: Sequence[bytes], use: OptionUse) -> bool:
    """Whether the option is in its plain form: cargo has no abbreviations, and its other letters vary by subcommand."""
    return use.offset == 1 or (use.offset == 0 and words[use.index].partition(b"=")[0] == b"--jobs")


_CTEST = Options(
    {b"j": (JOBS, Argument.DIGITS)},
    {b"parallel": (JOBS, Argument.DIGITS)},
)


def _ctest(argv: tuple[bytes, ...], _inherited: int | None) -> Stripped:
    """The words stay: without -j ctest runs one test at a time."""
    uses = [use for use in scan(argv[1:], _CTEST) if use.name == JOBS]
    _, cap, _ = _take(argv[1:], uses, jobs_count)
    place = None
    if uses:
        start = 1 + uses[-1].index
        place = (start, start + 1 + uses[-1].takes_next)
    return Stripped(argv, cap, jobserver=True, place=place)


#: Each gets the command line and the -j that MAKEFLAGS or GNUMAKEFLAGS gives to make.
_READERS: dict[str, Callable[[tuple[bytes, ...], int | None], Stripped]] = {
    **dict.fromkeys(MAKES, _make),
    **dict.fromkeys(NINJAS, _ninja),
    "cmake": _cmake,
    "cargo": _cargo,
    "ctest": _ctest,
}

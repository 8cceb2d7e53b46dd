"""Writes the MAKEFLAGS that makes every make, ninja and cargo use one pool, and reads such values.

The tools read the value differently (make 3.81 to 4.4.1, ninja 1.13 and jobserver-rs, each tried):

- make macro-expands the value and splits it at blanks; a backslash takes the next character literally. A first word
  without a dash and without ``=`` gets a dash. make then reads the words as options, abbreviations included. Words
  after ``--`` are variable definitions.
- make up to 4.1 knows only ``--jobserver-fds=R,W``. 4.2 knows only ``--jobserver-auth=R,W``. 4.3 knows both, and dies
  on ``fifo:``. 4.4 knows ``fifo:PATH`` as well. If several are given the last one wins; make up to 4.0 dies if they
  differ.
- ninja, gcc and cargo read the value literally: the last ``--jobserver-auth=`` wins, and there are no abbreviations.
  For ninja an ``n`` in a first word without a dash means a dry run.

So :func:`compose` writes this string, for a descriptor N that is open on the FIFO P for reading and writing::

    -j --jobserver-fds=N,N --jobserver-auth=fifo:P $(if $(filter jobserver-fifo,$(.FEATURES)),,--jobserver-aut=N,N)

The literal readers see ``fifo:P`` last. make 4.4 expands the condition to nothing, and sees ``fifo:P`` last too. Other
makes expand the condition to an abbreviation of --jobserver-auth, which comes last and names the descriptor. For make
up to 4.1 both the abbreviation and the ``fifo:`` word are unknown options, and in MAKEFLAGS make skips those.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from spraycc.build_tools import JOBSERVER_VARIABLES
from spraycc.jobserver.make_options import AUTH, JOBS, LOAD, MAKE, jobs_count
from spraycc.jobserver.option_scan import OptionUse, cut, scan

#: a path that needs no quoting for make's expansion, for make's and ninja's splitting, and for a shell
_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9/._+-]+\Z")
_LETTERS = re.compile(rb"-[A-Za-z]+\Z")
_DESCRIPTORS = re.compile(rb"(-?[0-9]+),(-?[0-9]+)\Z")
_CONDITION = b"$(if $(filter jobserver-fifo,$(.FEATURES)),,--jobserver-aut=%d,%d)"

#: the number that a shell opens itself: in redirections dash knows only descriptors of one digit
SHELL_FD = 9

#: The variables that name a jobserver, as they stand in an environment of bytes.
VARIABLES = tuple(map(os.fsencode, JOBSERVER_VARIABLES))


@dataclass(frozen=True, slots=True)
class Fifo:
    """A pool that is a named FIFO."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Descriptors:
    """A pool that is a pair of inherited descriptors. With (-2, -2) make 4.4 says: not for this recipe."""

    read: int
    write: int


@dataclass(frozen=True, slots=True)
class MakeFlags:
    """The parallelism in a MAKEFLAGS, and its other words."""

    #: the last pool that is named; None: there is none, or the last one is malformed
    auth: Fifo | Descriptors | None
    #: there is a ``-j``
    parallel: bool
    #: the number of the last ``-j``; None without a number or without ``-j``
    jobs: int | None
    #: all other words unchanged, but the first one with its dash
    others: tuple[bytes, ...]


def is_plain_path(path: str | bytes) -> bool:
    """Whether MAKEFLAGS can name a FIFO at this absolute path: no quoting suits all readers."""
    return _PLAIN_PATH.match(os.fsencode(path)) is not None


def compose(fifo_path: str | bytes, fd: int, user_flags: bytes = b"", shell: bytes = b"") -> bytes:
    """The value of MAKEFLAGS for a build tool that inherits ``fd``, open for reading and writing on the FIFO.

    Args:
        fifo_path: absolute, and plain (see :func:`is_plain_path`).
        fd: SHELL_FD, or 100 to 1023 (scripts overwrite lower numbers, make's fd_set has no room for higher numbers).
        user_flags: the user's own MAKEFLAGS. Its options, definitions and macro references stay. Its jobserver, ``-j``
            and ``-l`` go (make with a load limit hoards tokens for recipes that wait). An invalid ``-j`` stays, so that
            make reports it.
        shell: a plain path to the shell for makefiles that set no SHELL; empty: make's own choice.
    """
    path = os.fsencode(fifo_path)
    assert is_plain_path(path), path
    assert fd == SHELL_FD or 100 <= fd <= 1023, fd
    words, _ = _without(user_flags, {JOBS, AUTH, LOAD})
    ours: tuple[bytes, ...] = (
        b"-j",
        b"--jobserver-fds=%d,%d" % (fd, fd),
        b"--jobserver-auth=fifo:" + path,
        _CONDITION % (fd, fd),
    )
    if shell:
        assert is_plain_path(shell), shell
        ours = (*ours, b"--eval=SHELL:=" + shell)
    # Without the space in front a literal reader takes the first word for a cluster of letters. Our words come first:
    # an unfinished word of the user's (a last backslash, an option without its argument) would swallow one of them.
    return b" " + b" ".join((*ours, *words))


def compose_cargo(fd: int) -> bytes:
    """The value of CARGO_MAKEFLAGS for the same tool. cargo prefers this variable to MAKEFLAGS.

    Without it builds fail. cargo passes the pool on to build scripts in the style in which it got the pool, as
    CARGO_MAKEFLAGS. Build scripts that run make (those of the crate cmake) pass that on as MAKEFLAGS, and make 4.3 dies
    on ``fifo:``. If cargo does not inherit the descriptor (a recipe of make 4.3 that is not recursive) it starts a pool
    of its own.
    """
    assert fd == SHELL_FD or 100 <= fd <= 1023, fd
    return b"-j --jobserver-fds=%d,%d --jobserver-auth=%d,%d" % (fd, fd, fd, fd)


def parse(makeflags: bytes) -> MakeFlags:
    """Reads a MAKEFLAGS without expanding it: a macro reference is a word without meaning for parallelism."""
    words = _dashed(makeflags)
    auth: Fifo | Descriptors | None = None
    parallel = False
    jobs: int | None = None
    for use in scan(words, MAKE):
        if use.name == AUTH:
            auth = _auth(use.value or b"")
        elif use.name == JOBS and _valid(use):
            parallel, jobs = True, jobs_count(use)
    return MakeFlags(auth, parallel, jobs, _without(makeflags, {JOBS, AUTH})[0])


# A build's tasks have the same few values, so the cache saves nearly all of the work.
@lru_cache(maxsize=256)
def without_jobserver(makeflags: bytes) -> bytes:
    """The value without its jobserver and without -j, for a process that can't reach the pool; b"" if nothing is left.

    MFLAGS and CARGO_MAKEFLAGS have the same form. Makefiles look at the first word, so its form stays: single letters,
    without a dash if there was none. A value without single letters starts with a space.
    """
    words, removed = _without(makeflags, {JOBS, AUTH})
    if not removed:
        return makeflags
    if not words or words == (b"--",):
        return b""
    if not makeflags.lstrip().startswith(b"-") and _LETTERS.match(words[0]):
        return b" ".join((words[0][1:], *words[1:]))
    return (b"" if words[0] == split(makeflags)[0] else b" ") + b" ".join(words)


def without_jobserver_in(environment: Iterable[bytes]) -> tuple[bytes, ...]:
    """The environment (``NAME=value`` each) for a process that can't reach the pool; empty variables are dropped."""
    kept = []
    for entry in environment:
        name, equals, value = entry.partition(b"=")
        if equals and name in VARIABLES and (cleaned := without_jobserver(value)) != value:
            if cleaned:
                kept.append(name + equals + cleaned)
        else:
            kept.append(entry)
    return tuple(kept)


def is_foreign(makeflags: bytes, fifo_path: str | bytes) -> bool:
    """Whether a process of this build has another jobserver: some make above it has started its own.

    The build's own is the FIFO, or one descriptor for both directions. Another one is a pipe, whose two ends differ.
    """
    auth = parse(makeflags).auth
    match auth:
        case Fifo():
            return auth.path != os.fsencode(fifo_path)
        case Descriptors():
            return auth.read != auth.write
        case None:
            return False


def split(makeflags: bytes) -> tuple[bytes, ...]:
    """The words of a MAKEFLAGS before expansion. Blanks after a backslash and in ``$()`` or ``${}`` split nothing."""
    words: list[bytes] = []
    word = bytearray()
    closing: list[int] = []
    position = 0
    while position < len(makeflags):
        byte = makeflags[position]
        pair = makeflags[position : position + 2]
        if closing and byte == closing[-1]:
            closing.pop()
        elif closing and byte == _OPEN[closing[-1]]:
            closing.append(closing[-1])
        elif pair in _REFERENCES:
            closing.append(_REFERENCES[pair])
            word.append(byte)
            position, byte = position + 1, pair[1]
        elif closing:
            pass
        elif len(pair) == 2 and (byte == _BACKSLASH or pair == b"$$"):
            word.append(byte)
            position, byte = position + 1, pair[1]
        elif byte in b" \t\n\v\f\r":
            if word:
                words.append(bytes(word))
                word.clear()
            position += 1
            continue
        word.append(byte)
        position += 1
    if word:
        words.append(bytes(word))
    return tuple(words)


_BACKSLASH = ord("\\")
_REFERENCES = {b"$(": ord(")"), b"${": ord("}")}
_OPEN = {ord(")"): ord("("), ord("}"): ord("{")}


def _dashed(makeflags: bytes) -> tuple[bytes, ...]:
    """The words. As in make the first one gets a dash, unless it is a definition or starts with a reference."""
    words = split(makeflags)
    if words and words[0][:1] not in (b"-", b"$") and b"=" not in words[0]:
        return (b"-" + words[0], *words[1:])
    return words


def _valid(use: OptionUse) -> bool:
    try:
        jobs_count(use)
    except ValueError:
        return False
    return True


def _without(makeflags: bytes, names: set[str]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """``(kept, removed)``: the words without the options ``names`` and without our condition, the first one dashed."""
    words = _dashed(makeflags)
    uses = [use for use in scan(words, MAKE) if use.name in names and (use.name != JOBS or _valid(use))]
    kept, removed = cut(words, uses)
    conditions = tuple(word for word in kept if word.startswith(b"$(if $(filter jobserver-fifo,"))
    return tuple(word for word in kept if word not in conditions), removed + conditions


def _auth(value: bytes) -> Fifo | Descriptors | None:
    if value.startswith(b"fifo:"):
        return Fifo(value[5:]) if len(value) > 5 else None
    pair = _DESCRIPTORS.match(value)
    return Descriptors(int(pair[1]), int(pair[2])) if pair else None

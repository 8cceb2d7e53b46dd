"""MAKEFLAGS in and out: the one string that makes any make, ninja and cargo use one pool, and how to read such strings.

How the readers differ (make 3.81 to 4.4.1, ninja 1.13 and jobserver-rs, each tried):

- make macro-expands the value, splits it at blanks (a backslash takes the next character literally), gives a first word
  without a dash and without ``=`` a dash, and reads the words as options, abbreviations included. Words after ``--``
  are variable definitions.
- make up to 4.1 knows ``--jobserver-fds=R,W`` only, 4.2 ``--jobserver-auth=R,W`` only, 4.3 both, 4.4 ``fifo:PATH`` as
  well. 4.3 dies on ``fifo:``. Where several are given the last wins (up to 4.0 dies if they differ).
- ninja, gcc and cargo read the value literally: the last ``--jobserver-auth=`` wins, no abbreviations. ninja takes an
  ``n`` in a first word without a dash for a dry run.

Hence the string of :func:`compose`, for a descriptor N that is open on the FIFO P for reading and writing::

    -j --jobserver-fds=N,N --jobserver-auth=fifo:P $(if $(filter jobserver-fifo,$(.FEATURES)),,--jobserver-aut=N,N)

The literal readers see ``fifo:P`` as the last. make 4.4 expands the condition to nothing and sees ``fifo:P`` too. Other
makes expand it to an abbreviation of --jobserver-auth, which comes last and names the descriptor; those up to 4.1 have
no such option, and so take the abbreviation and the ``fifo:`` before it for unknown words, which they skip in
MAKEFLAGS.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from spraycc.jobserver.make_options import AUTH, JOBS, LOAD, MAKE, jobs_count
from spraycc.jobserver.option_scan import Use, cut, scan

#: what needs no quoting for make's expansion, make's and ninja's splitting, and a shell
_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9/._+-]+\Z")
_LETTERS = re.compile(rb"-[A-Za-z]+\Z")
_DESCRIPTORS = re.compile(rb"(-?[0-9]+),(-?[0-9]+)\Z")
_CONDITION = b"$(if $(filter jobserver-fifo,$(.FEATURES)),,--jobserver-aut=%d,%d)"

#: what a shell opens itself: dash knows descriptors of one digit only in redirections
SHELL_FD = 9

#: variables in which a jobserver travels, beside MAKEFLAGS: recipes pass the old MFLAGS on by hand, make reads
#: GNUMAKEFLAGS before MAKEFLAGS, cargo prefers its own
VARIABLES = (b"MAKEFLAGS", b"MFLAGS", b"GNUMAKEFLAGS", b"CARGO_MAKEFLAGS")


@dataclass(frozen=True, slots=True)
class Fifo:
    """A pool that is a named FIFO."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Descriptors:
    """A pool that is a pair of inherited descriptors. (-2, -2) is make 4.4's "there is one, not for this recipe"."""

    read: int
    write: int


@dataclass(frozen=True, slots=True)
class MakeFlags:
    """What a MAKEFLAGS says about parallelism, and the rest of it."""

    #: the pool: the last one named; None where none is, or the last one is malformed
    auth: Fifo | Descriptors | None
    #: some ``-j`` stands there
    parallel: bool
    #: the number of the last ``-j``; None without a number or without ``-j``
    jobs: int | None
    #: all other words as they stand, the first with its dash put before it
    others: tuple[bytes, ...]


def is_plain_path(path: str | bytes) -> bool:
    """Whether a FIFO at this absolute path can be named in MAKEFLAGS, where no quoting suits all readers."""
    return _PLAIN_PATH.match(os.fsencode(path)) is not None


def compose(fifo_path: str | bytes, fd: int, user_flags: bytes = b"", shell: bytes = b"") -> bytes:
    """The value of MAKEFLAGS for a build tool that inherits ``fd``, open for reading and writing on the FIFO.

    Args:
        fifo_path: absolute, and plain (see :func:`is_plain_path`).
        fd: 100 to 1023 (lower numbers get overwritten by scripts, higher ones don't fit make's fd_set) or SHELL_FD.
        user_flags: the user's own MAKEFLAGS. Its options, definitions and macro references are kept; its jobserver,
            ``-j`` and ``-l`` are dropped (make with a load limit hoards tokens for recipes that wait). A ``-j`` that
            make will complain about is kept for make to complain about.
        shell: what the recipes of makefiles that set no SHELL are run by, a plain path; empty: what make takes.
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
    # The space in front keeps every literal reader from taking the first word for a cluster of letters. Ours come
    # first, so that no unfinished word of the user's (a last backslash, an option without its argument) swallows one.
    return b" " + b" ".join((*ours, *words))


def compose_cargo(fd: int) -> bytes:
    """The value of CARGO_MAKEFLAGS for the same tool, which cargo prefers to MAKEFLAGS. It must not be left out.

    cargo hands the pool on in the style that it got it in, as CARGO_MAKEFLAGS to build scripts, and those that run make
    (the crate cmake does) hand that on as MAKEFLAGS: make 4.3 dies on ``fifo:`` there, and the build with it. Where the
    descriptor is not inherited (a recipe of make 4.3 that is not recursive) cargo starts a pool of its own.
    """
    assert fd == SHELL_FD or 100 <= fd <= 1023, fd
    return b"-j --jobserver-fds=%d,%d --jobserver-auth=%d,%d" % (fd, fd, fd, fd)


def parse(makeflags: bytes) -> MakeFlags:
    """Reads a MAKEFLAGS without expanding it: a macro reference is a word that says nothing about parallelism."""
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


# A build's tasks come with the same few values, and each would be taken apart anew.
@lru_cache(maxsize=256)
def without_jobserver(makeflags: bytes) -> bytes:
    """The value without any trace of a jobserver and of -j, for a process that can't reach the pool; b"" for nothing.

    MFLAGS and CARGO_MAKEFLAGS have the same form. The shape that makefiles look at stays: single letters are the first
    word, without a dash if there was none, and a value without them starts with a space.
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
    """Whether a process below our build has the jobserver of somebody else: some make in between has started its own.

    Ours is the FIFO, or one descriptor for both directions; the two ends of a pipe differ.
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
    """The words of a MAKEFLAGS before expansion, split at blanks, not after a backslash, not in ``$()`` or ``${}``."""
    words: list[bytes] = []
    word = bytearray()
    closing: list[int] = []
    position = 0
    while position < len(makeflags):
        byte = makeflags[position]
        pair = makeflags[position : position + 2]
        if closing:
            if byte == closing[-1]:
                closing.pop()
            elif byte == _OPEN.get(closing[-1]):
                closing.append(closing[-1])
            elif pair in _REFERENCES:
                closing.append(_REFERENCES[pair])
                word.append(byte)
                position, byte = position + 1, pair[1]
        elif pair in _REFERENCES:
            closing.append(_REFERENCES[pair])
            word.append(byte)
            position, byte = position + 1, pair[1]
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
    """The words, the first as make reads it: it gets a dash, if it is no definition and starts with no reference."""
    words = split(makeflags)
    if words and words[0][:1] not in (b"-", b"$") and b"=" not in words[0]:
        return (b"-" + words[0], *words[1:])
    return words


def _valid(use: Use) -> bool:
    try:
        jobs_count(use)
    except ValueError:
        return False
    return True


def _without(makeflags: bytes, names: set[str]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """``(kept, removed)``: the words, the first dashed, without the options ``names`` and without our condition."""
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

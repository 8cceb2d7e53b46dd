"""Whether a command met an error that is the capture's own. Pure but for the C library's own message catalogues."""

from __future__ import annotations

import contextlib
import errno
import gettext
import os
import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from spraycc.errors import CaptureError, CaptureRefusal

#: A line that is not ended is held back up to this length: its words may come one by one, the telling ones last.
_LINE_BYTES = 4096
#: No such text is longer, in any language.
_LONGEST_TEXT = 512
#: How long and how much of what was said is kept back.
_WAITING_S = 0.2
_WAITING_BYTES = 64 * 1024

_CAPTURE_ERRNOS = {
    # what a user namespace refuses, and what an overlay does with files of a group that is not in it
    errno.EPERM: CaptureRefusal.COPY_UP,
    errno.EROFS: CaptureRefusal.COPY_UP,
    errno.EXDEV: CaptureRefusal.COPY_UP,
    errno.EOVERFLOW: CaptureRefusal.COPY_UP,
    # an overlay over NFS does not look a name up anew when the file server has replaced the file; a bare mount does
    errno.ESTALE: CaptureRefusal.STALE,
    errno.ENOSPC: CaptureRefusal.NO_SPACE,
    errno.EDQUOT: CaptureRefusal.NO_SPACE,
}
# What a command meets where a host is short of something. Another executor has more of it, or the submit host.
_STARVED_ERRNOS = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
#: Those of them, and of the texts below, that say which: memory.
_MEMORY_ERRNOS = (errno.ENOMEM,)
_MEMORY_TEXTS = (b"out of memory", b"virtual memory exhausted", b"std::bad_alloc")
_STARVED_TEXTS = (
    # gcc.cc, of a cc1 or as that was killed, mostly by the out-of-memory killer; the driver then exits with 1
    b"signal terminated program",
    # libiberty's xmalloc, in GCC and binutils, and LLVM
    b"out of memory",
    b"virtual memory exhausted",
    b"std::bad_alloc",
    # Clang's driver, of a frontend of its own
    b"failed due to signal",
    # ld.so: not enough address space, or a host that lacks a library
    b"error while loading shared libraries",
)
#: The message of GCC's driver, as its catalogues have it, and how those are named.
_GCC_KILLED = "%s signal terminated program %s"
_GCC_DOMAINS = ("gcc", *(f"gcc-{version}" for version in range(9, 17)))
#: A shorter piece of a message says nothing.
_TELLING = 8
#: Where glibc's catalogues are.
_LOCALE_DIR = "/usr/share/locale"
#: What chown, chgrp and install say of a user or group that the user namespace does not know (EINVAL). As coreutils'
#: catalogues have it, up to the first name.
_OWNER_FAILED = ("changing group of %s", "changing ownership of %s", "cannot change ownership of %s")
#: What mv says where it copied a directory instead of renaming it (EXDEV) and then failed: the plain run says
#: something else. As coreutils' catalogues have it, up to the first name.
_MOVE_FAILED = "inter-device move failed: %s to %s; unable to remove target"
# As the C locale has them; os.strerror() would use this process's language.
_ENGLISH = {
    errno.EPERM: "Operation not permitted",
    errno.EROFS: "Read-only file system",
    errno.EXDEV: "Invalid cross-device link",
    errno.EOVERFLOW: "Value too large for defined data type",
    errno.ESTALE: "Stale file handle",
    errno.ENOSPC: "No space left on device",
    errno.EDQUOT: "Disk quota exceeded",
    errno.ENOMEM: "Cannot allocate memory",
    errno.EAGAIN: "Resource temporarily unavailable",
    errno.EMFILE: "Too many open files",
    errno.ENFILE: "Too many open files in system",
}


class Watch:
    """Looks through a command's output while it comes. The line with such a text and all after it are not for the
    user."""

    def __init__(self, env: Sequence[bytes]) -> None:
        self._env = env
        self._lines: dict[int, bytes] = {}
        #: the end of what was passed on of a line that goes on: such a text may begin there
        self._before: dict[int, bytes] = {}
        #: what the command seems to have met
        self.error: CaptureError | None = None

    def feed(self, descriptor: int, data: bytes) -> bytes:
        """Take a piece of output; returns what may be passed on: whole lines, and nothing once such a text was seen."""
        if self.error is not None:
            return b""
        text = self._lines.pop(descriptor, b"") + data
        self.error = capture_error(self._before.pop(descriptor, b"") + text, self._env)
        if self.error is not None:
            return b""
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        if len(text) - end < _LINE_BYTES:
            self._lines[descriptor] = text[end:]
            text = text[:end]
        else:
            self._before[descriptor] = text[-_LONGEST_TEXT:]
        return text

    def rest(self) -> list[tuple[int, bytes]]:
        """What is still held back when the command has ended: (descriptor, bytes)."""
        return [(descriptor, text) for descriptor, text in self._lines.items() if text and self.error is None]


class Waiting:
    """Output that is kept back for a moment: words of several lines (a traceback) tell what they are about at their
    end."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, int, bytes]] = deque()
        self._bytes = 0

    def add(self, now: float, descriptor: int, data: bytes) -> None:
        if data:
            self._pieces.append((now, descriptor, data))
            self._bytes += len(data)

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """What has waited long enough, or is too much to be kept: (descriptor, bytes)."""
        found = []
        while self._pieces and (self._bytes > _WAITING_BYTES or now - self._pieces[0][0] >= _WAITING_S):
            _, descriptor, data = self._pieces.popleft()
            self._bytes -= len(data)
            found.append((descriptor, data))
        return found

    def all(self) -> list[tuple[int, bytes]]:
        """The rest."""
        pieces = [(descriptor, data) for _, descriptor, data in self._pieces]
        self._pieces.clear()
        self._bytes = 0
        return pieces


def capture_error(output: bytes, env: Sequence[bytes]) -> CaptureError | None:
    """The refusal in the output of a command, if it complains of an error that the capture can cause.

    Also where it ended well: a shell goes on after a line that failed. Such a command runs again on the submit host, so
    taking one too many costs time and nothing else.

    Args:
        output: what it wrote.
        env: its environment: the language of the messages.
    """
    texts = _texts(_languages(env))
    for number in _CAPTURE_ERRNOS:
        for text in texts[number]:
            if text in output:
                return CaptureError(
                    _CAPTURE_ERRNOS[number], f"it met {errno.errorcode[number]} ({_ENGLISH[number]}) inside the capture"
                )
    return None


def is_starved(output: bytes, env: Sequence[bytes]) -> bool:
    """Whether a command that failed says that a part of it was killed, or that this host was short of something.

    That costs an attempt, and at worst a run on the submit host, where its words count.
    """
    languages = _languages(env)
    texts = _texts(languages)
    if any(text in output for number in _STARVED_ERRNOS for text in texts[number]):
        return True
    return any(text in output for text in (*_STARVED_TEXTS, *_gcc_texts(languages)))


def is_out_of_memory(output: bytes, env: Sequence[bytes]) -> bool:
    """Whether a command that failed says itself that it was memory. The kernel's kill it can't tell from others."""
    texts = _texts(_languages(env))
    words = (*_MEMORY_TEXTS, *(text for number in _MEMORY_ERRNOS for text in texts[number]))
    return any(text in output for text in words)


def refusal_of(error: OSError) -> CaptureError:
    """An error of our own on the scratch disk or at set-up, as a refusal."""
    kind = CaptureRefusal.HOST
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kind = CaptureRefusal.NO_SPACE
    elif error.errno in (errno.EROFS, errno.EXDEV, errno.EOVERFLOW):
        kind = CaptureRefusal.COPY_UP
    elif error.errno == errno.ESTALE:
        kind = CaptureRefusal.STALE
    return CaptureError(kind, str(error))


def _languages(env: Sequence[bytes]) -> tuple[str, ...]:
    """What gettext looks up: LANGUAGE, else the first set of LC_ALL, LC_MESSAGES, LANG; nothing in the C locale."""
    values = dict(entry.split(b"=", 1) for entry in env if b"=" in entry)
    chosen = next((values[n] for n in (b"LC_ALL", b"LC_MESSAGES", b"LANG") if values.get(n)), b"")
    if chosen.split(b".")[0] in (b"", b"C", b"POSIX"):
        return ()
    names = [*values.get(b"LANGUAGE", b"").split(b":"), chosen]
    return tuple(os.fsdecode(n) for n in names if n and b"/" not in n)


def _encoded(text: str, language: str) -> list[bytes]:
    """In UTF-8, and in the encoding that the language's name may have behind a dot."""
    found = []
    for encoding in dict.fromkeys(("utf-8", language.partition(".")[2].partition("@")[0] or "utf-8")):
        with contextlib.suppress(LookupError, UnicodeError):
            found.append(text.encode(encoding))
    return found


@lru_cache(maxsize=8)
def _gcc_texts(languages: tuple[str, ...]) -> tuple[bytes, ...]:
    """What GCC's driver says in these languages of a program that was killed: the longest piece without a name."""
    found: list[bytes] = []
    for language in languages:
        for domain in _GCC_DOMAINS:
            with contextlib.suppress(OSError, ValueError, UnicodeError):
                translated = gettext.translation(domain, _LOCALE_DIR, [language]).gettext(_GCC_KILLED)
                piece = max(re.split(r"%(?:\d\$)?s", translated), key=len)
                if len(piece) >= _TELLING:
                    found += _encoded(piece, language)
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=8)
def _texts(languages: tuple[str, ...]) -> dict[int, tuple[bytes, ...]]:
    """Each error's words, in English and in these languages."""
    texts = {number: [text.encode()] for number, text in _ENGLISH.items()}
    texts[errno.EXDEV].append(_MOVE_FAILED.partition("%")[0].encode())
    texts[errno.EPERM] += [text.partition("%")[0].encode() for text in _OWNER_FAILED]
    for language in languages:
        for number, text in _ENGLISH.items():
            texts[number] += _translated(text, "libc", language)
        for number, ours in ((errno.EXDEV, (_MOVE_FAILED,)), (errno.EPERM, _OWNER_FAILED)):
            said = [text for message in ours for text in _translated(message, "coreutils", language)]
            texts[number] += [lead for text in said if len(lead := text.partition(b"%")[0]) >= _TELLING]
    return {number: tuple(dict.fromkeys(found)) for number, found in texts.items()}


def _translated(text: str, domain: str, language: str) -> list[bytes]:
    """The text in this language, in the encodings that it may be printed in; empty where there is no catalogue."""
    try:
        translated = gettext.translation(domain, _LOCALE_DIR, [language]).gettext(text)
    except (OSError, ValueError, UnicodeError):
        return []
    return _encoded(translated, language)

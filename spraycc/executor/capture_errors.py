"""Finds errors in a command's output that the capture can have caused. Pure, but reads message catalogues."""

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

#: An unfinished line is held back up to this length, because the text of an error may arrive in pieces.
_LINE_BYTES = 4096
#: No text of an error is longer, in any language.
_LONGEST_TEXT = 512
#: Output is delayed for this time, and at most this much of it.
_DELAY_S = 0.2
_DELAY_BYTES = 64 * 1024

_CAPTURE_ERRNOS = {
    # a user namespace refuses these, and so does an overlay with files of a group outside the namespace
    errno.EPERM: CaptureRefusal.COPY_UP,
    errno.EROFS: CaptureRefusal.COPY_UP,
    errno.EXDEV: CaptureRefusal.COPY_UP,
    errno.EOVERFLOW: CaptureRefusal.COPY_UP,
    # an executor's command has none of the caller's descriptors, except for the standard streams
    errno.EBADF: CaptureRefusal.DESCRIPTOR,
    # an overlay over NFS does not look up a name again when the file server has replaced the file; a bare mount does
    errno.ESTALE: CaptureRefusal.STALE,
    errno.ENOSPC: CaptureRefusal.NO_SPACE,
    errno.EDQUOT: CaptureRefusal.NO_SPACE,
}
#: An executor may lack the user's supplementary groups. The proof finds that out when the command has ended. But the
#: output of most commands is shown earlier, so the text of this error counts for them.
_DENIED_ERRNOS = {errno.EACCES: CaptureRefusal.COPY_UP}
# Errors on a host that lacks a resource. Another executor or the submit host may have more of it.
_STARVED_ERRNOS = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
# Texts about a lack of memory, beside those of ENOMEM: libiberty's xmalloc, in GCC and binutils, and LLVM.
_MEMORY_TEXTS = (b"out of memory", b"virtual memory exhausted", b"std::bad_alloc")
_STARVED_TEXTS = (
    *_MEMORY_TEXTS,
    # gcc.cc, about a killed cc1 or as (mostly the out-of-memory killer); the driver then exits with 1
    b"signal terminated program",
    # Clang's driver, about its own frontend
    b"failed due to signal",
    # ld.so: not enough address space, or a host that lacks a library
    b"error while loading shared libraries",
)
#: The message of GCC's driver in its catalogues, and the names of the catalogues.
_GCC_KILLED = "%s signal terminated program %s"
_GCC_DOMAINS = ("gcc", *(f"gcc-{version}" for version in range(9, 17)))
#: A shorter piece of a message is too ambiguous.
_SHORTEST_PIECE = 8
#: Directory of glibc's catalogues.
_LOCALE_DIR = "/usr/share/locale"
#: Messages of chown, chgrp and install about a user or group outside the user namespace (EINVAL), from coreutils'
#: catalogues. They are compared up to the first name.
_OWNER_FAILED = ("changing group of %s", "changing ownership of %s", "cannot change ownership of %s")
#: The message of mv if it copied a directory instead of renaming it (EXDEV) and failed; a run without capture prints
#: another message. From coreutils' catalogues, compared up to the first name.
_MOVE_FAILED = "inter-device move failed: %s to %s; unable to remove target"
# The texts of the C locale; os.strerror() would use this process's language.
_ENGLISH = {
    errno.EPERM: "Operation not permitted",
    errno.EBADF: "Bad file descriptor",
    errno.EACCES: "Permission denied",
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


class CaptureErrorScanner:
    """Scans a command's output for errors of the capture. The user gets only the output before such an error."""

    def __init__(self, env: Sequence[bytes], *, finds_denials: bool = False) -> None:
        """``finds_denials``: the user may have other permissions on this host, and output is shown at once."""
        self._env = env
        self._finds_denials = finds_denials
        self._lines: dict[int, bytes] = {}
        #: the end of the part of an unfinished line that was passed on: the text of an error may begin there
        self._before: dict[int, bytes] = {}
        #: the error that the command seems to have met
        self.error: CaptureError | None = None

    def feed(self, descriptor: int, data: bytes) -> bytes:
        """Take a piece of output; returns the whole lines to pass on, and nothing after the text of an error."""
        if self.error is not None:
            return b""
        text = self._lines.pop(descriptor, b"") + data
        self.error = capture_error(
            self._before.pop(descriptor, b"") + text, self._env, finds_denials=self._finds_denials
        )
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
        """The unfinished lines when the command has ended: (descriptor, bytes)."""
        return [(descriptor, text) for descriptor, text in self._lines.items() if text and self.error is None]


class OutputDelay:
    """Delays output for a moment: in a text of several lines (a traceback), only the last line may name the error."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, int, bytes]] = deque()
        self._bytes = 0

    def add(self, now: float, descriptor: int, data: bytes) -> None:
        if data:
            self._pieces.append((now, descriptor, data))
            self._bytes += len(data)

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """The output that was delayed long enough, or exceeds the limit: (descriptor, bytes)."""
        found = []
        while self._pieces and (self._bytes > _DELAY_BYTES or now - self._pieces[0][0] >= _DELAY_S):
            _, descriptor, data = self._pieces.popleft()
            self._bytes -= len(data)
            found.append((descriptor, data))
        return found

    def all(self) -> list[tuple[int, bytes]]:
        """The rest of the output: (descriptor, bytes)."""
        pieces = [(descriptor, data) for _, descriptor, data in self._pieces]
        self._pieces.clear()
        self._bytes = 0
        return pieces


def capture_error(output: bytes, env: Sequence[bytes], *, finds_denials: bool = False) -> CaptureError | None:
    """The refusal for a command whose output has the text of an error that the capture can cause, else None.

    The exit status does not matter, because a shell continues after a failed line. The command runs again on the submit
    host, so a false alarm only costs time.

    Args:
        output: of the command.
        env: its environment, which sets the language of the messages.
        finds_denials: denied permissions count, too.
    """
    texts = _texts(_languages(env))
    for number, kind in (_CAPTURE_ERRNOS | _DENIED_ERRNOS if finds_denials else _CAPTURE_ERRNOS).items():
        for text in texts[number]:
            if text in output:
                name = f"{errno.errorcode[number]} ({_ENGLISH[number]})"
                return CaptureError(kind, f"the command met {name} inside the capture")
    return None


def is_starved(output: bytes, env: Sequence[bytes]) -> bool:
    """True if a failed command reports that one of its processes was killed, or that this host lacks a resource.

    A false alarm costs an attempt, and at worst a run on the submit host.
    """
    languages = _languages(env)
    texts = _texts(languages)
    if any(text in output for number in _STARVED_ERRNOS for text in texts[number]):
        return True
    return any(text in output for text in (*_STARVED_TEXTS, *_gcc_texts(languages)))


def is_out_of_memory(output: bytes, env: Sequence[bytes]) -> bool:
    """True if a failed command reports a lack of memory. It can't tell a kill by the kernel from other kills."""
    return any(text in output for text in (*_MEMORY_TEXTS, *_texts(_languages(env))[errno.ENOMEM]))


def refusal_of(error: OSError) -> CaptureError:
    """The refusal for an error of the executor itself, at set-up or on the scratch disk."""
    kind = CaptureRefusal.HOST
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kind = CaptureRefusal.NO_SPACE
    elif error.errno in (errno.EROFS, errno.EXDEV, errno.EOVERFLOW):
        kind = CaptureRefusal.COPY_UP
    elif error.errno == errno.ESTALE:
        kind = CaptureRefusal.STALE
    return CaptureError(kind, str(error))


def _languages(env: Sequence[bytes]) -> tuple[str, ...]:
    """The languages for gettext: LANGUAGE, then the first set of LC_ALL, LC_MESSAGES, LANG; none in the C locale."""
    values = dict(entry.split(b"=", 1) for entry in env if b"=" in entry)
    chosen = next((values[n] for n in (b"LC_ALL", b"LC_MESSAGES", b"LANG") if values.get(n)), b"")
    if chosen.split(b".")[0] in (b"", b"C", b"POSIX"):
        return ()
    names = [*values.get(b"LANGUAGE", b"").split(b":"), chosen]
    return tuple(os.fsdecode(n) for n in names if n and b"/" not in n)


def _encoded(text: str, language: str) -> list[bytes]:
    """The text in UTF-8, and in the encoding in the language's name (after the dot)."""
    found = []
    for encoding in dict.fromkeys(("utf-8", language.partition(".")[2].partition("@")[0] or "utf-8")):
        with contextlib.suppress(LookupError, UnicodeError):
            found.append(text.encode(encoding))
    return found


@lru_cache(maxsize=8)
def _gcc_texts(languages: tuple[str, ...]) -> tuple[bytes, ...]:
    """The message of GCC's driver about a killed program in these languages: its longest piece without a name."""
    found: list[bytes] = []
    for language in languages:
        for domain in _GCC_DOMAINS:
            with contextlib.suppress(OSError, ValueError, UnicodeError):
                translated = gettext.translation(domain, _LOCALE_DIR, [language]).gettext(_GCC_KILLED)
                piece = max(re.split(r"%(?:\d\$)?s", translated), key=len)
                if len(piece) >= _SHORTEST_PIECE:
                    found += _encoded(piece, language)
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=8)
def _texts(languages: tuple[str, ...]) -> dict[int, tuple[bytes, ...]]:
    """Each error's texts, in English and in these languages."""
    texts = {number: [text.encode()] for number, text in _ENGLISH.items()}
    texts[errno.EXDEV].append(_MOVE_FAILED.partition("%")[0].encode())
    texts[errno.EPERM] += [text.partition("%")[0].encode() for text in _OWNER_FAILED]
    for language in languages:
        for number, text in _ENGLISH.items():
            texts[number] += _translated(text, "libc", language)
        for number, ours in ((errno.EXDEV, (_MOVE_FAILED,)), (errno.EPERM, _OWNER_FAILED)):
            said = [text for message in ours for text in _translated(message, "coreutils", language)]
            texts[number] += [lead for text in said if len(lead := text.partition(b"%")[0]) >= _SHORTEST_PIECE]
    return {number: tuple(dict.fromkeys(found)) for number, found in texts.items()}


def _translated(text: str, domain: str, language: str) -> list[bytes]:
    """The text in this language, in all its likely encodings; empty without a catalogue."""
    try:
        translated = gettext.translation(domain, _LOCALE_DIR, [language]).gettext(text)
    except (OSError, ValueError, UnicodeError):
        return []
    return _encoded(translated, language)

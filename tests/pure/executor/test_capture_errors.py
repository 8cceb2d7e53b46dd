"""Failures that the capture causes, found in the command's messages."""

from __future__ import annotations

import errno
import gettext
import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.errors import CaptureRefusal
from spraycc.executor import capture_errors
from spraycc.executor.capture_errors import CaptureErrorScanner, OutputDelay, capture_error, is_starved, refusal_of


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (b"touch: cannot touch '/x': Read-only file system\n", CaptureRefusal.COPY_UP),
        (b"rename: Invalid cross-device link", CaptureRefusal.COPY_UP),
        (b"a.o: Value too large for defined data type\n", CaptureRefusal.COPY_UP),
        (b"fatal error: error writing to /tmp/x.s: No space left on device", CaptureRefusal.NO_SPACE),
        (b"cc1: Disk quota exceeded", CaptureRefusal.NO_SPACE),
        (b"./t: 2: 9: Bad file descriptor\n", CaptureRefusal.DESCRIPTOR),
        (b"a.c:1:1: error: expected ';'", None),
        (
            b"mv: inter-device move failed: 'e' to 'd'; unable to remove target: Directory not empty",
            CaptureRefusal.COPY_UP,
        ),
        (b"", None),
    ],
)
def test_words_of_the_capture(output, kind):
    error = capture_error(output, (b"LANG=C",))
    assert (error and error.kind) == kind


def test_a_denied_permission_counts_only_if_asked():
    said = b"cat: secret: Permission denied\n"
    assert capture_error(said, (b"LANG=C",)) is None
    error = capture_error(said, (b"LANG=C",), finds_denials=True)
    assert error is not None
    assert error.kind is CaptureRefusal.COPY_UP


def test_the_words_are_those_of_this_libc():
    for number, text in capture_errors._ENGLISH.items():
        assert os.strerror(number) == text  # pytest runs with messages of the C locale


def test_other_languages_are_known_where_the_c_library_knows_them(monkeypatch):
    class Catalogue(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            return {"Read-only file system": "Das Dateisystem ist nur für Ferngläser"}.get(message, message)

    asked = []

    def translation(*arguments):
        asked.append(arguments)
        return Catalogue()

    monkeypatch.setattr(gettext, "translation", translation)
    capture_errors._texts.cache_clear()
    env = (b"LANG=en_US.UTF-8", b"LC_ALL=de_DE.ISO-8859-1", b"LANGUAGE=de:fr")
    said = "x: Das Dateisystem ist nur für Ferngläser"
    for data in (said.encode("latin-1"), said.encode()):
        error = capture_error(data, env)
        assert error is not None
        assert error.kind is CaptureRefusal.COPY_UP
    assert list(dict.fromkeys(a[2][0] for a in asked)) == ["de", "fr", "de_DE.ISO-8859-1"]
    assert capture_error(said.encode(), (b"LC_ALL=C", b"LANGUAGE=de")) is None
    capture_errors._texts.cache_clear()


def test_gccs_words_for_a_killed_program_are_known_in_other_languages(monkeypatch):
    class Catalogue(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            return {"%s signal terminated program %s": "%s-Signal beendete das Programm %s"}.get(message, message)

    monkeypatch.setattr(gettext, "translation", lambda domain, *rest: Catalogue())
    capture_errors._texts.cache_clear()
    capture_errors._gcc_texts.cache_clear()
    said = b"gcc: schwerer Fehler: Killed-Signal beendete das Programm cc1\nKompilierung beendet."
    assert is_starved(said, (b"LC_ALL=de_DE.UTF-8",))
    assert not is_starved(said, (b"LC_ALL=C", b"LANGUAGE=de"))
    assert not is_starved(b"a.c:1: Fehler: Signal", (b"LC_ALL=de_DE.UTF-8",))
    capture_errors._texts.cache_clear()
    capture_errors._gcc_texts.cache_clear()


def test_what_was_said_waits_for_a_moment_but_not_much_of_it():
    delayed = OutputDelay()
    delayed.add(1.0, 1, b"a")
    delayed.add(1.0, 2, b"")
    delayed.add(1.15, 2, b"b")
    assert delayed.due(1.1) == []
    assert delayed.due(1.25) == [(1, b"a")]
    delayed.add(1.25, 1, b"x" * 65536)
    assert delayed.due(1.25) == [(2, b"b")]
    assert delayed.all() == [(1, b"x" * 65536)]
    assert delayed.all() == delayed.due(9.0) == []


def test_what_follows_such_a_text_is_not_passed_on():
    scanner = CaptureErrorScanner((b"LANG=C",))
    assert scanner.feed(1, b"step 1\n" * 10_000) == b"step 1\n" * 10_000
    assert scanner.feed(2, b"said\ntouch: x: Read-only fi") == b"said\n"
    assert scanner.feed(1, b"le system\n") == b"le system\n"
    assert scanner.error is None
    assert scanner.feed(2, b"le system\n") == b""
    assert scanner.error is not None
    assert scanner.error.kind is CaptureRefusal.COPY_UP
    assert scanner.feed(1, b"step 2\n") == b""
    assert scanner.rest() == []


def test_a_line_without_an_end_is_passed_on_at_the_end_or_when_it_is_long():
    scanner = CaptureErrorScanner((b"LANG=C",))
    assert scanner.feed(1, b"10 %\r20 %") == b"10 %\r"
    assert scanner.feed(2, b"x" * 5000) == b"x" * 5000
    assert scanner.rest() == [(1, b"20 %")]


@given(
    text=st.lists(
        st.sampled_from(
            [b"a", b"word ", b"\n", b"\r", b"x" * 3000, b"Read-only file sys", b"tem", b"Read-only file system"]
        )
    ).map(b"".join),
    cuts=st.lists(st.integers(0, 20_000)),
    ended_at=st.floats(0, 1),
)
def test_the_verdict_and_what_is_passed_on_do_not_depend_on_how_output_comes_in_pieces(text, cuts, ended_at):
    """All output is passed on once and in order. From a line with a capture error, only text far before the error is."""
    scanner = CaptureErrorScanner((b"LANG=C",))
    delayed = OutputDelay()
    passed = b""
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        delayed.add(number * ended_at, 1, scanner.feed(1, text[start:end]))
        if scanner.error is None:
            passed += b"".join([data for _, data in delayed.due(number * ended_at)])
    found = text.find(b"Read-only file system")
    assert (scanner.error is not None) == (found >= 0)
    if found < 0:
        assert passed + b"".join([data for _, data in [*delayed.all(), *scanner.rest()]]) == text
    else:
        assert text.startswith(passed)
        assert b"Read-only file system" not in passed


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, "no-space"), (errno.EDQUOT, "no-space"), (errno.EOVERFLOW, "copy-up"), (errno.EIO, "host")],
)
def test_errors_of_our_own(number, kind):
    assert refusal_of(OSError(number, "x")).kind.value == kind

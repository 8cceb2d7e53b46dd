"""Recognizes the small compiles by which configure scripts try a compiler, by the names of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Part of the directory or file name of every configure test; searched first, because that is quick.
_TEST_MARKS = (
    *(b"conftest", b"TryCompile-", b"CMakeScratch", b"CMakeTmp", b"CompilerId", b"_CMakeLTOTest", b"meson-private"),
    *(b".sconf_temp", b".conf_check_", b"config.tests", b"/dummy."),
)
#: autoconf; CMake's try_compile, compiler identification and LTO check; meson's checks; SCons, waf and qmake; the
#: config.guess of all autotools' packages.
_TEST = re.compile(
    rb"(?:\A|[/\0])(?:conftest[^/\0]*(?=[\0]|\Z)"
    rb"|TryCompile-[^/\0]*/|CMakeFiles/(?:CMakeScratch|CMakeTmp)/|CMakeFiles/[^/\0]+/CompilerId[^/\0]*/|_CMakeLTOTest[^/\0]*/"
    rb"|CMake[A-Za-z]+CompilerId\.|meson-private/(?:tmp|sanitycheck)|\.sconf_temp/|\.conf_check_[^/\0]*/|config\.tests/"
    rb"|cg(?:[A-Za-z0-9]{6}|\d*-\d+)/dummy\.[co](?=[\0]|\Z))"
)


def is_configure_test(names: Iterable[bytes], cwd: bytes) -> bool:
    """True if a line with these files (sources and output) in this directory is a configure test."""
    text = cwd + b"/\0" + b"\0".join(names)
    # Not any(): a generator costs more than the search.
    for mark in _TEST_MARKS:
        if mark in text:
            return _TEST.search(text) is not None
    return False

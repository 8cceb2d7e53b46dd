"""Command lines rewritten so that all their outputs go into one directory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.commands.predict import PLACE, predict

GCC, CLANG = b"/usr/bin/x86_64-linux-gnu-gcc-12", b"/usr/lib/llvm-14/bin/clang"


def _predict(text, program=GCC):
    words = tuple(word.encode() for word in text.split())
    return predict(words, program, {}, {b"args": b"-c u.c -o o/u.o"}.get)


@pytest.mark.parametrize(
    ("program", "text", "expected"),
    [
        (GCC, "cc -c u.c -o o/u.o", "-o @/0/u.o -c u.c"),
        (GCC, "cc -c u.c -oo/u.o", "-o @/0/u.o -c u.c"),
        (GCC, "cc -c d/u.c", "-o @/0/u.o -c d/u.c"),
        (GCC, "cc -S u.c", "-o @/0/u.s -S u.c"),
        (GCC, "cc @args", "-o @/0/u.o -c u.c"),
        (GCC, "cc -MD -c u.c -o o/u.o", "-o @/0/u.o -MF @/0/u.d -MQ o/u.o -MD -c u.c"),
        (GCC, "cc -MMD -MF d/x -MT t -c u.c -o o/u.o", "-o @/1/u.o -MF @/0/x -MMD -MT t -c u.c"),
        (GCC, "cc -Wp,-MMD,o/.u.d -c u.c -o o/u.o", "-o @/0/u.o -Wp,-MMD,@/0/.u.d -c u.c"),
        (CLANG, "cc -Wp,-MMD,o/.u.d -c u.c -o o/u.o", "-o @/0/u.o -MQ o/u.o -Wp,-MMD,@/0/.u.d -c u.c"),
        (GCC, "cc -fstack-usage -c u.c -o o/u.o", "-o @/0/u.o -fstack-usage -c u.c"),
        (GCC, "cc -MM u.c -MF d/x", "-MF @/0/x -MM u.c"),
    ],
)
def test_rewritten(program, text, expected):
    found = _predict(text, program)
    assert found is not None
    assert b" ".join(found.argv[1:]).replace(PLACE, b"@").decode() == expected


@pytest.mark.parametrize(
    "text",
    [
        "cc u.c", "cc -c u.c v.c -o x.o", "cc -g -gsplit-dwarf -c u.c -o u.o", "cc --coverage -c u.c", "cc -save-temps -c u.c",
        "cc -fprofile-generate -c u.c", "cc -Wa,-al=l -c u.c", "cc -c -x c-header u.h", "cc -c u.c --output=u.o", "cc -c @missing",
        "cc -fdump-tree-all -c u.c", "cc -dumpbase x -c u.c", "cc -c -o", "cc -MD -S u.c", "cc",
    ],
)  # fmt: skip
def test_left_alone(text):
    assert _predict(text) is None


@pytest.mark.parametrize("program", [b"/usr/bin/cc", b"/usr/bin/ar", b"/usr/bin/moc", b""])
def test_other_programs_are_left_alone(program):
    assert _predict("cc -c u.c", program) is None


WORDS = st.sampled_from(
    [
        "-c",
        "-S",
        "-E",
        "-M",
        "-MM",
        "-MD",
        "-MMD",
        "-MF",
        "-MT",
        "-o",
        "-oX",
        "-MFx",
        "-Wp,-MD,d",
        "-Wp,-MMD",
        "u.c",
        "v.cc",
        "a.s",
        "x.h",
        "-",
        "-x",
        "c",
        "-g",
        "-O2",
        "-Wall",
        "@args",
        "-I.",
        "-include",
        "-fstack-usage",
    ]
).map(str.encode)


@given(
    words=st.lists(st.one_of(WORDS, st.binary(max_size=6).filter(lambda b: b"\0" not in b)), max_size=10),
    clang=st.booleans(),
)
def test_never_an_exception_and_each_place_is_named_once(words, clang):
    found = predict((b"cc", *words), CLANG if clang else GCC, {}, lambda name: b"-c u.c")
    if found is None:
        return
    line = b"\n".join(found.argv)
    places = [place for place, _ in found.outputs]
    assert len(set(places)) == len(places)
    assert line.count(PLACE) <= len(places)
    assert all(b"/" in place and not place.startswith(b"/") and b"\0" not in place for place in places)

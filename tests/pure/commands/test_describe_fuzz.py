"""Every command line gets an answer, and a link never gets a remote placement."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from spraycc.commands.describe import describe
from spraycc.commands.names import Family
from spraycc.commands.option_table import ROWS
from spraycc.commands.options import Effect, Takes
from spraycc.commands.reasons import Reason
from spraycc.model import Kind, Placement
from tests.examples import examples

MODES = {
    row.spelling
    for row in ROWS
    if row.effect
    in (
        Effect.COMPILE_ONLY,
        Effect.ASSEMBLY_ONLY,
        Effect.PREPROCESS_ONLY,
        Effect.DEPENDENCIES_ONLY,
        Effect.OTHER_MODE,
        Effect.SYNTAX_ONLY,
        Effect.QUERY,
    )
}
NAMES = st.sampled_from(
    [
        *b"a.c b.cc x/y.cpp h.h s.S t.s o.o l.a - @rsp @no /dev/null /dev/stdin foo . .. .c a. -- '' conftest.c CMakeFiles/x".split(),
        b"",
    ]
)
SPELLINGS = st.sampled_from([row.spelling for row in ROWS])
OPTIONS = st.one_of(SPELLINGS, st.builds(lambda a, b: a + b, SPELLINGS, st.one_of(NAMES, st.binary(max_size=5))))
WORDS = st.lists(st.one_of(OPTIONS, NAMES, st.binary(max_size=10)), max_size=15)
TOOLS = st.sampled_from(
    [*b"gcc g++-12 clang clang++ cc c++ ar ld as nvcc ranlib ccache x86_64-linux-gnu-gcc foo".split(), b""]
)
FILES = {b"rsp": b"-c 'b c.c' @rsp"}
KNOWN_REASONS = {reason.value for reason in Reason}


@settings(max_examples=examples(500))
@given(
    TOOLS,
    WORDS,
    st.binary(max_size=40),
    st.dictionaries(st.sampled_from([b"DEPENDENCIES_OUTPUT", b"CXX_MODULE_MAPPER"]), st.binary(max_size=5)),
)
def test_every_line_has_an_answer(tool: bytes, words: list[bytes], cwd: bytes, env: dict[bytes, bytes]) -> None:
    result = describe([tool, *words], b"/usr/bin/" + tool, cwd, env, FILES.get)
    assert result.reason in KNOWN_REASONS
    assert len(set(result.outputs)) == len(result.outputs)
    assert not any(name.startswith(b"/dev/") or name in (b"", b"-") for name in result.outputs)
    if result.kind in (Kind.LINK, Kind.ARCHIVE, Kind.UNKNOWN):
        assert result.placement is not Placement.REMOTE
    if result.kind is Kind.PROBE:
        assert result.placement is Placement.HERE_NOW
    if result.placement is Placement.REMOTE:
        assert result.inputs
        assert b"-" not in result.inputs


@given(st.lists(st.binary(max_size=30), max_size=8), st.binary(max_size=30))
def test_any_bytes_are_taken(argv: list[bytes], program: bytes) -> None:
    describe(argv, program, b"/", {}, lambda name: name)


#: Options that set no mode, with a value for those that need one; for clang and gcc.
INNOCENT = st.sampled_from(
    [row for row in ROWS if row.spelling not in MODES and row.effect not in (Effect.END, Effect.DRIVER_MODE)]
)


@settings(max_examples=examples(500))
@given(
    st.sampled_from([b"gcc", b"clang", b"cc"]),
    st.lists(st.tuples(INNOCENT, st.sampled_from([b"-c", b"-S", b"-E", b"v"])), max_size=6),
)
def test_a_mode_given_as_an_argument_is_no_mode(tool: bytes, options: list[tuple[object, bytes]]) -> None:
    family = {b"gcc": Family.GCC, b"clang": Family.CLANG, b"cc": Family.EITHER}[tool]
    words = [b"main.c"]
    for row, value in options:
        if not row.family & family or row.spelling in (b"-x", b"--language"):  # type: ignore[attr-defined]
            continue
        if row.takes is Takes.FLAG:  # type: ignore[attr-defined]
            words.append(row.spelling)  # type: ignore[attr-defined]
        elif row.takes is Takes.NEXT:  # type: ignore[attr-defined]
            words += [row.spelling, *[value] * row.words]  # type: ignore[attr-defined]
        elif row.takes is Takes.EITHER and (family is not Family.EITHER or row.family is Family.EITHER):  # type: ignore[attr-defined]
            words += [row.spelling, value]  # type: ignore[attr-defined]
    result = describe([tool, *words], b"/usr/bin/" + tool, b"/", {}, lambda name: None)
    assert result.placement is not Placement.REMOTE
    assert result.kind in (Kind.LINK, Kind.PROBE)

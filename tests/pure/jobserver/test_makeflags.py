"""Writing and parsing MAKEFLAGS. tests/system/fifo tests how real tools read it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.jobserver.makeflags import (
    Descriptors,
    Fifo,
    MakeFlags,
    compose,
    compose_cargo,
    is_foreign,
    is_plain_path,
    parse,
    split,
    without_jobserver,
    without_jobserver_in,
)

FIFO = "/tmp/spraycc-1000/0123456789ab/builds/b1/fifo"
OURS = (
    b"-j --jobserver-fds=198,198 --jobserver-auth=fifo:/tmp/spraycc-1000/0123456789ab/builds/b1/fifo"
    b" $(if $(filter jobserver-fifo,$(.FEATURES)),,--jobserver-aut=198,198)"
)
NOTHING = MakeFlags(None, parallel=False, jobs=None, others=())


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (b"", b" " + OURS),
        (b"   ", b" " + OURS),
        (b"k", b" " + OURS + b" -k"),
        (b"-k", b" " + OURS + b" -k"),
        (b"kn", b" " + OURS + b" -kn"),
        (b"ks -- VAR=x", b" " + OURS + b" -ks -- VAR=x"),
        (b" -- VAR=x", b" " + OURS + b" -- VAR=x"),
        (b"VAR=x", b" " + OURS + b" VAR=x"),
        (b"VAR=x -k", b" " + OURS + b" VAR=x -k"),
        # its own parallelism, in every spelling
        (b"j8", b" " + OURS),
        (b"kj8", b" " + OURS + b" -k"),
        (b"j 8", b" " + OURS),
        (b" -j8 --jobserver-auth=3,4 -- VAR=x", b" " + OURS + b" -- VAR=x"),
        (b"k -j --jobserver-fds=3,4 --jobserver-auth=3,4", b" " + OURS + b" -k"),
        (b" -j6 --jobserver-auth=fifo:/tmp/GMfifo77", b" " + OURS),
        (b"s --jobs=4 --jobserver-auth 3,4", b" " + OURS + b" -s"),
        (b" -l 4 -k --load-average=3 --max-load=2", b" " + OURS + b" -k"),
        # words that make rejects stay, so that make reports the error
        (b"-j0", b" " + OURS + b" -j0"),
        (b"-jfoo", b" " + OURS + b" -jfoo"),
        # other options and their arguments
        (b"-I -j8 -k", b" " + OURS + b" -I -j8 -k"),
        (b" -Idir --no-print-directory -Oline --trace", b" " + OURS + b" -Idir --no-print-directory -Oline --trace"),
        (b" --eval=A:=b\\ c -j3", b" " + OURS + b" --eval=A:=b\\ c"),
        # definitions are not options
        (b" -- X=a\\ -j8 Y=$(Z) -j8", b" " + OURS + b" -- X=a\\ -j8 Y=$(Z) -j8"),
        # references stay, as make expands them
        (b"k $(if a b,-s -i) -j8", b" " + OURS + b" -k $(if a b,-s -i)"),
    ],
)
def test_compose_keeps_the_users_flags_and_drops_their_parallelism(user: bytes, expected: bytes) -> None:
    assert compose(FIFO, 198, user) == expected


def test_composed_again_it_names_the_new_pool_only() -> None:
    inner = compose("/tmp/other/fifo", 300, compose(FIFO, 198, b"k -- V=1"))
    assert inner == compose("/tmp/other/fifo", 300, b"k -- V=1")


@pytest.mark.parametrize(
    "path", ["/tmp/a b/fifo", "/tmp/$HOME/fifo", "/tmp/a#b", "fifo", "/tmp/a\\b", "/tmp/a(b", "", "/tmp/f\n"]
)
def test_a_path_that_no_quoting_suits_is_refused(path: str) -> None:
    assert not is_plain_path(path)
    with pytest.raises(AssertionError):
        compose(path, 198)


@pytest.mark.parametrize("fd", [3, 99, 1024, 1500])
def test_a_descriptor_that_scripts_overwrite_or_make_cannot_select_is_refused(fd: int) -> None:
    with pytest.raises(AssertionError):
        compose(FIFO, fd)


def test_cargo_gets_the_descriptor() -> None:
    assert parse(compose_cargo(198)).auth == Descriptors(198, 198)
    assert b"fifo" not in compose_cargo(198)


@pytest.mark.parametrize(
    ("makeflags", "expected"),
    [
        (b"", NOTHING),
        (b"  ", NOTHING),
        (b"kn", MakeFlags(None, False, None, (b"-kn",))),
        (b" -j8 --jobserver-auth=3,4", MakeFlags(Descriptors(3, 4), True, 8, ())),
        (b" -j --jobserver-fds=3,4", MakeFlags(Descriptors(3, 4), True, None, ())),
        (
            b"k -j --jobserver-fds=3,4 --jobserver-auth=3,4 -- A=b",
            MakeFlags(Descriptors(3, 4), True, None, (b"-k", b"--", b"A=b")),
        ),
        (b" -j6 --jobserver-auth=fifo:/tmp/GMfifo7", MakeFlags(Fifo(b"/tmp/GMfifo7"), True, 6, ())),
        # the last wins, whatever its style
        (b" --jobserver-auth=fifo:/a --jobserver-auth=5,6", MakeFlags(Descriptors(5, 6), False, None, ())),
        (b" --jobserver-auth=5,6 --jobserver-auth=fifo:/a", MakeFlags(Fifo(b"/a"), False, None, ())),
        (b" --jobserver-fds=1,2 --jobserver-auth=3,4", MakeFlags(Descriptors(3, 4), False, None, ())),
        (b" -j3 -j5 --jobs=7", MakeFlags(None, True, 7, ())),
        (b" -j3 -j", MakeFlags(None, True, None, ())),
        # make 4.4 in a recipe that is not recursive
        (b" -j2 --jobserver-auth=3,4 --jobserver-auth=-2,-2", MakeFlags(Descriptors(-2, -2), True, 2, ())),
        # malformed
        (b" --jobserver-auth=foo", NOTHING),
        (b" --jobserver-auth=10,", NOTHING),
        (b" --jobserver-auth=", NOTHING),
        (b" --jobserver-auth=fifo:", NOTHING),
        (b" --jobserver-auth=3,4x", NOTHING),
        (b" --jobserver-auth", NOTHING),
        (b" -jfoo", MakeFlags(None, False, None, (b"-jfoo",))),
        # a definition is none of these
        (
            b" -- X=--jobserver-auth=3,4 --jobserver-auth=3,4",
            MakeFlags(None, False, None, (b"--", b"X=--jobserver-auth=3,4", b"--jobserver-auth=3,4")),
        ),
    ],
)
def test_parse(makeflags: bytes, expected: MakeFlags) -> None:
    assert parse(makeflags) == expected


@pytest.mark.parametrize(
    ("makeflags", "words"),
    [
        (b"a\tb  c ", (b"a", b"b", b"c")),
        (b"a\\ b c\\", (b"a\\ b", b"c\\")),
        (b"$(if a,b c) d", (b"$(if a,b c)", b"d")),
        (b"$(f (x y) z) d", (b"$(f (x y) z)", b"d")),
        (b"${f $(g h) i}j k", (b"${f $(g h) i}j", b"k")),
        (b"A=$$(b c", (b"A=$$(b", b"c")),
        (b"$(open a b", (b"$(open a b",)),
    ],
)
def test_split(makeflags: bytes, words: tuple[bytes, ...]) -> None:
    assert split(makeflags) == words


@pytest.mark.parametrize(
    ("makeflags", "left"),
    [
        (b"", b""),
        (b" " + OURS, b""),
        (b" " + OURS + b" -k -- VAR=x", b" -k -- VAR=x"),
        # make 4.3 and 4.4 to their recipes
        (b" -j --jobserver-auth=198,198", b""),
        (b"ks -j --jobserver-auth=198,198 -- VAR=a\\ b", b"ks -- VAR=a\\ b"),
        (b" -j --jobserver-auth=fifo:/f -- A=1", b" -- A=1"),
        (b" -j8 --jobserver-auth=3,4 --jobserver-auth=-2,-2", b""),
        (b" -j --jobserver-fds=3,4 --jobserver-auth=3,4 --", b""),
        # the form of MFLAGS and of CARGO_MAKEFLAGS
        (b"-ks -j --jobserver-auth=198,198", b"-ks"),
        (b"-j --jobserver-fds=9,9 --jobserver-auth=9,9", b""),
        # a letter cluster with the number in it
        (b"kj8", b"k"),
        (b"j8 -k", b"k"),
        (b"-kj8 -s", b" -k -s"),
        # without our jobserver in it, not a byte changes
        (b" -k  --trace", b" -k  --trace"),
        (b"kn -- A=b", b"kn -- A=b"),
        (b"-l4", b"-l4"),
        (b"-jfoo", b"-jfoo"),
    ],
)
def test_without_jobserver(makeflags: bytes, left: bytes) -> None:
    assert without_jobserver(makeflags) == left


def test_the_environment_of_a_remote_task() -> None:
    environment = (
        b"PATH=/bin",
        b"MAKEFLAGS=k -j --jobserver-auth=198,198 -- A=1",
        b"MFLAGS=-k -j --jobserver-auth=198,198",
        b"CARGO_MAKEFLAGS=" + compose_cargo(198),
        b"GNUMAKEFLAGS=",
        b"MAKELEVEL=1",
        b"MAKEFLAGS",
    )
    assert without_jobserver_in(environment) == (
        b"PATH=/bin",
        b"MAKEFLAGS=k -- A=1",
        b"MFLAGS=-k",
        b"GNUMAKEFLAGS=",
        b"MAKELEVEL=1",
        b"MAKEFLAGS",
    )


@pytest.mark.parametrize(
    ("makeflags", "foreign"),
    [
        (b"", False),
        (b" -k", False),
        (b" " + OURS, False),
        (b" -j --jobserver-auth=198,198", False),
        (b" -j --jobserver-auth=205,205", False),
        (b" -j --jobserver-auth=fifo:" + FIFO.encode(), False),
        (b" -j2 --jobserver-auth=-2,-2", False),
        (b" -j6 --jobserver-auth=3,4", True),
        (b" -j6 --jobserver-auth=fifo:/tmp/GMfifo99", True),
    ],
)
def test_a_pool_that_some_make_in_between_has_started_is_recognised(makeflags: bytes, foreign: bool) -> None:
    assert is_foreign(makeflags, FIFO) is foreign


_LETTERS = st.text("kinsrRwSB", min_size=1, max_size=4).map(str.encode)
_PARALLELISM = st.sampled_from(
    [
        b"-j",
        b"-j8",
        b"-j 12",
        b"--jobs=3",
        b"--jobs",
        b"--jobserver-auth=3,4",
        b"--jobserver-fds=3,4",
        b"--jobserver-auth=fifo:/x",
    ]
)
_KEPT = st.sampled_from(
    [b"-k", b"-I dir", b"--trace", b"-Oline", b"--eval=a\\ b", b"$(if x,y z)", b"-W file", b"--no-print-directory"]
)
_DEFINITIONS = st.lists(st.sampled_from([b"A=1", b"B=x\\ y", b"C=$(D)", b"E=-j8"]), max_size=3)


@given(
    st.one_of(st.just(b""), _LETTERS),
    st.lists(st.one_of(_PARALLELISM.map(lambda word: (word, False)), _KEPT.map(lambda word: (word, True))), max_size=6),
    _DEFINITIONS,
    st.integers(100, 1023),
)
def test_composed_and_parsed(
    letters: bytes, options: list[tuple[bytes, bool]], definitions: list[bytes], fd: int
) -> None:
    tail = [b"--", *definitions] if definitions else []
    user = b" ".join([letters, *(word for word, _ in options), *tail])
    kept = b" ".join([b"-" + letters if letters else b"", *(word for word, keep in options if keep), *tail])

    composed = compose(FIFO, fd, user)
    parsed = parse(composed)

    assert parsed.auth == Fifo(FIFO.encode())
    assert parsed.parallel
    assert parsed.jobs is None
    assert parsed.others == split(kept)
    assert composed.startswith(b" ")
    assert split(without_jobserver(composed)) == split(kept)


@given(st.binary(max_size=60) | st.text("j-kl8 \\$(){}=fifo:,\t", max_size=40).map(str.encode))
def test_no_bytes_are_too_odd(garbage: bytes) -> None:
    composed = parse(compose(FIFO, 198, garbage))
    assert composed.auth == Fifo(FIFO.encode())
    assert composed.parallel
    assert composed.jobs is None
    cleaned = without_jobserver(garbage)
    assert without_jobserver(cleaned) == cleaned
    assert parse(cleaned).auth is None

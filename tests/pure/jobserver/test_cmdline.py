"""The words that SprayCC removes from build tools' command lines. The tables follow the observed behaviour of the tools."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.jobserver.cmdline import Stripped, strip


def line(tool: str, words: str, makeflags: bytes = b"") -> tuple[str, int | None, bool]:
    """Strips ``words``; returns the rest with shell quoting, the cap, and whether the build gets a jobserver."""
    stripped = strip(tool, [b"argv0", *(word.encode() for word in shlex.split(words))], makeflags)
    assert stripped.argv[0] == b"argv0"
    return shlex.join(word.decode() for word in stripped.argv[1:]), stripped.cap, stripped.jobserver


MAKE = [
    # words, the words that stay, cap
    ("", "", None),
    ("all", "all", None),
    ("-j", "", None),
    ("-j8", "", 8),
    ("-j 8", "", 8),
    ("-j08 all", "all", 8),
    ("--jobs", "", None),
    ("--jobs=8", "", 8),
    ("--jobs 8", "", 8),
    ("-j1", "", 1),
    ("-j400 -C dir all", "-C dir all", 400),
    ("all -j8 install", "all install", 8),
    # the following word is a target unless it consists of digits
    ("-j foo", "foo", None),
    ("-j 8foo", "8foo", None),
    ("--jobs foo", "foo", None),
    ("-j +8", "+8", None),
    ("-j -k", "-k", None),
    ("-j -- 8", "-- 8", None),
    # clusters
    ("-kj8", "-k", 8),
    ("-kj 8", "-k", 8),
    ("-ksj all", "-ks all", None),
    ("-kj8 -sj4", "-k -s", 4),
    # the last wins
    ("-j3 -j5", "", 5),
    ("-j3 -j", "", None),
    ("-j --jobs=2", "", 2),
    # make itself reports these errors
    ("-j0", "-j0", None),
    ("-j 0", "-j 0", None),
    ("-jfoo", "-jfoo", None),
    ("-j8k", "-j8k", None),
    ("-jk", "-jk", None),
    ("-j ''", "-j ''", None),
    ("--jobs=", "--jobs=", None),
    ("--jobs=0", "--jobs=0", None),
    ("-j4 -j0", "-j0", 4),
    ("--jo=4", "--jo=4", None),
    ("--job=4", "--job=4", None),
    # arguments of other options
    ("-C -j8", "-C -j8", None),
    ("-f -j8 -j4", "-f -j8", 4),
    ("-I -j -o -j -W -j8 -E -j9", "-I -j -o -j -W -j8 -E -j9", None),
    ("--file -j8", "--file -j8", None),
    ("--dir -j8", "--dir -j8", None),
    ("--directory=x -j8", "--directory=x", 8),
    ("--eval -j8", "--eval -j8", None),
    ("--eval=-j8 -j2", "--eval=-j8", 2),
    ("-kC -j8 -j2", "-kC -j8", 2),
    ("-Cdir -j2", "-Cdir", 2),
    ("-Oline -j2", "-Oline", 2),
    ("-O -j2", "-O", 2),
    ("-Oj8", "-Oj8", None),
    ("-dj8", "-d", 8),
    ("--debug=j -j2", "--debug=j", 2),
    ("--output-sync -j2", "--output-sync", 2),
    # a make with a load limit keeps tokens that it does not use
    ("-l 4 all", "all", None),
    ("-l4 -j8", "", 8),
    ("-l .5 all", "all", None),
    ("-l x", "x", None),
    ("--load-average=3 -j8", "", 8),
    ("--load 3 -j8", "", 8),
    ("--max-load -j8", "", 8),
    ("-kl4", "-k", None),
    # after "--" all words are targets
    ("-j2 -- -j8", "-- -j8", 2),
    ("-- -l 4", "-- -l 4", None),
    # variables
    ("CFLAGS=-j8 -j2", "CFLAGS=-j8", 2),
    ("-s V=1 -j2 - ", "-s V=1 -", 2),
    # a jobserver from somewhere else
    ("--jobserver-auth=3,4 -j", "", None),
]


@pytest.mark.parametrize("tool", ["make", "gmake", "/usr/bin/make"])
@pytest.mark.parametrize(("words", "left", "cap"), MAKE)
def test_make(tool: str, words: str, left: str, cap: int | None) -> None:
    assert line(tool, words) == (left, cap, True)


@pytest.mark.parametrize("words", ["--version", "-v -j8", "--help", "-h", "-kv -j2", "--vers"])
def test_make_that_only_prints_something_is_left_alone(words: str) -> None:
    assert line("make", words) == (words, None, False)


@pytest.mark.parametrize(
    ("words", "makeflags", "cap"),
    [
        ("", b"-j8", 8),
        ("", b"kj6", 6),
        ("", b" -j6 --jobserver-auth=3,4", 6),
        ("", b" -j", None),
        ("", b"-j0", None),
        ("-j3", b"-j8", 3),
        ("-j", b"-j8", None),
    ],
)
def test_the_users_makeflags_count_where_the_line_says_nothing(words: str, makeflags: bytes, cap: int | None) -> None:
    assert line("make", words, makeflags) == ("", cap, True)


@pytest.mark.parametrize(
    ("makeflags", "gnumakeflags", "cap"),
    [(b"", b"-j1", 1), (b"k", b"j3", 3), (b"-j8", b"-j1", 8), (b"-j", b"-j1", None)],
)
def test_makeflags_replace_gnumakeflags(makeflags: bytes, gnumakeflags: bytes, cap: int | None) -> None:
    assert strip("make", [b"make"], makeflags, gnumakeflags).cap == cap
    assert strip("make", [b"make", b"-j5"], makeflags, gnumakeflags).cap == 5


NINJA = [
    ("", "", None),
    ("-j8", "", 8),
    ("-j 8", "", 8),
    ("-j0", "", None),
    ("-j 0 all", "all", None),
    ("all -j8", "all", 8),
    ("-vj2 all", "-v all", 2),
    ("-vj 2 all", "-v all", 2),
    ("-j3 -j5", "", 5),
    # ninja itself reports these errors
    ("-j", "-j", None),
    ("-jx", "-jx", None),
    ("-j x", "-j x", None),
    ("-j -3", "-j -3", None),
    ("-j ''", "-j ''", None),
    ("--jobs=3", "--jobs=3", None),
    # arguments of other options
    ("-C -j8", "-C -j8", None),
    ("-k 0 -l 4 -d explain -w dupbuild=err -f x -j2", "-k 0 -l 4 -d explain -w dupbuild=err -f x", 2),
    ("-k -j8", "-k -j8", None),
    ("-kj8", "-kj8", None),
    ("--quiet --verbose -j2", "--quiet --verbose", 2),
    ("-j2 -- -j8", "-- -j8", 2),
]


@pytest.mark.parametrize("tool", ["ninja", "ninja-build"])
@pytest.mark.parametrize(("words", "left", "cap"), NINJA)
def test_ninja(tool: str, words: str, left: str, cap: int | None) -> None:
    assert line(tool, words) == (left, cap, True)


@pytest.mark.parametrize(
    "words",
    ["-n", "-nj8", "-j8 -n", "-t clean", "-t clean -j8", "-j8 -t targets all", "-tclean", "--version", "-h", "-vn"],
)
def test_ninja_that_builds_nothing_is_left_alone(words: str) -> None:
    assert line("ninja", words) == (words, None, False)


def test_words_after_ninjas_tool_are_the_tools() -> None:
    assert line("ninja", "-t compdb -n") == ("-t compdb -n", None, False)
    assert line("ninja", "-tclean -jx -nk") == ("-tclean -jx -nk", None, False)
    assert line("ninja", "-- -n -t") == ("-- -n -t", None, True)


@pytest.mark.parametrize(
    ("words", "left", "cap"),
    [
        ("--build build", "--build build", None),
        ("--build build -j8", "--build build", 8),
        ("--build build -j 8 --target all", "--build build --target all", 8),
        ("--build build -j --target all", "--build build --target all", None),
        ("--build build --parallel 8", "--build build", 8),
        ("--build build --parallel", "--build build", None),
        ("--build build --target -j8", "--build build --target -j8", None),
        ("--build -j8 -j4", "--build -j8", 4),
        ("--build build -j0", "--build build -j0", None),
        ("--build build -- -j8 -k", "--build build -- -k", 8),
        ("--build build -j4 -- -j8", "--build build --", 8),
        ("--build build -- -j 8 -k 0", "--build build -- -k 0", 8),
        ("-S . -B build -j8", "-S . -B build -j8", None),
        ("-E env -- make -j8", "-E env -- make -j8", None),
    ],
)
def test_cmake(words: str, left: str, cap: int | None) -> None:
    assert line("cmake", words) == (left, cap, True)


@pytest.mark.parametrize(
    ("words", "left", "cap"),
    [
        ("build -j8 --release", "build --release", 8),
        ("build -j 8", "build", 8),
        ("build --jobs 8", "build", 8),
        ("build --jobs=8", "build", 8),
        ("build --jobs default", "build --jobs default", None),
        ("build -j-2", "build -j-2", None),
        ("build -pj8", "build -pj8", None),
        ("test -j2 -- -j8", "test -- -j8", 2),
        ("build", "build", None),
    ],
)
def test_cargo(words: str, left: str, cap: int | None) -> None:
    assert line("cargo", words) == (left, cap, True)


@pytest.mark.parametrize(
    ("words", "cap"), [("-j8", 8), ("--parallel 4 -V", 4), ("-j", None), ("", None), ("-R x -j 2", 2)]
)
def test_ctest_keeps_its_words(words: str, cap: int | None) -> None:
    assert line("ctest", words) == (words, cap, True)


def test_other_tools_are_left_alone() -> None:
    assert strip("bazel", [b"bazel", b"-j8"]) == Stripped((b"bazel", b"-j8"), None, jobserver=True)
    assert strip("make", []) == Stripped((), None, jobserver=True)


def test_what_was_taken_out_is_told() -> None:
    stripped = strip("make", [b"make", b"-kj", b"8", b"-l4", b"all", b"--jobs=3"])
    assert stripped.argv == (b"make", b"-k", b"all")
    assert stripped.removed == (b"-j", b"8", b"-l4", b"--jobs=3")


TOOLS = st.sampled_from(["make", "ninja", "cmake", "cargo", "ctest", "gmake", "other"])
WORDS = st.lists(
    st.sampled_from(
        [
            "-j",
            "-j8",
            "8",
            "-kj8",
            "-kj",
            "0",
            "-j0",
            "--jobs",
            "--jobs=2",
            "--job",
            "-l",
            "-l4",
            "4",
            "--",
            "-C",
            "-f",
            "-t",
            "-n",
            "-k",
            "all",
            "--build",
            "--parallel",
            "--load=3",
            "-",
            "V=1",
            "-jx",
        ]
    ).map(str.encode)
    | st.binary(max_size=6),
    max_size=8,
)


@given(TOOLS, WORDS)
def test_any_line_can_be_stripped_and_loses_nothing_but_numbers_and_their_options(
    tool: str, words: list[bytes]
) -> None:
    stripped = strip(tool, [b"tool", *words])

    # Words that stay are unchanged and in order, or they are a cluster without its end.
    rest = iter(words)
    for kept in stripped.argv[1:]:
        assert any(
            word == kept or (len(kept) > 1 and word.startswith(kept) and word[len(kept) :][:1] in (b"j", b"l"))
            for word in rest
        )
    # A removed word is a -j option or its argument.
    for position, gone in enumerate(stripped.removed):
        option = gone.startswith((b"-j", b"-l", b"--j", b"--l", b"--max", b"--par", b"--p"))
        assert option or stripped.removed[position - 1].startswith(b"-"), stripped.removed
    # Stripping a second time removes nothing.
    again = strip(tool, stripped.argv)
    assert again.argv == stripped.argv
    assert again.removed == ()


@given(WORDS)
def test_words_without_the_letters_stay(words: list[bytes]) -> None:
    words = [word for word in words if b"j" not in word and b"l" not in word]
    for tool in ("make", "ninja"):
        assert strip(tool, [b"tool", *words]).argv == (b"tool", *words)

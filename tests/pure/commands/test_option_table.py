"""The option table: its order, its reach, and what the real drivers say of each row."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.commands.names import Family
from spraycc.commands.option_table import ROWS
from spraycc.commands.options import Effect, OptionTable, Row, Takes
from spraycc.commands.parse import _EFFECTS, Mode, parse

FAMILIES = [Family.GCC, Family.CLANG, Family.EITHER]


def test_the_table_is_sorted_and_has_no_duplicates() -> None:
    keys = [row.spelling for row in ROWS]
    assert keys == sorted(keys)
    for first, second in itertools.pairwise(ROWS):
        assert first.spelling != second.spelling or not first.family & second.family, first


def test_rows_are_well_formed() -> None:
    for row in ROWS:
        assert row.spelling.startswith(b"-"), row
        assert row.words >= 1
        assert row.words == 1 or row.takes is Takes.NEXT, row


def test_every_row_can_be_reached() -> None:
    for family in (Family.GCC, Family.CLANG):
        table = OptionTable(ROWS, family)
        for row in ROWS:
            if not row.family & family:
                continue
            assert table.exact[row.spelling] is row
            if row.takes in (Takes.JOINED, Takes.EITHER, Takes.BOTH):
                # some word must be found by this row and no other
                assert table.find_joined(row.spelling + b"\x01") is row


def test_every_effect_is_handled_and_used() -> None:
    assert set(_EFFECTS) == set(Effect)
    assert {row.effect for row in ROWS} == set(Effect)


def _slow_find(rows: list[Row], word: bytes) -> Row | None:
    hits = [
        row for row in rows if row.takes in (Takes.JOINED, Takes.EITHER, Takes.BOTH) and word.startswith(row.spelling)
    ]
    return max(hits, key=lambda row: len(row.spelling), default=None)


SPELLINGS = st.sampled_from([row.spelling for row in ROWS])
WORDS = st.one_of(
    SPELLINGS,
    st.builds(lambda a, b: a + b, SPELLINGS, st.binary(max_size=6)),
    st.builds(lambda a, n: a[:n], SPELLINGS, st.integers(1, 12)),
)


@given(st.sampled_from(FAMILIES), WORDS)
def test_lookup_is_the_longest_prefix(family: Family, word: bytes) -> None:
    table = OptionTable(ROWS, family)
    assert table.find_joined(word) is _slow_find(list(table.exact.values()), word)


@given(st.sampled_from(FAMILIES), WORDS)
def test_a_quiet_lead_hides_no_effect(family: Family, word: bytes) -> None:
    table = OptionTable(ROWS, family)
    if table.is_quiet(word[:6]) and word not in table.exact:
        row = table.find_joined(word)
        assert row is not None
        assert row.effect is Effect.NONE
        assert row.takes is not Takes.BOTH


#: Options that the drivers list in --help, and what they do with a next word: found by asking them, see below.
EXTRA = b"-Q -foo -fno-foo -Wfoo -mfoo -gfoo -O7 -static-pie --foo --no-foo -print-foo -save-temps -x -MD -MMD -MG -Z -q".split()

#: The real driver reads the word after these as an argument only in other ways, or refuses before it gets there.
NOT_TRIED = {b"--help=", b"-x", b"--language"}

#: Clang got these after 14.
LATER_CLANG = {b"-dumpdir", b"-objc-isystem", b"-objcxx-isystem", b"-Xoffload-linker"}


@pytest.mark.slow
@pytest.mark.parametrize(("compiler", "family"), [("gcc", Family.GCC), ("clang-14", Family.CLANG)])
def test_the_real_driver_takes_the_same_next_words(compiler: str, family: Family, tmp_path: Path) -> None:
    """`CC -### a.c OPTION -c`: if the option takes the -c, what is printed goes on to a link; so must our parse."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / "a.c").write_bytes(b"int x;\n")
    spellings = {row.spelling for row in ROWS if row.effect not in (Effect.QUERY, Effect.OTHER_MODE)} | set(EXTRA)
    spellings -= NOT_TRIED | (LATER_CLANG if compiler == "clang-14" else set())

    def ask(spelling: bytes) -> str | None:
        run = subprocess.run(
            [compiler, "-###", "a.c", spelling, b"-c"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        said = run.stderr
        if re.search(
            r"unrecognized|unknown argument|unsupported|missing argument|argument to .* is missing|fatal error", said
        ):
            return None
        links = "collect2" in said or '"a.out"' in said or '/ld"' in said
        compiles = "cc1" in said
        if not links and not compiles:
            return None
        line = parse([b"a.c", spelling, b"-c"], family, cxx=False)
        return (
            None
            if (line.mode is Mode.LINK) is links
            else f"{spelling!r}: the driver {'links' if links else 'compiles'}"
        )

    with ThreadPoolExecutor(2) as pool:
        wrong = [answer for answer in pool.map(ask, sorted(spellings)) if answer is not None]
    assert not wrong, "\n".join(wrong)


# `gcc --completion=-` lists 16,000 spellings and takes minutes to ask; these are the ones of them that took the next word.
GCC_NEXT = (
    b"--assert --define-macro --dump --dumpbase --dumpbase-ext --dumpdir --entry --for-assembler --for-linker --force-link --imacros "
    b"--include --include-directory --include-directory-after --include-prefix --include-with-prefix --include-with-prefix-after "
    b"--include-with-prefix-before --intrinsic-modules-path --language --library-directory --output --output-pch= --prefix --sysroot --undef "
    b"--undefine-macro -A -B -D -F -Hd -Hf -I -J -L -MF -MQ -MT -R -T -Tbss -Tdata -Ttext -U -Xassembler -Xf -Xlinker -Xpreprocessor "
    b"-aux-info -dumpbase -dumpbase-ext -dumpdir -e -fintrinsic-modules-path -h -idirafter -imacros -imultilib -include -iprefix -iquote "
    b"-isysroot -isystem -iwithprefix -iwithprefixbefore -l -o -u -wrapper -x -z --param -specs --specs"
).split()
CLANG_NEXT = (
    b"--analyzer-output --imacros --include --param --serialize-diagnostics -A -B -D -F -G -I -L -MF -MJ -MQ -MT -T -Tbss -Tdata -Ttext -U "
    b"-Xanalyzer -Xarch_device -Xarch_host -Xassembler -Xclang -Xcuda-fatbinary -Xcuda-ptxas -Xlinker -Xopenmp-target -Xopenmp-target=x "
    b"-Xpreprocessor -arcmt-migrate-report-output -ccc-arcmt-migrate -ccc-gcc-name -ccc-install-dir -ccc-objcmt-migrate -cxx-isystem "
    b"-dependency-dot -dependency-file -dsym-dir -e -fdebug-compilation-dir -filelist -fmodules-user-build-path -ftrapv-handler "
    b"-fxray-always-instrument= -fxray-attr-list= -fxray-instruction-threshold -fxray-instruction-threshold= -fxray-instrumentation-bundle= "
    b"-fxray-modes= -fxray-never-instrument= -gen-cdb-fragment-path -idirafter -iframework -iframeworkwithsysroot -imacros -imultilib "
    b"-include -include-pch -iprefix -iquote -isysroot -isystem -isystem-after -ivfsoverlay -iwithprefix -iwithprefixbefore -iwithsysroot "
    b"-l -meabi -mllvm -module-dependency-dir -mthread-model -o -resource-dir -rpath -serialize-diagnostics -stdlib++-isystem -u "
    b"-undefined -working-directory -x -z -b --config -framework -arch -target"
).split()


@pytest.mark.parametrize(
    ("family", "spelling"), [(Family.GCC, word) for word in GCC_NEXT] + [(Family.CLANG, word) for word in CLANG_NEXT]
)
def test_what_the_drivers_were_seen_to_take(family: Family, spelling: bytes) -> None:
    line = parse([b"a.c", spelling, b"-c"], family, cxx=False)
    assert line.mode is Mode.LINK
    assert [source.name for source in line.inputs] == [b"a.c"]
    # for a compiler of unknown family the same, as to miss one could take a link for a compile
    assert parse([b"a.c", spelling, b"-c"], Family.EITHER, cxx=False).mode is Mode.LINK

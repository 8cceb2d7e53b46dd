"""The option table: sorted, well-formed, every row reachable. tests/system/commands compares it with the real drivers."""

from __future__ import annotations

import itertools

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
                # this row must match some word that no other row matches
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
    # The same for a compiler of unknown family: a missed option could make a link look like a compile.
    assert parse([b"a.c", spelling, b"-c"], Family.EITHER, cxx=False).mode is Mode.LINK

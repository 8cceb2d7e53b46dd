"""The drivers of GCC and Clang, compared with each row of the option table."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spraycc.commands.names import Family
from spraycc.commands.option_table import ROWS
from spraycc.commands.options import Effect
from spraycc.commands.parse import Mode, parse
from tests.system.harness import needs

#: Options that the drivers list in --help, and how they treat the next word: found with the real drivers.
EXTRA = b"-Q -foo -fno-foo -Wfoo -mfoo -gfoo -O7 -static-pie --foo --no-foo -print-foo -save-temps -x -MD -MMD -MG -Z -q".split()

#: The real driver takes the next word as an argument only in other situations, or rejects the line before.
NOT_TRIED = {b"--help=", b"-x", b"--language"}

#: Clang has these options since a version after 14.
LATER_CLANG = {b"-dumpdir", b"-objc-isystem", b"-objcxx-isystem", b"-Xoffload-linker"}


@pytest.mark.slow
@pytest.mark.parametrize(("compiler", "family"), [("gcc", Family.GCC), ("clang-14", Family.CLANG)])
def test_the_real_driver_takes_the_same_next_words(compiler: str, family: Family, tmp_path: Path) -> None:
    """`CC -### a.c OPTION -c`: if the option takes the -c, the printed commands include a link; so must our parse."""
    needs.compiler(compiler)
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

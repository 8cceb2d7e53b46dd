"""The parsers in the runner's C code, under libFuzzer with ASan and UBSan.

Each run has the same inputs. tests/stress draws others: FUZZ_SECONDS is the duration, FUZZ_SEED the seed. Without a clang
that has libFuzzer the tests are skipped; in CI they fail.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.system.harness import needs
from tests.system.harness.native import NATIVE, runner_parts
from tests.system.harness.waiting import LONG_HANG_S

HERE = Path(__file__).parent
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]

#: target -> the sources of the runner that it replaces, and the directory of its corpus
TARGETS = {
    "fuzz_message": ((), "corpus"),
    "fuzz_words": (("build_tool.c",), "corpus_words"),
}
#: target -> inputs, unless FUZZ_SECONDS is set
RUNS = {"fuzz_message": 1_000_000, "fuzz_words": 100_000}
#: The least number of inputs a second, with FUZZ_SECONDS: a target with fewer does nothing.
LEAST_A_SECOND = 100

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LONG_HANG_S)]


def compile_target(name: str, directory: Path) -> Path:
    clang = needs.program("clang")
    sources = [HERE / f"{name}.c", *runner_parts(*TARGETS[name][0])]
    target = directory / "fuzz"
    sanitize = "-fsanitize=fuzzer,address,undefined"
    command: list[str | Path] = [clang, *FLAGS, sanitize, "-I", NATIVE / "runner", *sources, "-o", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "libclang_rt" in done.stderr:
        needs.missing("libFuzzer", "libclang-rt-14-dev")
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz(name: str, tmp_path: Path) -> None:
    """The corpus stays unchanged. New inputs go to a separate directory."""
    target = compile_target(name, tmp_path)
    (tmp_path / "new").mkdir()
    seconds = int(os.environ.get("FUZZ_SECONDS", "0"))
    least = LEAST_A_SECOND * seconds if seconds else RUNS[name]
    length = f"-max_total_time={seconds}" if seconds else f"-runs={RUNS[name]}"
    done = subprocess.run(
        [target, length, f"-seed={os.environ.get('FUZZ_SEED', '1')}", "-max_len=4096", "-timeout=60",
         "-rss_limit_mb=512", "-print_final_stats=1", f"-artifact_prefix={tmp_path}/", tmp_path / "new",
         HERE / TARGETS[name][1]],
        capture_output=True, text=True, errors="replace", check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed, done.stderr[-2000:]
    print(f"{executed[1]} inputs")
    assert int(executed[1]) >= least, "it hardly ran"

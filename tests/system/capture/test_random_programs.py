"""Random small shell programs of file operations: their tree equals the tree of a plain run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.system.capture.bench import Bench, Contents

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]

FILES: Contents = {
    "a": "a\n",
    "b": "b\n",
    "d/a": "da\n",
    "d/b": "db\n",
    "d/d/a": "dda\n",
    "e/": None,
    "l": "-> a",
    "k": "-> d",
}

#: Few names, so that operations use the same files.
PATHS = st.sampled_from(
    ["a", "b", "c", "d", "e", "k", "l", "d/a", "d/b", "d/c", "d/d", "d/d/a", "d/d/c", "e/a", "e/d", "k/a", "k/n"]
)
MODES = st.sampled_from(["600", "644", "755", "700", "4755", "555", "000", "g+s"])
TIMES = st.sampled_from(["@1", "@1000000000.5"])

#: -T and -f make mv and cp predictable and silent. Errors are part of the program; the test compares their messages, too.
OPERATIONS = st.one_of(
    st.builds("echo {} > {}".format, st.integers(0, 9), PATHS),
    st.builds("echo {} >> {}".format, st.integers(0, 9), PATHS),
    st.builds("mkdir {}".format, PATHS),
    st.builds("mkdir -p {}".format, PATHS),
    st.builds("rmdir {}".format, PATHS),
    st.builds("rm -f {}".format, PATHS),
    st.builds("rm -rf {}".format, PATHS),
    st.builds("mv -fT {} {}".format, PATHS, PATHS),
    st.builds("mv -f {} {}".format, PATHS, PATHS),
    # Through a third place: how far a copy into itself gets depends on the order of the directory's entries.
    st.builds("cp -a {} new; mv -f new {}".format, PATHS, PATHS),
    st.builds("ln -s {} {}".format, PATHS, PATHS),
    st.builds("ln -sfn {} {}".format, PATHS, PATHS),
    st.builds("ln {} {}".format, PATHS, PATHS),
    st.builds("cp {} {}".format, PATHS, PATHS),
    st.builds("cat {} > {}".format, PATHS, PATHS),
    st.builds("cd {}; echo > ../new; cd -".format, PATHS),
    st.builds("chmod {} {}".format, MODES, PATHS),
    st.builds("touch -d {} {}".format, TIMES, PATHS),
    st.builds("touch -h -d {} {}".format, TIMES, PATHS),
    st.builds("rm -rf {0}; mkdir {0}".format, PATHS),
    st.builds("truncate -s {} {}".format, st.sampled_from(["0", "1", "70000"]), PATHS),
)
PROGRAMS = st.lists(OPERATIONS, min_size=1, max_size=8).map("\n".join)


@settings(
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=PROGRAMS)
def test_random_program(user_overlay: Bench, program: str) -> None:
    user_overlay.compare(program, FILES, remote=True).same()

"""Rules of the policy, and `spraycc why`, on a real build."""

from __future__ import annotations

import json

import pytest

from tests.system.harness.sandbox import Account, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]


def test_policy_and_why(sandbox: Sandbox) -> None:
    sandbox.write({"gen-table": '#!/bin/sh\necho "int t[] = {$1};" > "$2"\n'}, sandbox.aside / "bin", mode=0o755)
    sandbox.path_front.append(sandbox.aside / "bin")
    sandbox.write(
        {
            ".spraycc.toml": '[policy]\nremote = ["gen-table"]\nhere-light = ["gcc *-Dlocal*"]\n',
            "Makefile": "all: t.o u.o\nt.c:\n\tgen-table 1,2 $@\nt.o: t.c\n\tgcc -c t.c -o t.o\nu.o: u.c\n\tgcc -Dlocal=1 -c u.c -o u.o\n",
            "u.c": "int u;\n",
        }
    )
    built = sandbox.build("make").ok()
    assert built.figures["remote"] == 2, built.words()
    assert (sandbox.workspace / "t.c").read_text() == "int t[] = {1,2};\n"
    assert (sandbox.workspace / "t.o").exists()
    assert (sandbox.workspace / "u.o").exists()
    spraycc = sandbox.bin / "spraycc"
    summary = sandbox.run(spraycc, "why").ok().out.decode()
    heading, *counts = summary.splitlines()
    assert heading.startswith("build 1, ")
    assert heading.endswith(", status 0: make")
    assert [line.split(maxsplit=2)[1:] for line in sorted(counts)] == sorted(
        [
            ["remote", "compile"],
            ["remote", "policy: remote = 'gen-table'"],
            ["here", "policy: here-light = 'gcc *-Dlocal*'"],
        ],
        key=lambda pair: f"      1  {pair[0]:9}  {pair[1]}",
    )
    told = sandbox.run(spraycc, "why", "u.o").ok().out.decode()
    assert told == "u.o: here: policy: here-light = 'gcc *-Dlocal*'\n"
    line = json.loads(sandbox.run(spraycc, "why", "--json", "t.o").ok().out)
    assert (line["target"], line["ran"], line["status"]) == ("t.o", "remote", 0)
    assert sandbox.run(spraycc, "why", "nothing-like-it").status == 1


@pytest.fixture
def sandbox():
    made = Sandbox(Account.unprivileged())
    yield made
    made.close()

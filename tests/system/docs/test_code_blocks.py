"""The blocks of shell code in the README, the tutorials and the how-to pages are run, in the order of each page.

All blocks of a page are one script, so a block sees the directory and the variables that earlier blocks have left. The
script runs in a small project, with executors on this host. NOT_RUN has the blocks that can't run in this way. These
are at least valid shell code, and tests/pure/docs/test_blocks.py parses each call of spraycc in them.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pages import DOCS, TOP, Block, blocks, name_of
from tests.system.harness import needs
from tests.system.harness.projects import c_project
from tests.system.harness.sandbox import EXAMPLES, Sandbox

PAGES = [TOP / "README.md", *sorted((DOCS / "start").glob("*.md")), *sorted((DOCS / "how-to").glob("*.md"))]
#: Page -> words of a block that is not run, and the reason. Empty words: all blocks of the page that no other words fit.
NOT_RUN: dict[str, dict[str, str]] = {
    "README.md": {
        "pip install": "needs a package index",
        "spraycc config init": "needs a cluster manager",
    },
    "docs/start/one-machine.md": {"pip install": "needs a package index"},
    "docs/start/convert.md": {"dpkg-buildpackage": "needs a Debian package"},
    "docs/start/slurm.md": {"": "needs Slurm"},
    **{
        f"docs/start/{name}.md": {"spraycc make": "needs the cluster manager"} for name in ("lsf", "pbs", "grid-engine")
    },
    "docs/how-to/ccache.md": {"sccache": "leaves sccache's server behind, if there is an sccache"},
    "docs/how-to/clusters.md": {"": "needs a cluster"},
    "docs/how-to/compilers.md": {"module load": "needs environment modules"},
    "docs/how-to/containers.md": {"--cluster": "needs a cluster"},
    "docs/how-to/firewalls.md": {
        "nft": "changes a firewall",
        "firewall-cmd": "changes a firewall",
        "--cluster": "needs a cluster",
        "/dev/tcp": "needs a server of another host",
    },
    "docs/how-to/limits.md": {
        "pgrep": "has names in place of a user and a process",
        "squeue": "needs Slurm, and has a name in place of a user",
        "sacctmgr": "needs Slurm, and has a name in place of a user",
        "scontrol": "needs Slurm, and has a word in place of a batch job",
        "cluster show": "needs a running server",
    },
    "docs/how-to/site-configuration.md": {"pip": "needs a package index"},
    "docs/how-to/upgrading.md": {"pip": "needs a package index", "ls -d": "fails, because the directories are gone"},
}
#: Pages whose first block of TOML is the configuration of the project.
CONFIGURED = {f"docs/start/{name}.md" for name in ("lsf", "pbs", "grid-engine")}
#: Printed before each block: the message of a failure shows which block it was.
MARK = "@@@ block of line "


def shell_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "sh"]


def reason_not_to_run(page: Path, block: Block) -> str:
    """Why a block is not run; empty: it is."""
    known = NOT_RUN.get(name_of(page), {})
    return next((why for words, why in known.items() if words and words in block.text), known.get("", ""))


def run_blocks(page: Path) -> list[Block]:
    return [block for block in shell_blocks(page) if not reason_not_to_run(page, block)]


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """A sandbox whose workspace has a small project for several build tools, and the project of examples/."""
    files = c_project(3) | _OTHER_TOOLS
    files["Makefile"] += "\ntest check: prog\n\t./prog\n"
    sandbox.write(files)
    sandbox.write({"configure": "#!/bin/sh\ntest -f Makefile\n"}, sandbox.workspace, mode=0o755)
    shutil.copytree(EXAMPLES / "hello-cpp", sandbox.workspace / "examples/hello-cpp")
    for source in (sandbox.workspace / "examples/hello-cpp").rglob("*.cpp"):
        # The real units take half a minute of CPU in each build. Other tests build them.
        source.write_text(
            f"int {'main' if source.stem == 'main' else f'{source.parent.name}_{source.stem}'}() {{ return 0; }}\n"
        )
    sandbox.give(sandbox.workspace)
    return sandbox


_OTHER_TOOLS = {
    "CMakeLists.txt": (
        "cmake_minimum_required(VERSION 3.16)\nproject(prog C)\nadd_executable(prog main.c u1.c u2.c u3.c)\n"
    ),
    "meson.build": (
        "project('prog', 'c')\nprog = executable('prog', 'main.c', 'u1.c', 'u2.c', 'u3.c')\ntest('runs', prog)\n"
    ),
}
_PROGRAMS = {"cmake": "cmake", "ninja": "ninja-build", "meson": "meson", "ccache": "ccache", "g++": "g++"}


@pytest.mark.parametrize("page", [page for page in PAGES if run_blocks(page)], ids=name_of)
def test_the_blocks_of_a_page_run(project: Sandbox, page: Path) -> None:
    needs.programs(_PROGRAMS)
    script = "set -e\n"
    if page.parent.name == "how-to":
        # The reader of a how-to page has built before.
        script += "spraycc make >/dev/null\n"
    else:
        # The tutorials show what a user gets who has no settings.
        for name in ("SPRAYCC_CAPTURE", "SPRAYCC_PROGRESS", "SPRAYCC_PENDING_GRACE_S"):
            del project.settings[name]
    if name_of(page) in CONFIGURED:
        configuration = next(block for block in blocks(page) if block.language == "toml")
        project.write({".spraycc.toml": configuration.text})
    script += "".join(f"echo '{MARK}{block.line}' >&2\n{block.text}" for block in run_blocks(page))
    project.write({"script": script}, project.aside)
    finished = project.run("bash", project.aside / "script")
    at = finished.err.decode(errors="replace").rpartition(MARK)[2].partition("\n")[0]
    assert finished.status == 0, f"{name_of(page)}, block of line {at}: status {finished.status}\n{finished.words()}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_valid_shell_code(page: Path) -> None:
    for block in shell_blocks(page):
        # bash, because pages use its <(…).
        checked = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
        assert checked.returncode == 0, f"{name_of(page)}, line {block.line}: {checked.stderr}"


def test_each_exception_fits_a_block() -> None:
    for name, known in NOT_RUN.items():
        texts = [block.text for block in shell_blocks(TOP / name)]
        stale = [words for words in known if not any(words in text for text in texts)]
        assert not stale, f"{name}: {stale}"
        assert all(known.values())

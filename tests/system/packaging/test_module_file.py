"""The example of a module file, with Environment Modules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from spraycc import __version__
from tests.system.harness import needs

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "modulefile" / "spraycc"
#: Debian's place.
MODULECMD = Path("/usr/lib/modulecmd.tcl")


def test_the_example_is_for_this_version() -> None:
    assert (EXAMPLE / __version__).is_file()


def test_a_loaded_module_has_the_command_and_the_manual(tmp_path: Path) -> None:
    if not MODULECMD.exists():
        needs.missing("modulecmd.tcl", "environment-modules")
    for version in (__version__, "9.9.9"):
        root = tmp_path / "opt" / version
        for name in ("bin", "commands"):
            (root / name).mkdir(parents=True)
        for name in ("spraycc", "python3"):
            (root / "bin" / name).write_text(f"#!/bin/sh\necho {name} {version}\n")
            (root / "bin" / name).chmod(0o755)
        (root / "commands/spraycc").symlink_to("../bin/spraycc")
    files = tmp_path / "modulefiles" / "spraycc"
    shutil.copytree(EXAMPLE, files)
    text = (files / __version__).read_text().replace("/opt/spraycc", str(tmp_path / "opt"))
    for version in (__version__, "9.9.9"):
        (files / version).write_text(text)
    script = f"""
    load() {{ eval "$(tclsh {MODULECMD} sh load spraycc/$1)"; }}
    load {__version__}; spraycc; echo "$MANPATH"; command -v python3
    eval "$(tclsh {MODULECMD} sh unload spraycc)"; load 9.9.9; spraycc
    """
    env = {"PATH": "/usr/bin:/bin", "MODULEPATH": str(files.parent), "HOME": str(tmp_path)}
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True)
    assert done.stderr == ""
    first, manual, python, second = done.stdout.splitlines()
    assert python == "/usr/bin/python3", "the module leaves the user's Python alone"
    assert (first, second) == (f"spraycc {__version__}", "spraycc 9.9.9")
    assert manual == f"{tmp_path}/opt/{__version__}/share/man:"

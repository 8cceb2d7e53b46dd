"""Starts a module of SprayCC in a Python that the user's Python settings do not reach.

As a script: ``python -E -P isolated.py -m MODULE ARGUMENTS``. ``-E`` ignores PYTHONHOME, PYTHONPATH and the other
variables, ``-P`` keeps the working directory and the script's directory off the module path. PYTHONPATH may name
directories with another ``cbor2`` or ``enum``, and an invalid PYTHONHASHSEED ends the interpreter.

``-I`` would do more: it also ignores the user's own site-packages, where ``pip install --user`` puts SprayCC. An
installation that only PYTHONPATH makes known (``pip install --target``) works, because :func:`complete_path` puts those
directories last, where they hide nothing.

Python obeys PYTHONEXECUTABLE even with ``-E`` (seen: 3.11): it then finds no virtual environment. So the process
removes the variable and executes Python again.

This file imports no module of SprayCC, because it runs before SprayCC can be imported.
"""

from __future__ import annotations

import os
import sys

#: The directory with the package spraycc.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: The interpreter's options.
OPTIONS = ("-E", "-P")


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs ``module`` as ``python -m`` would."""
    return [sys.executable, *OPTIONS, os.path.abspath(__file__), "-m", module, *arguments]


def complete_path() -> None:
    """Append to ``sys.path``: this installation, then the directories in PYTHONPATH.

    Relative directories are left out: the working directory may be a stranger's.
    """
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for directory in (_ROOT, *named):
        if os.path.isabs(directory) and directory not in sys.path:
            sys.path.append(directory)


def forget_executable() -> None:
    """Execute this process's command line again without PYTHONEXECUTABLE, if it is set."""
    if "PYTHONEXECUTABLE" in os.environ:
        del os.environ["PYTHONEXECUTABLE"]
        os.execvp(sys.orig_argv[0], sys.orig_argv)


def import_package() -> None:
    """Import the package spraycc from this installation, even if the module path has another one in front."""
    sys.path.insert(0, _ROOT)
    try:
        import spraycc  # noqa: F401  # its __init__ imports nothing, so nothing else can come from this directory
    finally:
        del sys.path[0]


def _main() -> None:
    import runpy

    forget_executable()
    import_package()
    complete_path()
    _, module, *arguments = sys.argv[1:]
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()

"""Variables as code of the user's shell, and the shell that will read it.

sh, bash, dash, zsh, ksh and fish read ``export NAME='value';``. (fish joins the lines of a substitution by blanks,
hence the semicolons.) csh and tcsh read ``setenv NAME 'value';``. Each of the three languages unsets in its own way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from spraycc.errors import SprayccError

#: The words of ``spraycc env --shell``: shells, each of which speaks one of the three languages sh, csh and fish.
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "fish")
#: Names of programs that are such a shell. All others speak the language of sh.
_CSH = ("csh", "tcsh", "bsd-csh")
_SH = ("sh", "bash", "dash", "zsh", "ksh", "ksh93", "mksh", "lksh", "ash", "busybox", "yash", "rbash", "zsh5")
#: Programs that may stand between the shell and us: `sudo -E spraycc env`, `time spraycc env`.
_WRAPPERS = ("sudo", "time", "timeout", "nice", "ionice", "strace", "stdbuf", "chrt", "taskset")
_MOST_WRAPPERS = 8
#: language -> the command that unsets a variable
_UNSET = {"sh": b"unset", "fish": b"set -e", "csh": b"unsetenv"}


def language(name: str) -> str | None:
    """The language of the shell whose program is called ``name``; None if the program is no known shell."""
    if name in _CSH:
        return "csh"
    if name == "fish":
        return "fish"
    return "sh" if name in _SH else None


def parents_shell(pid: int, look: Callable[[int], tuple[tuple[str, ...], int]]) -> str:
    """The name of the shell that reads our output: our parent, or the parent of a wrapper such as sudo.

    ``sh`` if no known shell is found.

    Args:
        pid: our parent.
        look: gets a process id; returns the possible names of its program and its parent, as :func:`look_up` does.
    """
    for _ in range(_MOST_WRAPPERS):
        names, parent = look(pid)
        for name in names:
            if language(name) is not None:
                return name.removeprefix("bsd-")  # Debian's csh is the program bsd-csh
        if not any(name in _WRAPPERS for name in names):
            break
        pid = parent
    return "sh"


def look_up(pid: int) -> tuple[tuple[str, ...], int]:
    """(names of the program, parent) of a process, from /proc; ((), 0) if it can't be read."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return (), 0
    name = text[text.index("(") + 1 : text.rindex(")")]
    parent = int(text[text.rindex(")") + 1 :].split()[1])
    try:
        # First: the other is that of a script, if a script is the program. After an upgrade " (deleted)" follows.
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
    except OSError:
        return (name,), parent
    return (program, name), parent


def exports(variables: Mapping[bytes, bytes], shell: str) -> list[bytes]:
    """Lines of shell code that set and export these variables, or unset a variable whose value is empty.

    Args:
        variables: name -> value.
        shell: a language.

    Raises:
        SprayccError: csh can't hold a value.
    """
    export = _setenv if shell == "csh" else _export
    return [export(name, value) if value else b"%s %s;" % (_UNSET[shell], name) for name, value in variables.items()]


def _export(name: bytes, value: bytes) -> bytes:
    return b"export %s=%s;" % (name, quote(value))


def _setenv(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        raise SprayccError(
            f"{os.fsdecode(name)} has a line break, which csh can't pass on; take it out, or use bash or zsh"
        )
    return b"setenv %s %s;" % (name, quote(value, b"'\\!"))


def quote(value: bytes, special: bytes = b"'\\") -> bytes:
    """Quoted for a POSIX shell and for fish: in fish a backslash in quotes is special before a quote or a backslash.

    ``special``: the bytes that get a backslash outside the quotes. csh looks for ``!`` in quotes, too.
    """
    quoted = bytearray(b"'")
    for byte in value:
        quoted += b"'\\%c'" % byte if byte in special else b"%c" % byte
    return bytes(quoted + b"'")

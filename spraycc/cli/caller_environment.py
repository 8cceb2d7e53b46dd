"""The environment as the caller of ``spraycc`` gave it, and its way to the programs that SprayCC executes.

``os.environb`` is not the same: in the C locale Python sets LC_CTYPE (PEP 538), which would change the locale of the
whole build. A mapping also has no place for the order of entries, for a name that occurs twice, and for an entry
without a "=". Some programs show all of that (``env -0``).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, NoReturn

#: The values that Python may give to LC_CTYPE.
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
_LOCALE = b"LC_CTYPE"
#: command_script.py hides the variable from Python by this prefix.
_HIDDEN = b"SPRAYCC_PYTHONEXECUTABLE"
_PREFIX = b"SPRAYCC_"


@functools.cache
def _given() -> tuple[bytes, ...]:
    """The entries that this process got, in their order."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")[:-1]
    except OSError:  # /proc is not mounted
        entries = [b"=".join(item) for item in os.environb.items()]
    return tuple(entry.removeprefix(_PREFIX) if entry.startswith(_HIDDEN + b"=") else entry for entry in entries)


def variables() -> dict[bytes, bytes]:
    """The variables. Of two entries with one name the first counts, as for getenv(3)."""
    result = {name: value for name, value in os.environb.items() if name}
    if _HIDDEN in result:
        result[_HIDDEN.removeprefix(_PREFIX)] = result.pop(_HIDDEN)
    if result.get(_LOCALE) in _COERCED:
        given = _first_values(_given()).get(_LOCALE)
        if given is None:
            del result[_LOCALE]
        else:
            result[_LOCALE] = given
    return result


def entries(variables: Mapping[bytes, bytes], given: tuple[bytes, ...] | None = None) -> list[bytes]:
    """The entries for a program with these variables: as ``given`` as possible.

    Args:
        variables: the caller's, with some changed, added or removed.
        given: the caller's entries; in place of those of this process.
    """
    given = _given() if given is None else given
    first = _first_values(given)
    left = dict(variables)
    result = []
    for entry in given:
        name = _name(entry)
        if name is None:
            result.append(entry)
        elif name in variables and variables[name] == first[name]:
            result.append(entry)
            left.pop(name, None)
        elif name in left:
            result.append(name + b"=" + left.pop(name))
    return result + [name + b"=" + value for name, value in left.items()]


def _name(entry: bytes) -> bytes | None:
    """None for an entry that is no variable."""
    name, sign, _ = entry.partition(b"=")
    return name if name and sign else None


def _first_values(entries: tuple[bytes, ...]) -> dict[bytes, bytes]:
    result: dict[bytes, bytes] = {}
    for entry in entries:
        if (name := _name(entry)) is not None:
            result.setdefault(name, entry[len(name) + 1 :])
    return result


class _Entries:
    """Entries with the methods of a mapping that os.execve and os.posix_spawn call. A name may occur twice."""

    def __init__(self, entries: list[bytes]) -> None:
        self._pairs = [entry.partition(b"=")[::2] for entry in entries]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, name: bytes) -> bytes:
        raise KeyError(name)

    def keys(self) -> list[bytes]:
        return [name for name, _ in self._pairs]

    def values(self) -> list[bytes]:
        return [value for _, value in self._pairs]


def execve(program: bytes, argv: tuple[bytes, ...], variables: Mapping[bytes, bytes]) -> NoReturn:
    """As os.execve, with :func:`entries`."""
    found = entries(variables)
    if None not in map(_name, found):
        os.execve(program, argv, _Entries(found))  # type: ignore[arg-type]
    libc, vectors = _for_libc(argv, found)
    libc.execve(program, *vectors)
    raise _last_error()


def posix_spawn(
    program: bytes, argv: tuple[bytes, ...], variables: Mapping[bytes, bytes], setsigdef: tuple[int, ...]
) -> int:
    """As os.posix_spawn, with :func:`entries`."""
    found = entries(variables)
    if None not in map(_name, found):
        return os.posix_spawn(program, argv, _Entries(found), setsigdef=setsigdef)  # type: ignore[arg-type]
    import ctypes

    libc, vectors = _for_libc(argv, found)
    # Larger than posix_spawnattr_t and sigset_t of every libc.
    attributes, signals, pid = ctypes.create_string_buffer(1024), ctypes.create_string_buffer(256), ctypes.c_int()
    libc.sigemptyset(signals)
    for number in setsigdef:
        libc.sigaddset(signals, number)
    libc.posix_spawnattr_init(attributes)
    libc.posix_spawnattr_setsigdefault(attributes, signals)
    libc.posix_spawnattr_setflags(attributes, ctypes.c_short(4))  # POSIX_SPAWN_SETSIGDEF
    problem = libc.posix_spawn(ctypes.byref(pid), program, None, attributes, *vectors)
    if problem:
        raise OSError(problem, os.strerror(problem))
    return pid.value


def _for_libc(argv: tuple[bytes, ...], entries: list[bytes]) -> tuple[Any, list[Any]]:
    """Python refuses entries that are no variables, libc does not."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True), [
        (ctypes.c_char_p * (len(vector) + 1))(*vector, None) for vector in (argv, entries)
    ]


def _last_error() -> OSError:
    import ctypes

    return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

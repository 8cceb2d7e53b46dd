"""The proof: which files a command read, and which names it looked for in vain, each as this host saw it then. Pure.

The server has told this executor stamps of the submit host, each with a number. The proof names by number the lookups
whose stamp was the told one, and gives lookup and stamp of all others. The server compares both with what the submit
host sees at the end (docs/nfs.md).

A compiler looks for each header in directory after directory, so most lookups find nothing. If a directory's stamp for
NAMES was the told one before the command (the fence has seen to it) and is the told one after it, then no name in the
directory has changed on this host meanwhile, and the missing names in it need not be listed. That holds where a client
drops cached names when it sees that the directory has changed, as NFS's does; FUSE keeps names for a time of their own.
The server does not tell stamps of directories in which the build keeps making files, because they change with each
file. In all other directories than those with a told stamp the missing names are listed.

Files on this host's own disks are not compared, because hosts may have a tool or a library each. But the submit host
may have a file that this host lacks, or lets nobody read. So names that are missing here count. Programs look in the
system's own directories for much that changes nothing: catalogues of messages, libraries, each program of PATH. A name
that is missing there counts only if the command has failed.

A program that lists a directory sees the overlay's directory, whose stamp is not the file server's. So such a read
counts only if the server has told the directory's stamp, and it holds before and after the command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from spraycc.stamps import FILE, LINK, MISSING, NAMES, Lookup, Stamp, is_failure


@dataclass(frozen=True, slots=True)
class Told:
    """A stamp of the submit host, as the server told it."""

    number: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer to the server: lookups by number, and the others with their stamps."""

    #: a bit set, little endian: the numbers of the lookups whose stamp was the told one
    matched: bytes
    #: all other lookups that concern files which hosts share, with the stamps of this host
    others: tuple[tuple[Lookup, Stamp], ...]


def prove(
    reads: Iterable[tuple[Lookup, Stamp]],
    told: dict[Lookup, Told],
    is_compared: Callable[[bytes], bool],
    ignores_missing: Callable[[bytes], bool],
    names_follow_directory: Callable[[bytes], bool],
    look: Callable[[Lookup], Stamp],
) -> Proof:
    """Work out the proof of a command that has just ended.

    Args:
        reads: each lookup of the command once, with the stamp of the first time. Without its own products.
        told: by lookup.
        is_compared: whether the files in a directory (absolute path) must be the submit host's.
        ignores_missing: whether a name that is missing in a directory that is not compared means nothing.
        names_follow_directory: whether this host's cache of the names in a directory is as old as its cache of the
            directory, at most.
        look: this host's cached stamp now; asked for NAMES of directories only.
    """
    matched: set[int] = set()
    others: list[tuple[Lookup, Stamp]] = []
    missing: dict[bytes, list[Lookup]] = {}
    compared: dict[bytes, bool] = {}
    for lookup, stamp in reads:
        known = told.get(lookup)
        if known is not None and known.stamp == (look(lookup) if lookup[:1] == NAMES else stamp):
            matched.add(known.number)
            continue
        directory = directory_of(lookup)
        relevant = compared.get(directory)
        if relevant is None:
            relevant = compared[directory] = is_compared(directory)
        if not relevant and (not is_failure(stamp) or ignores_missing(directory)):
            continue
        if stamp == MISSING and lookup[:1] in (FILE, LINK) and known is None:
            missing.setdefault(directory, []).append(lookup)
        else:
            others.append((lookup, stamp))
    for directory, lookups in missing.items():
        names = NAMES + directory
        known = told.get(names)
        if known is not None and names_follow_directory(directory) and look(names) == known.stamp:
            matched.add(known.number)
        else:
            others += [(lookup, MISSING) for lookup in lookups]
    return Proof(bit_set(matched), tuple(others))


def directory_of(lookup: Lookup) -> bytes:
    """The directory in which the lookup finds its name; for NAMES the directory itself."""
    return lookup[1:] if lookup[:1] == NAMES else os.path.dirname(lookup[1:])


def bit_set(numbers: set[int]) -> bytes:
    """Little endian, as short as possible."""
    bits = bytearray(max(numbers) // 8 + 1 if numbers else 0)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)

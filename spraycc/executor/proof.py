"""The proof: the files that a command read and the names that were missing, with the stamps that this host saw. Pure.

The server has told this executor stamps of the submit host, each with a number. For a lookup with the told stamp, the
proof has only the number. For every other lookup, the proof has the lookup and its stamp. The server compares both with
the state that the submit host sees at the end (docs/nfs.md).

A compiler looks for each header in directory after directory, so most lookups find nothing. The missing names of a
directory need not be listed if the directory's stamp for NAMES is the told stamp both before the command (the fence
checks that) and after it. Then no name in the directory has changed on this host meanwhile. This holds for file systems
whose client drops cached names when it sees that the directory has changed, such as NFS. FUSE keeps each name for its
own time. The server does not tell stamps of directories in which the build keeps making files, because these stamps
change with each file. In directories without a told stamp the missing names are listed.

Files on this host's own disks are not compared, because each host may have its own tools and libraries. But the submit
host may have a file that this host lacks, or lets nobody read. So names that are missing on this host count. In the
system's own directories programs look for many files that change nothing: catalogues of messages, libraries, each
program of PATH. A name that is missing in such a directory counts only if the command has failed.

A program that lists a directory sees the overlay's directory, whose stamp is not the file server's. So such a read
counts only if the server has told the directory's stamp, and the stamp holds before and after the command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from spraycc.stamps import FILE, LINK, MISSING, NAMES, Lookup, Stamp, is_failure


@dataclass(frozen=True, slots=True)
class ToldStamp:
    """A stamp of the submit host, as the server told it."""

    number: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer to the server: lookups by number, and the others with their stamps."""

    #: the numbers of the lookups whose stamp was the told stamp: a bit set, little endian
    matched: bytes
    #: all other lookups that must be compared, with the stamps of this host
    others: tuple[tuple[Lookup, Stamp], ...]


def prove(
    reads: Iterable[tuple[Lookup, Stamp]],
    told: dict[Lookup, ToldStamp],
    is_compared: Callable[[bytes], bool],
    ignores_missing: Callable[[bytes], bool],
    names_follow_directory: Callable[[bytes], bool],
    look: Callable[[Lookup], Stamp],
) -> Proof:
    """Work out the proof of a command that has just ended.

    Args:
        reads: each lookup of the command once, with the stamp of the first time. The command's products are left out.
        told: the told stamps, by lookup.
        is_compared: whether the files in a directory (absolute path) must be the submit host's.
        ignores_missing: whether a missing name means nothing, for a directory that is not compared.
        names_follow_directory: whether no cached name in a directory is older than the cached directory itself.
        look: this host's cached stamp now; called for NAMES of directories only.
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
    """The numbers as bits of bytes, little endian, as short as possible."""
    bits = bytearray(max(numbers) // 8 + 1 if numbers else 0)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)

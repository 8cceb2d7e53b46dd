"""The recorder on glibc before 2.34: a program that does not load libdl has no dlsym."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from spraycc.executor.recorder import RecordFile
from tests.system.executor import recording
from tests.system.executor.recording import Recorder, compiled, products_of, stamps_of

library = recording.library

pytestmark = pytest.mark.needs("cc", package="gcc")


def without_dlsym(library: Path, place: Path) -> Path:
    """A copy of the library that asks for a function that no C library has in place of dlsym."""
    content = library.read_bytes()
    assert content.count(b"\0dlsym\0") >= 1
    place.write_bytes(content.replace(b"\0dlsym\0", b"\0dlsy_\0"))
    return place


def calls(directory: Path, library: Path, program: Path) -> tuple[bytes, set[bytes], set[bytes]]:
    """The output of a program that calls all wrapped functions; the names of the lookups, and of the products."""
    work = directory / "work"
    work.mkdir(parents=True)
    file = RecordFile(bytes(directory / "record"))
    try:
        done = Recorder(work, library, file).run(program)
        reads = file.read()
    finally:
        file.close()
    assert (done.returncode, done.stderr) == (0, b"")

    def names(lookups: Iterable[bytes]) -> set[bytes]:
        """The names below ``work``, without the random ends of mkstemp and similar functions."""
        start = bytes(work)
        return {re.sub(rb"(hit\.mk\w+)\.\w+", rb"\1", name.replace(start, b"")) for name in lookups if start in name}

    return done.stdout, names(stamps_of(reads)), names(products_of(reads))


def test_without_dlsym_the_library_finds_the_same_functions(library: Path, tmp_path: Path) -> None:
    program = compiled(tmp_path, "recorder_calls")
    output, reads, products = calls(tmp_path / "with", library, program)
    assert output.count(b"\n") > 200
    assert len(reads) > 100
    assert len(products) > 10
    patched = without_dlsym(library, tmp_path / "without.so")
    assert calls(tmp_path / "without", patched, program) == (output, reads, products)

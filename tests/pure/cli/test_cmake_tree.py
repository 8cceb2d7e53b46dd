"""CMake build trees whose compilers bypass the shims."""

from __future__ import annotations

from pathlib import Path

import pytest

from spraycc.cli.cmake_tree import advice, build_directories, unseen_compilers

SHIMS = "/home/u/.local/share/spraycc/shims"
PLAIN = """\
//CXX compiler
CMAKE_CXX_COMPILER:FILEPATH=/usr/bin/c++
CMAKE_CXX_COMPILER_AR:FILEPATH=/usr/bin/gcc-ar-12
CMAKE_C_COMPILER:STRING=/opt/a b/cc
"""


@pytest.mark.parametrize(
    ("cache", "unseen"),
    [
        (PLAIN, {"CXX": "/usr/bin/c++", "C": "/opt/a b/cc"}),
        (PLAIN + "CMAKE_CXX_COMPILER_LAUNCHER:STRING=/venv/bin/spraycc-run\n", {"C": "/opt/a b/cc"}),
        (PLAIN + "CMAKE_CXX_COMPILER_LAUNCHER:UNINITIALIZED=ccache;spraycc-run\n", {"C": "/opt/a b/cc"}),
        ("CMAKE_CXX_COMPILER_LAUNCHER:STRING=ccache\n" + PLAIN, {"CXX": "/usr/bin/c++", "C": "/opt/a b/cc"}),
        (f"CMAKE_C_COMPILER:FILEPATH={SHIMS}/cc\n", {}),
        ("CMAKE_C_COMPILER:STRING=cc\n", {}),
        ("CMAKE_C_COMPILER:FILEPATH=\n", {}),
        ("", {}),
        ("\0\udc80 no cache", {}),
    ],
)
def test_unseen_compilers(cache: str, unseen: dict[str, str]) -> None:
    assert unseen_compilers(cache, SHIMS) == unseen


@pytest.mark.parametrize(
    ("words", "directories"),
    [
        ("make", ["."]),
        ("make -C b all", [".", "b"]),
        ("ninja -Cb", [".", "b"]),
        ("make --directory=b", [".", "b"]),
        ("cmake --build b --target x", [".", "b"]),
        ("make -C", ["."]),
    ],
)
def test_build_directories(words: str, directories: list[str]) -> None:
    assert list(build_directories(words.split())) == directories


def test_advice(tmp_path: Path) -> None:
    tree = tmp_path / "a tree"
    tree.mkdir()
    words = ["make", "-C", str(tree)]
    assert advice(words, SHIMS, "/venv/bin/spraycc-run") is None
    (tree / "CMakeCache.txt").write_text(PLAIN)
    text = advice(words, SHIMS, "/venv/bin/spraycc-run")
    assert text is not None
    launchers = " ".join(f"-DCMAKE_{language}_COMPILER_LAUNCHER=/venv/bin/spraycc-run" for language in ("CXX", "C"))
    assert text.endswith(f"/usr/bin/c++; to use SprayCC, run: cmake {launchers} '{tree}'")
    (tree / "CMakeCache.txt").unlink()
    (tree / "CMakeCache.txt").mkdir()
    assert advice(words, SHIMS, "/venv/bin/spraycc-run") is None

"""The build hook: its wheels with a compiler, without one, and with a broken one."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hatch_build import LIBRARIES, LIBRARY_FLAGS, SOURCES, Elf, compile_native, is_portable, sources_of
from spraycc import __version__
from tests.system.harness import needs
from tests.system.harness.native import STRICT
from tests.system.harness.waiting import HANG_S

ROOT = Path(__file__).resolve().parents[3]
MACHINE = os.uname().machine
#: Of a complete wheel with static programs.
PORTABLE = f"py3-none-manylinux_2_17_{MACHINE}.manylinux2014_{MACHINE}"
#: Of other wheels with compiled programs.
PLAIN = f"py3-none-linux_{MACHINE}"

STUB = """
#include <stdio.h>
#include "stub.h"
int main(void) { return puts(NAME " " SPRAYCC_VERSION) < 0; }
"""
LIBRARY_STUB = """
__attribute__((visibility("default"))) int answer(void);
int answer(void) { return 42; }
"""
RECORDER = "lib/spraycc/libspraycc-recorder.so"
EXEC = "lib/spraycc/libspraycc-exec.so"
COMMAND_SCRIPT = '"""A stub."""\nprint("command")\n'
FALLBACK = '"""A stub."""\nVERSION = "@VERSION@"\nprint("fallback", VERSION)\n'


class Tree:
    """A source tree that the test may change, with small C programs in place of the real ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = path.parent / "home"
        self.home.mkdir()
        for name in ("pyproject.toml", "hatch_build.py"):
            shutil.copy(ROOT / name, path / name)
        for name in ("README.md", "LICENSE", "CHANGELOG.md"):
            shutil.copy(ROOT / name, path / name)
        (path / "spraycc").mkdir()
        for name in ("__init__.py", "py.typed"):
            shutil.copy(ROOT / "spraycc" / name, path / "spraycc")
        (path / "spraycc" / "runner").mkdir()
        (path / "spraycc" / "runner" / "__init__.py").touch()
        (path / "spraycc" / "runner" / "fallback.py").write_text(FALLBACK)
        (path / "spraycc" / "cli").mkdir()
        (path / "spraycc" / "cli" / "command_script.py").write_text(COMMAND_SCRIPT)
        self.native = path / "spraycc" / "native"
        for part in ("launcher", "runner", "box", "recorder", "exec", "preload", "common"):
            (self.native / part).mkdir(parents=True)
        for part, program in (("launcher", "spraycc"), ("runner", "spraycc-run"), ("box", "spraycc-box")):
            (self.native / part / "main.c").write_text(STUB)
            (self.native / part / "stub.h").write_text(f'#define NAME "{program}"\n')
        for part in ("recorder/record.c", "exec/decide.c"):
            (self.native / part).write_text(LIBRARY_STUB)
        for part in (
            "common/text.c",
            "common/preload_list.c",
            "preload/program.c",
            "runner/environment.c",
            "runner/find_program.c",
            "runner/width.c",
        ):
            (self.native / part).write_text("extern int unused;\n")

    def build(self, what: str = "wheel", **env: str) -> subprocess.CompletedProcess[str]:
        environ = {k: v for k, v in os.environ.items() if k not in ("CC", "CFLAGS", "LDFLAGS", "SPRAYCC_RUNNER")}
        # All files of the compiler and of the hook must be in a directory that the test can check afterwards.
        environ |= {"TMPDIR": str(self.home), "SOURCE_DATE_EPOCH": "1700000000", **env}
        return subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", what],
            cwd=self.path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )

    def wheel(self, **env: str) -> Path:
        done = self.build(**env)
        assert done.returncode == 0, done.stderr
        [wheel] = (self.path / "dist").glob("*.whl")
        return wheel

    def files(self) -> set[str]:
        return {
            str(p.relative_to(self.path)) for p in self.path.rglob("*") if not {"dist", "__pycache__"} & set(p.parts)
        }


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "tree").mkdir()
    return Tree(tmp_path / "tree")


def scripts(wheel: Path) -> dict[str, tuple[int, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            info.filename.rsplit("/", 1)[1]: (info.external_attr >> 16, archive.read(info))
            for info in archive.infolist()
            if ".data/scripts/" in info.filename
        }


def shared_data(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.split(".data/data/", 1)[1]: archive.read(name) for name in archive.namelist() if ".data/data/" in name
        }


def metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        [path] = [n for n in archive.namelist() if n.endswith(f".dist-info/{name}")]
        return archive.read(path).decode()


def tags(wheel: Path) -> set[str]:
    return {line.removeprefix("Tag: ") for line in metadata(wheel, "WHEEL").splitlines() if line.startswith("Tag: ")}


def run_script(tmp_path: Path, content: bytes) -> str:
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


def test_a_native_wheel(tree: Tree, tmp_path: Path) -> None:
    before = tree.files()
    wheel = tree.wheel()
    assert wheel.name.endswith(f"-{PORTABLE}.whl")
    assert tags(wheel) == {f"py3-none-manylinux_2_17_{MACHINE}", f"py3-none-manylinux2014_{MACHINE}"}
    assert "Root-Is-Purelib: false\n" in metadata(wheel, "WHEEL")
    found = scripts(wheel)
    assert found.keys() == {"spraycc", "spraycc-run", "spraycc-box", "spraycc-main"}
    mode, content = found.pop("spraycc-main")
    assert mode & stat.S_IXUSR
    assert content == b"#!python\n" + COMMAND_SCRIPT.encode()
    for name, (mode, content) in found.items():
        assert mode & stat.S_IXUSR
        assert content.startswith(b"\x7fELF")
        assert run_script(tmp_path, content) == f"{name} {__version__}\n"
    libraries = shared_data(wheel)
    assert libraries.keys() == {RECORDER, EXEC}
    assert all(content.startswith(b"\x7fELF") for content in libraries.values())
    assert tree.files() == before, "nothing is left in the source tree"
    assert list(tree.home.iterdir()) == [], "nor among the temporary files"
    with zipfile.ZipFile(wheel) as archive:
        assert not [n for n in archive.namelist() if n.endswith((".c", ".h"))]


def test_a_wheel_has_the_licence_and_says_that_it_is_typed(tree: Tree) -> None:
    wheel = tree.wheel()
    assert "\nLicense-Expression: MIT\n" in metadata(wheel, "METADATA")
    assert metadata(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()
    with zipfile.ZipFile(wheel) as archive:
        assert "spraycc/py.typed" in archive.namelist()


def test_the_parts_of_the_report_are_installed(tree: Tree) -> None:
    names = {path.name for path in (ROOT / "spraycc" / "ui").iterdir() if path.suffix in (".html", ".js", ".css")}
    assert {"report.html", "report.css", "report.js"} < names
    (tree.path / "spraycc" / "ui").mkdir()
    for name in names:
        shutil.copy(ROOT / "spraycc" / "ui" / name, tree.path / "spraycc" / "ui")
    with zipfile.ZipFile(tree.wheel()) as archive:
        assert {f"spraycc/ui/{name}" for name in names} <= set(archive.namelist())
    assert tree.build("sdist").returncode == 0
    [sdist] = (tree.path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert names <= {Path(name).name for name in archive.getnames() if "/spraycc/ui/" in name}


def test_the_wheel_is_the_same_every_time(tree: Tree) -> None:
    first = tree.wheel().read_bytes()
    assert tree.wheel().read_bytes() == first


class RealTree(Tree):
    """The real package, without a compiler's work."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        shutil.rmtree(path / "spraycc")
        shutil.copytree(ROOT / "spraycc", path / "spraycc", ignore=shutil.ignore_patterns("__pycache__", "native"))

    def build(self, what: str = "wheel", **env: str) -> subprocess.CompletedProcess[str]:
        return super().build(what, SPRAYCC_RUNNER="python", **env)


@pytest.fixture
def real_tree(tmp_path: Path) -> RealTree:
    (tmp_path / "tree").mkdir()
    return RealTree(tmp_path / "tree")


def test_the_wheel_has_the_man_pages_and_the_completion(real_tree: RealTree) -> None:
    before = real_tree.files()
    wheel = real_tree.wheel()
    found = {name: content.decode() for name, content in shared_data(wheel).items()}
    assert found.keys() == {
        "share/bash-completion/completions/spraycc",
        "share/zsh/site-functions/_spraycc",
        "share/fish/vendor_completions.d/spraycc.fish",
        "share/man/man1/spraycc.1",
        "share/man/man1/spraycc-run.1",
        "share/man/man5/spraycc.toml.5",
    }
    # the date of SOURCE_DATE_EPOCH
    assert f'.TH SPRAYCC 1 "2023-11-14" "SprayCC {__version__}"' in found["share/man/man1/spraycc.1"]
    assert "complete -F _spraycc spraycc" in found["share/bash-completion/completions/spraycc"]
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".in")]
    assert real_tree.files() == before, "nothing is left in the source tree"
    assert not list((real_tree.path / "spraycc").rglob("__pycache__"))


def test_the_sdist_makes_the_same_man_pages_and_completion(real_tree: RealTree, tmp_path: Path) -> None:
    expected = shared_data(real_tree.wheel())
    done = real_tree.build("sdist")
    assert done.returncode == 0, done.stderr
    [sdist] = (real_tree.path / "dist").glob("*.tar.gz")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", sdist, "-C", tmp_path / "unpacked"], check=True)
    [real_tree.path] = (tmp_path / "unpacked").iterdir()
    assert shared_data(real_tree.wheel()) == expected


def test_without_click_the_wheel_goes_without_man_pages(real_tree: RealTree) -> None:
    (real_tree.home / "click.py").write_text("raise ModuleNotFoundError(\"No module named 'click'\")\n")
    done = real_tree.build(PYTHONPATH=str(real_tree.home))
    assert done.returncode == 0
    said = done.stdout + done.stderr
    assert "the man pages and the shells' completion are left out: ModuleNotFoundError: No module named 'click'" in said
    [wheel] = (real_tree.path / "dist").glob("*.whl")
    assert shared_data(wheel) == {}


def no_compiler(tree: Tree) -> dict[str, str]:
    empty = tree.home / "empty"
    empty.mkdir()
    return {"PATH": str(empty)}


def missing_compiler(tree: Tree) -> dict[str, str]:
    return {"CC": "/nowhere/cc"}


def broken_sources(tree: Tree) -> dict[str, str]:
    (tree.native / "runner" / "main.c").write_text("int main(void) { return undeclared; }\n")
    return {}


def no_sources(tree: Tree) -> dict[str, str]:
    for source in (tree.native / "runner").glob("*.c"):
        source.unlink()
    return {}


def chosen(tree: Tree) -> dict[str, str]:
    return {"SPRAYCC_RUNNER": "python"}


@pytest.mark.parametrize("cause", [no_compiler, missing_compiler, broken_sources, no_sources, chosen])
def test_the_python_wheel(tree: Tree, tmp_path: Path, cause: Callable[[Tree], dict[str, str]]) -> None:
    wheel = tree.wheel(**cause(tree))
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "Root-Is-Purelib: true\n" in metadata(wheel, "WHEEL")
    assert shared_data(wheel) == {}
    found = scripts(wheel)
    assert found.keys() == {"spraycc", "spraycc-run"}
    assert all(mode & stat.S_IXUSR for mode, _ in found.values())
    assert found["spraycc"][1] == b"#!python\n" + COMMAND_SCRIPT.encode()
    content = found["spraycc-run"][1]
    assert content.startswith(b"#!python\n"), "installers replace this line with their interpreter"
    assert (
        run_script(tmp_path, content.replace(b"#!python", b"#!" + os.fsencode(sys.executable), 1))
        == f"fallback {__version__}\n"
    )


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (no_compiler, "no C compiler"),
        (missing_compiler, "/nowhere/cc: No such file or directory"),
        (broken_sources, "undeclared"),
        (no_sources, "no C sources"),
    ],
)
def test_native_or_nothing(tree: Tree, cause: Callable[[Tree], dict[str, str]], words: str) -> None:
    done = tree.build(SPRAYCC_RUNNER="native", **cause(tree))
    assert done.returncode != 0
    assert "SPRAYCC_RUNNER=native: " in done.stderr
    assert words in done.stderr
    assert not (tree.path / "dist").exists() or not list((tree.path / "dist").iterdir())


def test_without_spraycc_box_the_runner_is_still_native(tree: Tree) -> None:
    (tree.native / "box" / "main.c").write_text("#error no mounts here\n")
    done = tree.build()
    assert done.returncode == 0
    assert "spraycc-box is left out" in done.stdout + done.stderr
    [wheel] = (tree.path / "dist").glob("*.whl")
    assert wheel.name.endswith(f"-{PLAIN}.whl"), "not for other hosts, because a part is missing"
    assert scripts(wheel).keys() == {"spraycc", "spraycc-main", "spraycc-run"}
    assert tree.build(SPRAYCC_RUNNER="native").returncode != 0


def test_without_the_recorder_the_programs_are_still_native(tree: Tree) -> None:
    (tree.native / "recorder" / "record.c").write_text("#error no glibc here\n")
    done = tree.build()
    assert done.returncode == 0
    assert "libspraycc-recorder.so is left out" in done.stdout + done.stderr
    [wheel] = (tree.path / "dist").glob("*.whl")
    assert scripts(wheel).keys() == {"spraycc", "spraycc-main", "spraycc-run", "spraycc-box"}
    assert shared_data(wheel).keys() == {EXEC}
    assert tree.build(SPRAYCC_RUNNER="native").returncode != 0


def test_a_wrong_choice_is_named_with_the_right_ones(tree: Tree) -> None:
    done = tree.build(SPRAYCC_RUNNER="Native")
    assert done.returncode != 0
    assert "SPRAYCC_RUNNER=Native: allowed is auto, native or python" in done.stderr


def test_dynamic_where_static_does_not_link(tree: Tree, tmp_path: Path) -> None:
    cc = tmp_path / "cc"
    cc.write_text('#!/bin/sh\nfor w; do [ "$w" = -static ] && exit 1; done\nexec cc "$@"\n')
    cc.chmod(0o755)
    wheel = tree.wheel(CC=str(cc))
    assert wheel.name.endswith(f"-{PLAIN}.whl")
    found = scripts(wheel)
    assert run_script(tmp_path, found["spraycc-run"][1]) == f"spraycc-run {__version__}\n"
    assert b"ld-linux" in found["spraycc-run"][1] or b"ld-musl" in found["spraycc-run"][1]


def test_the_tag_names_the_oldest_glibc_that_has_the_functions(tree: Tree) -> None:
    (tree.native / "exec" / "decide.c").write_text(
        "#include <stdlib.h>\nvoid *answer(void *p) { return reallocarray(p, 2, 3); }\n"
    )
    assert tree.wheel().name.endswith(f"-py3-none-manylinux_2_26_{MACHINE}.whl")


@pytest.mark.parametrize(
    ("portable", "libraries", "versions"),
    [
        (True, {"libc.so.6", "libdl.so.2"}, {"GLIBC_2.17", "GLIBC_2.2.5"}),
        (False, {"libc.so.6", "libgcc_s.so.1"}, {"GLIBC_2.17"}),
        (False, {"libc.so.6"}, {"GLIBC_PRIVATE"}),
    ],
)
def test_a_portable_library_needs_only_glibc(portable: bool, libraries: set[str], versions: set[str]) -> None:
    assert is_portable(Elf(62, False, frozenset(libraries), frozenset(versions)), is_library=True) == portable


def test_the_tag_follows_the_compilers_target(tree: Tree) -> None:
    """Not the building host's."""
    cc = needs.program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
    wheel = tree.wheel(CC=cc)
    assert wheel.name.endswith("-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.whl")
    assert all(content[18:20] == b"\xb7\0" for content in shared_data(wheel).values())  # EM_AARCH64


def test_the_directory_of_the_build_is_not_in_the_programs(tree: Tree) -> None:
    wheel = tree.wheel(CFLAGS="-g")
    contents = [content for _, content in scripts(wheel).values()] + list(shared_data(wheel).values())
    assert not [content for content in contents if os.fsencode(tree.path) in content]


def test_the_users_flags_are_honoured(tree: Tree, tmp_path: Path) -> None:
    log = tmp_path / "log"
    cc = tmp_path / "cc"
    cc.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec cc "$@"\n')
    cc.chmod(0o755)
    tree.wheel(CC=f"{cc} -pipe", CFLAGS="-DONE -DTWO='x y'", LDFLAGS="-Wl,--as-needed")
    [line, _, _, library, _] = log.read_text().splitlines()
    words = line.split()
    assert words[0] == "-pipe"
    assert {"-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-DONE", "-static", "-Wl,--as-needed"} <= set(words)
    assert "-DTWO=x y" in line
    assert {"-fPIC", "-shared", "-fvisibility=hidden", "-DONE", "-Wl,--as-needed"} <= set(library.split())
    assert "-static" not in library.split()


def install(tree: Tree, where: Path, *words: str, **env: str) -> Path:
    """A virtual environment with the tree installed; returns the directory of its scripts."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", where], check=True)
    # hatchling and editables come from this environment: there is no network.
    site = where / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (site / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", where / "bin" / "python", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", *words, "."],
        cwd=tree.path, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **env}, check=True, capture_output=True, timeout=HANG_S,
    )  # fmt: skip
    return where / "bin"


@pytest.mark.needs("cc", package="gcc")
@pytest.mark.parametrize("words", [(), ("--editable",)])
def test_pip_installs_the_native_programs(tree: Tree, tmp_path: Path, words: tuple[str, ...]) -> None:
    pytest.importorskip("editables", reason="needs editables: pip install '.[dev]'")
    before = tree.files()
    bin_dir = install(tree, tmp_path / "venv", *words)
    for name in ("spraycc", "spraycc-run", "spraycc-box"):
        assert (
            subprocess.run([bin_dir / name], capture_output=True, text=True, check=True).stdout
            == f"{name} {__version__}\n"
        )
    main = bin_dir / "spraycc-main"
    assert main.read_text() == f"#!{bin_dir}/python\n{COMMAND_SCRIPT}"
    assert os.access(main, os.X_OK)
    for library in (RECORDER, EXEC):
        assert ctypes.CDLL(str(bin_dir.parent / library)).answer() == 42
    # pip builds in the source tree only if the backend does. Ours compiles elsewhere.
    assert {f for f in tree.files() - before if not f.startswith("build")} == set()


@pytest.mark.parametrize("words", [(), ("--editable",)])
def test_pip_puts_its_interpreter_into_the_fallback(tree: Tree, tmp_path: Path, words: tuple[str, ...]) -> None:
    pytest.importorskip("editables", reason="needs editables: pip install '.[dev]'")
    bin_dir = install(tree, tmp_path / "venv", *words, SPRAYCC_RUNNER="python")
    for name in ("spraycc", "spraycc-run"):
        assert (bin_dir / name).read_text().splitlines()[0] == f"#!{bin_dir}/python"
    assert (
        subprocess.run([bin_dir / "spraycc-run"], capture_output=True, text=True, check=True).stdout
        == f"fallback {__version__}\n"
    )
    assert not (bin_dir / "spraycc-box").exists()


def test_the_sdist_has_all_that_a_build_needs(tree: Tree) -> None:
    (tree.path / "docs" / "reference").mkdir(parents=True)
    (tree.path / "docs" / "reference" / "protocol.md").touch()
    (tree.path / "tests").mkdir()
    (tree.path / "tests" / "probe.c").touch()
    (tree.path / "junk.o").touch()
    done = tree.build("sdist")
    assert done.returncode == 0, done.stderr
    [sdist] = (tree.path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames()}
    assert {
        "pyproject.toml",
        "hatch_build.py",
        "spraycc/native/runner/main.c",
        "spraycc/native/runner/stub.h",
        "spraycc/native/common/text.c",
        "spraycc/runner/fallback.py",
        "spraycc/native/box/main.c",
        "docs/reference/protocol.md",
        "tests/probe.c",
        "LICENSE",
        "spraycc/py.typed",
    } <= names
    assert "junk.o" not in names


@pytest.mark.slow
@pytest.mark.needs("cc", package="gcc")
def test_the_real_programs_compile_without_warnings(tmp_path: Path) -> None:
    for name in SOURCES:
        is_library = name in LIBRARIES
        flags = LIBRARY_FLAGS if is_library else ('-DSPRAYCC_VERSION="0"',)
        for compiler in ("gcc", "clang") if is_library else ("gcc",):
            command = [needs.compiler(compiler), *STRICT, *flags, *sources_of(name), "-o", tmp_path / name]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        assert compile_native(name, tmp_path, __version__).exists()

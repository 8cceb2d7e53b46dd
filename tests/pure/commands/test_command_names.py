"""The tool that a program's name stands for."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.commands.names import Family, Tool, Tools, is_launcher, is_shim_name, tool_of

TOOLS = {
    Tool.GCC: "gcc gcc-12 gcc-13.2 gcc-4.8.5 gcc12 gcc-mp-13 x86_64-linux-gnu-gcc x86_64-linux-gnu-gcc-12 arm-none-eabi-gcc avr-gcc "
    "i686-w64-mingw32-gcc-posix x86_64-w64-mingw32-gcc-12-win32 aarch64-linux-android21-gcc xtensa-lx106-elf-gcc c99-gcc "
    "riscv64-unknown-elf-gcc-13.2.0 m68k-atari-mint-gcc x86_64-conda-linux-gnu-gcc newarch-vendor-linux-gnu-gcc mips64el-gcc musl-gcc",
    Tool.GXX: "g++ g++-12 g++-13.2 arm-none-eabi-g++ x86_64-linux-gnu-g++-12 g++12 powerpc64le-linux-gnu-g++",
    Tool.CLANG: "clang clang-16 clang16 x86_64-pc-linux-gnu-clang clang-14.0.6 clang-mp-15 aarch64-linux-android21-clang clang-devel",
    Tool.CLANGXX: "clang++ clang++-16 clang++-14 x86_64-apple-darwin20.4-clang++ armv7a-linux-androideabi21-clang++",
    Tool.CC: "cc c89 c99 x86_64-unknown-linux-gnu-cc",
    Tool.CXX: "c++ c++-12 aarch64-linux-gnu-c++",
    Tool.AR: "ar gcc-ar gcc-ar-12 llvm-ar llvm-ar-16 x86_64-linux-gnu-ar x86_64-linux-gnu-gcc-ar-12 arm-none-eabi-gcc-ar",
    Tool.RANLIB: "ranlib gcc-ranlib llvm-ranlib-16 x86_64-linux-gnu-gcc-ranlib-12",
    Tool.LD: "ld ld.bfd ld.gold ld.lld ld.lld-16 x86_64-linux-gnu-ld.gold gold ld.mold",
    Tool.AS: "as x86_64-linux-gnu-as",
    Tool.STRIP: "strip llvm-strip x86_64-linux-gnu-strip",
    Tool.OBJCOPY: "objcopy arm-none-eabi-objcopy llvm-objcopy-16",
    Tool.NVCC: "nvcc",
    Tool.HIPCC: "hipcc",
    Tool.INTEL: "icx icpx ifx icx-2024",
    Tool.NVHPC: "nvc nvc++ nvfortran",
    Tool.DRIVER: "gfortran gfortran-12 gfortran12 x86_64-linux-gnu-gfortran-12 f77 f95 flang flang-new flang-new-19 flang-19 "
    "flang-mp-19 armclang armclang++ armflang",
    Tool.NASM: "nasm nasm-2.16",
    Tool.YASM: "yasm",
}
OTHERS = [
    "gcc-hardening-check",
    "gcc-nm",
    "gcov",
    "gcov-12",
    "ccache-gcc",
    "afl-gcc",
    "afl-clang-fast",
    "my-gcc",
    "gccgo",
    "f951",
    "f77x",
    "ifort",
    "nvcc12",
    "vsyasm",
    "clang-tidy",
    "clang-format",
    "clang-cl",
    "clang-cpp-14",
    "clangd",
    "clang-scan-deps",
    "cpp",
    "cc1",
    "cc1plus",
    "collect2",
    "c++filt",
    "gcc-",
    "gcc-x",
    "gcc_12",
    "gcc-12-",
    "-gcc",
    "xgcc",
    "gcc.sh",
    "make",
    "ld.so",
    "mold",
    "ldd",
    "as86",
    "arsenal",
    "parallel",
    "tar",
    "bar",
    "cargo",
    "ccls",
    "x86_64-linux-gnu-",
    "x86_64-linux-gnu",
    "rustc",
    "python3",
    "nm",
    "objdump",
]


@pytest.mark.parametrize(("tool", "name"), [(tool, name) for tool, names in TOOLS.items() for name in names.split()])
def test_a_tool_is_known_by_its_name(tool: Tool, name: str) -> None:
    assert tool_of(os.fsencode(name)) is tool


@pytest.mark.parametrize("name", [*OTHERS, "", "gcc\n", "gcc ", "\ngcc", "GCC", "a" * 300 + "-gcc"])
def test_what_only_looks_like_a_tool_is_none(name: str) -> None:
    assert tool_of(os.fsencode(name)) is None


def test_shims_are_for_all_but_linkers_and_assemblers() -> None:
    assert all(map(is_shim_name, (b"cc", b"c++", b"gcc", b"g++", b"clang", b"clang++", b"ar", b"ranlib")))
    for tool, names in TOOLS.items():
        for name in names.split():
            expected = tool not in (Tool.LD, Tool.AS)
            assert is_shim_name(name.encode()) is expected, name
    assert not any(is_shim_name(name.encode()) for name in OTHERS)


def test_families() -> None:
    assert Tool.GXX.family is Family.GCC
    assert Tool.CLANG.family is Family.CLANG
    assert Tool.CC.family is Family.EITHER
    assert Tool.AR.family is None
    assert Tool.GXX.is_cxx
    assert not Tool.CC.is_cxx


def test_the_users_names_come_before_the_grammar() -> None:
    tools = Tools(like_gcc=("mpicc*", "gcc-site", "mpic++"), like_clang=("zig-*", "ar"), overlay_only=("ifort", "icx"))
    expected = {
        b"mpicc.openmpi": Tool.GCC, b"gcc-site": Tool.GCC, b"mpic++": Tool.GXX, b"zig-c++": Tool.CLANGXX, b"ar": Tool.CLANG,
        b"ifort": Tool.DRIVER, b"icx": Tool.DRIVER, b"icpx": Tool.INTEL, b"gcc": Tool.GCC, b"xmpicc": None, b"\xff": None,
    }  # fmt: skip
    assert {name: tools.named(name, b"") for name in expected} == expected
    assert tools.named(b"gcc", b"ifort") is Tool.DRIVER
    assert tools.named(b"clang", b"gcc") is Tool.CLANG


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (b"/usr/bin/ccache", True),
        (b"sccache", True),
        (b"/usr/lib/ccache/gcc", True),
        (b"/usr/lib64/ccache/x86_64-linux-gnu-g++-12", True),
        (b"/usr/libexec/icecc/bin/c++", True),
        (b"/usr/bin/gcc", False),
        (b"/home/ccache/proj/bin/x/gcc", False),
        (b"/opt/gcc-13/bin/g++", False),
        (b"", False),
    ],
)
def test_launchers(program: bytes, expected: bool) -> None:
    assert is_launcher(program) is expected


@given(st.binary(max_size=400))
def test_any_name_is_taken(name: bytes) -> None:
    assert tool_of(name) is None or isinstance(tool_of(name), Tool)
    is_launcher(name)

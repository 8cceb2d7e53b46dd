"""A small project, and the ways in which people build such a project. Several tests build it in each of them.

The files are text, and each way is a line for a shell, so any harness can run them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Units of the project beside main.c.
UNITS = 5
_NAMES = tuple(f"u{number}" for number in range(UNITS))
_SOURCES = " ".join(f"{name}.c" for name in _NAMES)
_OBJECTS = " ".join(f"{name}.o" for name in (*_NAMES, "main"))

_SOURCE_FILES = {
    **{f"{name}.c": f"int {name}(void);\nint {name}(void) {{ return {len(name)}; }}\n" for name in _NAMES},
    "main.c": "int main(void) { return 0; }\n",
}
#: The project for make and for CMake. Both make the program ``prog``, with debug information.
PROJECT = {
    **_SOURCE_FILES,
    "Makefile": f"""\
prog: {_OBJECTS}
	$(CC) -o $@ $^
%.o: %.c
	$(CC) -g -c $< -o $@
clean:
	rm -f *.o prog
""",
    "path.mk": "export PATH := /usr/bin:/bin\ninclude Makefile\n",
    "outer.mk": "all:\n\tenv -i PATH=$(PATH) $(MAKE) -j3 CC=$(CC)\n",
    "cmake.mk": "all:\n\tcmake --build build -j3\n",
    "CMakeLists.txt": f"""\
cmake_minimum_required(VERSION 3.13)
project(p C)
add_executable(prog main.c {_SOURCES})
""",
    "toolchain.cmake": "set(CMAKE_C_COMPILER /usr/bin/clang)\n",
}

MESON = {
    **_SOURCE_FILES,
    "meson.build": f"project('p', 'c')\nexecutable('prog', 'main.c', {', '.join(repr(f'{n}.c') for n in _NAMES)})\n",
    "native.ini": "[binaries]\nc = '/usr/bin/gcc'\nar = '/usr/bin/ar'\n",
}

SCONS = {**_SOURCE_FILES, "SConstruct": f"Program('prog', Split('main.c {_SOURCES}'), CCFLAGS='-g')\n"}

AUTOTOOLS = {
    **_SOURCE_FILES,
    "configure.ac": """\
AC_INIT([p], [1])
AM_INIT_AUTOMAKE([foreign])
AC_PROG_CC
LT_INIT
AC_CONFIG_FILES([Makefile])
AC_OUTPUT
""",
    "Makefile.am": f"""\
lib_LTLIBRARIES = libu.la
libu_la_SOURCES = {_SOURCES}
bin_PROGRAMS = prog
prog_SOURCES = main.c
prog_LDADD = libu.la
""",
}

#: A Debian package.
PACKAGE = {
    **PROJECT,
    "debian/control": """\
Source: prog
Maintainer: Nobody <nobody@example.org>
Standards-Version: 4.6.2
Build-Depends: debhelper-compat (= 13)

Package: prog
Architecture: any
Depends: ${misc:Depends}, ${shlibs:Depends}
Description: does nothing
 It ends with status 0.
""",
    "debian/changelog": "prog (1) unstable; urgency=low\n\n  * New.\n\n -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n",
    "debian/install": "prog usr/bin\n",
    "debian/source/format": "3.0 (native)\n",
}


@dataclass(frozen=True)
class Way:
    """One way to build a project."""

    #: for a shell, in the directory of the project
    line: str
    files: Mapping[str, str] = field(default_factory=lambda: PROJECT)
    #: before ``line``, without SprayCC
    configure: str = ""
    #: Debian packages of the programs that the lines start: program -> package
    needs: Mapping[str, str] = field(default_factory=dict)
    compiles: int = UNITS + 1


_CMAKE = {"cmake": "cmake", "ninja": "ninja-build"}
_BY_MAKE = "cmake -G'Unix Makefiles' -S . -B build"
_BY_NINJA = "cmake -GNinja -S . -B build"
_BY_MULTI_CONFIG = "cmake -G'Ninja Multi-Config' -S . -B build"

#: ``NINJA`` stands for a ninja that knows the jobserver.
CMAKE_WAYS = {
    "make": Way("make -C build -j3", configure=_BY_MAKE, needs=_CMAKE),
    "cmake --build": Way("cmake --build build -j3", configure=_BY_MAKE, needs=_CMAKE),
    "ninja": Way("/usr/bin/ninja -C build", configure=_BY_NINJA, needs=_CMAKE),
    "new ninja": Way("NINJA -C build", configure=_BY_NINJA, needs=_CMAKE),
    "toolchain file": Way(
        "/usr/bin/ninja -C build",
        configure=f"{_BY_NINJA} -DCMAKE_TOOLCHAIN_FILE=toolchain.cmake",
        needs={**_CMAKE, "clang": "clang"},
    ),
    "multi-config": Way("cmake --build build --config Release", configure=_BY_MULTI_CONFIG, needs=_CMAKE),
    "cmake in a makefile": Way("make -f cmake.mk", configure=_BY_NINJA, needs=_CMAKE),
}

MAKE_WAYS = {
    "absolute CC": Way("make -j3 CC=/usr/bin/gcc"),
    "cross compiler": Way(
        "make -j3 CC=/usr/bin/aarch64-linux-gnu-gcc", needs={"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu"}
    ),
    "PATH in the makefile": Way("make -j3 -f path.mk CC=gcc"),
    "environment cleared": Way("env -i PATH=/usr/bin:/bin make -j3 CC=gcc"),
    "environment cleared in a recipe": Way("make -j3 CC='env -i PATH=/usr/bin gcc'"),
    "login shell": Way("bash -lc 'make -j3 CC=gcc'"),
    "make in make": Way("make -f outer.mk CC=/usr/bin/cc"),
}

OTHER_WAYS = {
    "meson": Way(
        "NINJA -C build",
        MESON,
        configure="meson setup --native-file native.ini build",
        needs={"meson": "meson"},
    ),
    "scons": Way("scons -j3", SCONS, needs={"scons": "scons"}),
    # libtool compiles each unit of a library twice.
    "autotools": Way(
        "make -C build -j3",
        AUTOTOOLS,
        configure="autoreconf -i && mkdir build && cd build && ../configure CC=/usr/bin/gcc",
        needs={"autoreconf": "autoconf", "automake": "automake", "libtoolize": "libtool"},
        compiles=2 * UNITS + 1,
    ),
    "debuild": Way(
        "debuild --no-lintian -us -uc -b -d",
        PACKAGE,
        needs={"debuild": "devscripts", "dh": "debhelper", "fakeroot": "fakeroot"},
    ),
}

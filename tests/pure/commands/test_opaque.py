"""Lines of compilers whose outputs can't be predicted: which of them may run on an executor."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.commands.describe import describe
from spraycc.commands.names import Tools
from spraycc.commands.reasons import Reason
from spraycc.model import Description, Kind, Placement

REMOTE, NOW, LIGHT, HEAVY = Placement.REMOTE, Placement.HERE_NOW, Placement.HERE_LIGHT, Placement.HERE_HEAVY
CWD = b"/home/u/proj/build"
TOOLS = Tools(overlay_only=("mpifort",))


def said(
    line: str, *, cwd: bytes = CWD, env: Mapping[bytes, bytes] | None = None, files: Mapping[bytes, bytes] | None = None
) -> Description:
    argv = [word.encode() for word in shlex.split(line)]
    return describe(argv, b"/usr/bin/" + argv[0], cwd, env or {}, (files or {}).get, TOOLS)


LINES = [
    # compiles
    ("gfortran -c m.f90", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gfortran-12 -O2 -Jmod -Imod -c ../m.F90 -o m.o", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("f95 -c a.f b.f", Kind.COMPILE, REMOTE, Reason.COMPILE_SEVERAL),
    ("gfortran -S m.f90 -o m.s", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gfortran -v -c m.f90", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gfortran -cpp -MMD -MF m.d -c m.f90", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gfortran -c u.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("flang-new-19 -module-dir mod -c m.f18", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("armclang++ -mcpu=a64fx -c x.cpp", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("armflang -c x.f90", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("icpx -fsycl -xHost -c x.cpp -o x.o", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("ifx -module mod -c x.f90", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("nvc++ -tp=zen3 -c x.cpp", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("nvfortran -cuda -gpu=cc80,cuda12 -c x.cuf", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("hipcc --offload-arch=gfx90a -c x.cpp", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("nvcc -c foo.cu -o foo.o", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("nvcc -x cu -rdc=true -dc foo.cpp -o=foo.o", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("nvcc -Xcompiler=-march=native -arch=sm_80 --compile foo.cu", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("nvcc -gencode=arch=compute_80,code=sm_80 -ptx foo.cu", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("nvcc -c a.cu b.cu", Kind.COMPILE, REMOTE, Reason.COMPILE_SEVERAL),
    ("nvcc -M foo.cu -MF foo.d", Kind.PREPROCESS, REMOTE, Reason.PREPROCESS),
    ("nvcc -E foo.cu -o foo.ii", Kind.PREPROCESS, REMOTE, Reason.PREPROCESS),
    ("nasm -f elf64 x.asm", Kind.ASSEMBLE, REMOTE, Reason.ASSEMBLE),
    ("nasm -felf64 -DPIC -I./ -MD x.d -o x.o x.asm", Kind.ASSEMBLE, REMOTE, Reason.ASSEMBLE),
    ("yasm -f elf64 -m amd64 -o x.o x.asm", Kind.ASSEMBLE, REMOTE, Reason.ASSEMBLE),
    ("nasm -D ARCH=native -f elf64 x.asm", Kind.ASSEMBLE, REMOTE, Reason.ASSEMBLE),
    ("nasm -E x.asm -o x.i", Kind.PREPROCESS, REMOTE, Reason.PREPROCESS),
    ("mpifort -c x.f90", Kind.COMPILE, REMOTE, Reason.COMPILE),
    # links
    ("gfortran m.f90", Kind.LINK, HEAVY, Reason.LINK),
    ("gfortran -o prog a.o b.o", Kind.LINK, HEAVY, Reason.LINK),
    ("gfortran -c a.o", Kind.LINK, HEAVY, Reason.LINK),
    ("gfortran -c foo.inc", Kind.LINK, HEAVY, Reason.LINK),
    ("nvcc foo.o", Kind.LINK, HEAVY, Reason.LINK),
    ("nvcc -dlink a.o -o d.o", Kind.LINK, HEAVY, Reason.LINK),
    ("mpifort a.o", Kind.LINK, HEAVY, Reason.LINK),
    # in doubt
    ("nasm -f bin x.inc", Kind.UNKNOWN, LIGHT, Reason.ASSEMBLER),
    ("nasm -@ words x.asm", Kind.UNKNOWN, HEAVY, Reason.RESPONSE_FILE),
    ("gfortran -c m.f90 @missing", Kind.UNKNOWN, HEAVY, Reason.RESPONSE_FILE),
    ("nvcc -c x.cu --options-file missing", Kind.UNKNOWN, HEAVY, Reason.RESPONSE_FILE),
    ("gfortran -wrapper gdb,--args -c m.f90", Kind.COMPILE, HEAVY, Reason.WRAPPER),
    ("gfortran -time=log -c m.f90", Kind.COMPILE, HEAVY, Reason.APPENDS),
    ("nvcc --time log -c m.cu", Kind.COMPILE, HEAVY, Reason.APPENDS),
    ("ifx -prof-gen -c m.f90", Kind.COMPILE, HEAVY, Reason.APPENDS),
    # the GPU of the compiler's host
    ("nvcc -arch=native -c x.cu", Kind.COMPILE, HEAVY, Reason.GPU),
    ("nvcc -arch native -c x.cu", Kind.COMPILE, HEAVY, Reason.GPU),
    ("nvcc -gencode=arch=native,code=sm_80 -c x.cu", Kind.COMPILE, HEAVY, Reason.GPU),
    ("hipcc -c x.cpp", Kind.COMPILE, HEAVY, Reason.GPU),
    ("hipcc --offload-arch=native -c x.cpp", Kind.COMPILE, HEAVY, Reason.GPU),
    ("nvc++ -stdpar -c x.cpp", Kind.COMPILE, HEAVY, Reason.GPU),
    ("nvfortran -c x.cuf", Kind.COMPILE, HEAVY, Reason.GPU),
    ("nvc -acc -gpu=ccnative -c x.c", Kind.COMPILE, HEAVY, Reason.GPU),
    ("flang -fopenmp --offload-arch=native -c x.f90", Kind.COMPILE, HEAVY, Reason.GPU),
    # questions
    ("gfortran", Kind.PROBE, NOW, Reason.NO_INPUT),
    ("gfortran --version", Kind.PROBE, NOW, Reason.QUERY),
    ("gfortran -print-file-name=libgfortran.so -c m.f90", Kind.PROBE, NOW, Reason.QUERY),
    ("gfortran -### -c m.f90", Kind.PROBE, NOW, Reason.QUERY),
    ("gfortran -dM -E m.F90", Kind.PROBE, NOW, Reason.QUERY),
    ("gfortran -v", Kind.PROBE, NOW, Reason.NO_INPUT),
    ("nvc -V22.3 -c x.c", Kind.PROBE, NOW, Reason.QUERY),
    ("ifx -what -V", Kind.PROBE, NOW, Reason.QUERY),
    ("nvcc --dryrun -c x.cu", Kind.PROBE, NOW, Reason.QUERY),
    ("nvcc -V", Kind.PROBE, NOW, Reason.QUERY),
    ("nasm -v", Kind.PROBE, NOW, Reason.QUERY),
    ("nasm -hf", Kind.PROBE, NOW, Reason.QUERY),
    ("yasm --version", Kind.PROBE, NOW, Reason.QUERY),
    ("gfortran --version @missing", Kind.PROBE, NOW, Reason.QUERY),
    # standard streams, devices, configure tests
    ("gfortran -x f95 -c -", Kind.PROBE, NOW, Reason.STANDARD_INPUT),
    ("gfortran -c m.f90 -o -", Kind.PREPROCESS, NOW, Reason.WRITES_STDOUT),
    ("gfortran -E m.F90", Kind.PREPROCESS, NOW, Reason.WRITES_STDOUT),
    ("gfortran -cpp -M m.F90", Kind.PREPROCESS, NOW, Reason.WRITES_STDOUT),
    ("nasm -M x.asm", Kind.PREPROCESS, NOW, Reason.WRITES_STDOUT),
    ("yasm -e x.asm", Kind.PREPROCESS, NOW, Reason.WRITES_STDOUT),
    ("gfortran -c m.f90 -o /dev/null", Kind.PROBE, NOW, Reason.DISCARDED),
    ("gfortran -c m.f90 -o /dev/stdout", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gfortran -c m.f90 -o/dev/stdout", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("nvcc -c m.cu --output-file=/dev/fd/3", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gfortran -c /dev/fd/3 -o x.o", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gfortran -c -g conftest.f90", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gfortran CMakeFortranCompilerId.F", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("nvcc -c CMakeFiles/CMakeScratch/TryCompile-x1/x.cu", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gfortran -fsyntax-only m.f90", Kind.PROBE, NOW, Reason.SYNTAX_ONLY),
]


@pytest.mark.parametrize(("line", "kind", "placement", "reason"), LINES, ids=[row[0] for row in LINES])
def test_kind_and_placement(line: str, kind: Kind, placement: Placement, reason: Reason) -> None:
    result = said(line)
    assert (result.kind, result.placement, result.reason) == (kind, placement, reason.value)
    assert result.needs_overlay or placement is not REMOTE
    assert not result.complete


NATIVE = [
    ("gfortran -march=native -c m.f90", True),
    ("gfortran -mtune=native -c m.f90", True),
    ("gfortran -march=x86-64-v3 -c m.f90", False),
    ("armclang -mcpu=native -c x.c", True),
    ("icx -xHost -c x.c", True),
    ("icx -axHOST -c x.c", False),
    ("ifx -xCORE-AVX2 -c x.f90", False),
    ("ifx -fast -c x.f90", True),
    ("nvc -c x.c", True),
    ("nvc -tp=host -c x.c", True),
    ("nvc -tp zen3 -c x.c", False),
    ("nvc -tp zen3 -tp native -c x.c", True),
    ("nvc -tp=px -c x.c", False),
    ("nvcc -Xcompiler -O2,-march=native -c x.cu", True),
    ("nvcc -c x.cu", False),
    ("nasm -f elf64 x.asm", False),
]


@pytest.mark.parametrize(("line", "native"), NATIVE)
def test_code_for_the_cpu_of_the_compilers_host(line: str, native: bool) -> None:
    result = said(line)
    assert (result.native, result.placement) == (native, REMOTE)


def test_files_of_a_line() -> None:
    result = said("gfortran -I inc -Jmod -MF m.d -o a.o -c src/m.f90 -ob.o -o m.o")
    assert result.inputs == (b"src/m.f90",)
    assert result.outputs == (b"m.d", b"m.o")
    assert result.searches == (b"inc", b"mod")
    assert result.directories == (b"mod",)
    assert said("ifx -module mod -c a/m.f90 n.f90").directories == (b"mod",)
    assert said("ifx -module mod -c a/m.f90 n.f90").outputs == (b"m.o", b"n.o")
    assert said("gfortran -S m.f90").outputs == ()
    assert said("gfortran -c m.f90 -om.o").outputs == (b"m.o",)
    assert said("nvcc -c -objtemp m.cu").outputs == (b"m.o",)


def test_words_in_variables_and_files() -> None:
    assert said("nvcc x.cu", env={b"NVCC_APPEND_FLAGS": b"-c -arch=native"}).reason == Reason.GPU.value
    assert said("nvcc -c x.cu", env={b"NVCC_PREPEND_FLAGS": b"-ccbin 'a b'"}).starts == (b"a b",)
    assert said("hipcc -c x.cpp", env={b"HIPCC_COMPILE_FLAGS_APPEND": b"--offload-arch=gfx90a"}).placement is REMOTE
    assert said("hipcc -c x.cpp", env={b"HCC_AMDGPU_TARGET": b"gfx90a"}).placement is REMOTE
    assert said("nasm x.asm", env={b"NASMENV": b"-v"}).placement is HEAVY
    assert said("gfortran -c x.f90", env={b"DEPENDENCIES_OUTPUT": b"deps"}).reason == Reason.APPENDS.value
    files = {b"a.rsp": b"-c 'x y.cu'", b"b.rsp": b"-arch=native"}
    assert said("nvcc --options-file a.rsp", files=files).inputs == (b"x y.cu",)
    assert said("nvcc @a.rsp", files=files).placement is REMOTE
    assert said("nvcc --options-file=a.rsp,b.rsp", files=files).reason == Reason.GPU.value


def test_nvcc_depends_on_the_hosts_compiler() -> None:
    assert said("nvcc -c x.cu").starts == (b"gcc",)
    assert said("nvcc -c x.cu -ccbin=/opt/gcc/bin").starts == (b"/opt/gcc/bin",)
    assert said("nvcc -c x.cu", env={b"NVCC_CCBIN": b"clang"}).starts == (b"clang",)
    assert said("gfortran -c x.f90").starts == ()


@given(
    st.sampled_from(["gfortran", "icx", "nvc", "hipcc", "nvcc", "nasm", "yasm", "mpifort"]),
    st.lists(st.one_of(st.binary(max_size=12), st.sampled_from(b"-c x.f90 x.cu x.asm -o -E - -tp @x -ccbin".split()))),
)
def test_every_line_has_an_answer(tool: str, words: list[bytes]) -> None:
    result = describe([tool.encode(), *words], b"/bin/" + tool.encode(), CWD, {}, {b"x": b"-c @x"}.get, TOOLS)
    assert result.reason in {reason.value for reason in Reason}
    if result.placement is REMOTE:
        assert result.needs_overlay
        assert result.inputs
        assert b"-" not in words

"""Describes the lines of compilers with outputs that can't be predicted: Fortran (``.mod`` files), CUDA, vendors'.

SprayCC knows of such a line only whether it compiles, asks something or links. A compile goes to an executor with an
overlay, which captures all that the command writes. In doubt a line runs on the submit host.

The words are searched, not parsed: the arguments of most options are unknown. An argument that looks like ``-c`` can
send a link to an executor, where the overlay captures it as it does a compile.

Sources: GCC's manual, "GNU Fortran command options"; gfortran 12.2, nvcc 13.0, nasm 2.16, yasm 1.3 and flang 19, by
their help texts and by trials. Of Intel's, NVIDIA's (nvc), AMD's and Arm's compilers no program was at hand: their rows
have the options that their manuals share with GCC, and options that keep a line on the submit host.
"""

from __future__ import annotations

import itertools
import os.path
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spraycc.commands.appending import CLANG_VARIABLES, GCC_VARIABLES
from spraycc.commands.configure_tests import is_configure_test
from spraycc.commands.languages import SOURCE_SUFFIXES
from spraycc.commands.names import Tool
from spraycc.commands.reasons import Reason
from spraycc.commands.response import expand, split_words
from spraycc.model import Description, Kind, Placement

ReadFile = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class _Grammar:
    """The words of one compiler that matter."""

    #: a compile ends before the link
    compiles: frozenset[bytes]
    #: the result is text, on standard output without an output file
    prints: frozenset[bytes]
    #: prints something and compiles nothing
    asks: frozenset[bytes]
    #: words that begin so ask, too
    asks_starts: tuple[bytes, ...] = ()
    #: the next word, or the rest of the word after "=", is a file to write
    outputs: tuple[bytes, ...] = (b"-o", b"-MF")
    #: "-oFILE" is an output
    joined_output: bool = True
    #: variables with further words, before and behind those of the line
    words_before: bytes = b""
    words_behind: bytes = b""
    kind: Kind = Kind.COMPILE
    suffixes: frozenset[bytes] = SOURCE_SUFFIXES


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_ASKS = (
    "--version -dumpversion -dumpmachine -dumpfullversion -dM -### --help -help -h -V --dryrun -dryrun --target-help"
)
_DRIVER = _Grammar(
    compiles=_words("-c --compile -S"),
    prints=_words("-E -M -MM"),
    asks=_words(_ASKS),
    asks_starts=(b"-print-", b"--print-", b"--help="),
)
#: -what and -dryrun (Intel), -show and -V22.3 (NVIDIA): print, and may compile nothing.
_INTEL = _Grammar(
    compiles=_DRIVER.compiles,
    prints=_words("-E -EP -M -MM"),
    asks=_DRIVER.asks | _words("-what -logo -dryrun"),
    asks_starts=_DRIVER.asks_starts,
)
_NVHPC = _Grammar(
    compiles=_words("-c -S"),
    prints=_DRIVER.prints,
    asks=_DRIVER.asks | _words("-show --show"),
    asks_starts=(*_DRIVER.asks_starts, b"-V", b"-help="),
    joined_output=False,
)
_HIPCC = _Grammar(
    compiles=_DRIVER.compiles,
    prints=_DRIVER.prints,
    asks=_DRIVER.asks | _words("--short-version"),
    asks_starts=_DRIVER.asks_starts,
    words_behind=b"HIPCC_COMPILE_FLAGS_APPEND",
)
_NVCC = _Grammar(
    compiles=_words(
        "-c --compile -dc --device-c -dw --device-w -ptx --ptx -cubin --cubin -fatbin --fatbin -cuda --cuda "
        "-optix-ir --optix-ir -ltoir --ltoir"
    ),
    prints=_words("-E --preprocess -M --generate-dependencies -MM --generate-nonsystem-dependencies"),
    asks=_words(
        "-h --help -V --version -dryrun --dryrun -code-ls --list-gpu-code -arch-ls --list-gpu-arch "
        "-clean --clean-targets -run --run"
    ),
    outputs=(b"-o", b"--output-file", b"-MF", b"--dependency-output"),
    joined_output=False,
    words_before=b"NVCC_PREPEND_FLAGS",
    words_behind=b"NVCC_APPEND_FLAGS",
)
_ASSEMBLER_SUFFIXES = frozenset(b".asm .ASM .nasm .yasm .s .S".split())
#: An assembler needs no -c: each line with a source compiles.
_NASM = _Grammar(
    compiles=frozenset(),
    prints=_words("-E -e -M -MG"),
    asks=_words("-v --v -version --version -h --help -y"),
    asks_starts=(b"-h",),
    outputs=(b"-o", b"-MF", b"-MD", b"-l", b"-Z"),
    kind=Kind.ASSEMBLE,
    suffixes=_ASSEMBLER_SUFFIXES,
)
_YASM = _Grammar(
    compiles=frozenset(),
    prints=_words("-e --preproc-only -M"),
    asks=_words("--version --license -h --help"),
    outputs=(b"-o", b"--objfile", b"-l", b"--list", b"--mapfile", b"-E"),
    kind=Kind.ASSEMBLE,
    suffixes=_ASSEMBLER_SUFFIXES,
)
_GRAMMARS = {
    Tool.DRIVER: _DRIVER,
    Tool.INTEL: _INTEL,
    Tool.NVHPC: _NVHPC,
    Tool.HIPCC: _HIPCC,
    Tool.NVCC: _NVCC,
    Tool.NASM: _NASM,
    Tool.YASM: _YASM,
}
#: Further suffixes of sources: flang's, NVIDIA's and AMD's.
_MORE_SUFFIXES = frozenset(b".f77 .F77 .f15 .F15 .f18 .F18 .cuf .CUF .CUF95 .cu .hip .asm .ptx".split())

#: Code for the CPU of the compiler's host. Intel: -fast may include -xHost.
_CPU = re.compile(rb"-(?:m(?:arch|tune|cpu)|tp)=native")
_INTEL_CPU = re.compile(rb"-a?x[Hh]ost\Z|-fast\Z")
#: Options that keep a compile on the submit host, each as the start of a word.
_WRAPPERS = (b"-wrapper",)
#: Append to a file, or have all compiles update one file (Intel's -prof-gen, -prof-use: pgopti.dpi).
_APPENDS = (b"-time", b"--time", b"-prof-", b"-prof_", b"-fproc-stat-report=")
#: Any of these compilers may be made from GCC or from Clang.
_APPENDING_VARIABLES = (*GCC_VARIABLES, *CLANG_VARIABLES)
#: Options of NVIDIA's compilers that make code for a GPU.
_NVHPC_GPU = (b"-acc", b"-cuda", b"-gpu", b"-mp=gpu", b"-stdpar", b"-ta", b"-target", b"-Mcuda")
#: Directories of Fortran's modules: the compiler writes and reads files in them.
_MODULES = (b"-J", b"-module", b"-module-dir")
_SEARCHES = (b"-I", b"-isystem", *_MODULES)


def describe_opaque(
    tool: Tool, words: Sequence[bytes], cwd: bytes, env: Mapping[bytes, bytes], read_file: ReadFile
) -> Description:
    """Describes the words after ``argv[0]`` of such a compiler. The arguments are those of ``describe``."""
    grammar = _GRAMMARS[tool]
    before, behind = split_words(env.get(grammar.words_before, b"")), split_words(env.get(grammar.words_behind, b""))
    expansion = expand(_at_files(tool, [*before, *words, *behind]), read_file)
    words = expansion.words
    if not grammar.asks.isdisjoint(words) or any(word.startswith(grammar.asks_starts) for word in words):
        return Description(Kind.PROBE, Placement.HERE_NOW, Reason.QUERY.value)
    if not expansion.complete or _has_own_response_file(tool, words, env):
        return Description(Kind.UNKNOWN, Placement.HERE_HEAVY, Reason.RESPONSE_FILE.value)
    line = _Line(grammar, words)
    if (probe := _probe_reason(line, cwd)) is not None:
        kind = Kind.PREPROCESS if probe is Reason.WRITES_STDOUT else Kind.PROBE
        return Description(kind, Placement.HERE_NOW, probe.value, line.sources)
    if not line.sources or not line.compiles:
        if grammar.kind is Kind.ASSEMBLE:
            return Description(Kind.UNKNOWN, Placement.HERE_LIGHT, Reason.ASSEMBLER.value)
        return Description(Kind.LINK, Placement.HERE_HEAVY, Reason.LINK.value, line.sources, line.outputs)
    kind, reason = _kind(line)
    placement = Placement.REMOTE
    if (forced := _forced_reason(tool, line, env)) is not None:
        placement, reason = Placement.HERE_HEAVY, forced
    return Description(
        kind, placement, reason.value, line.sources, line.outputs, searches=line.arguments(_SEARCHES),
        directories=line.arguments(_MODULES),
        native=_is_native(tool, line), needs_overlay=True, starts=_starts(tool, line, env),
    )  # fmt: skip


class _Line:
    """One line's words, response files expanded."""

    def __init__(self, grammar: _Grammar, words: Sequence[bytes]) -> None:
        self.grammar = grammar
        self.words = words
        self.prints = not grammar.prints.isdisjoint(words)
        outputs = [*self.arguments(grammar.outputs[1:])]
        main = self.arguments(grammar.outputs[:1])
        if not main and grammar.joined_output:
            main = tuple(word[2:] for word in words if word.startswith(b"-o") and len(word) > 2)
        #: the files to write that the line names, that of -o last
        self.outputs = tuple(dict.fromkeys([*outputs, *main[-1:]]))
        self.output = main[-1] if main else None
        suffixes = grammar.suffixes if grammar.kind is Kind.ASSEMBLE else grammar.suffixes | _MORE_SUFFIXES
        self.sources = tuple(
            word for word in words if word[:1] != b"-" and _suffix(word) in suffixes and word not in self.outputs
        )
        if not main and b"-c" in words and not self.prints:
            # All of these compilers name the object so. A wrong name does no harm: the overlay captures any file.
            objects = [os.path.splitext(os.path.basename(source))[0] + b".o" for source in self.sources]
            self.outputs = tuple(dict.fromkeys([*self.outputs, *objects]))
        self.compiles = grammar.kind is Kind.ASSEMBLE or self.prints or not grammar.compiles.isdisjoint(words)

    def arguments(self, options: Sequence[bytes]) -> tuple[bytes, ...]:
        """The arguments of these options: the next word, or the rest of the word. Only letters join without a "="."""
        found: list[bytes] = []
        for index, word in enumerate(self.words):
            if word in options:
                found += self.words[index + 1 : index + 2]
                continue
            name, equals, value = word.partition(b"=")
            if equals and name in options:
                found.append(value)
            elif word[:2] in (b"-I", b"-J") and word[:2] in options:
                found.append(word[2:])
        return tuple(word for word in found if word == b"-" or word[:1] not in (b"", b"-"))


def _suffix(name: bytes) -> bytes:
    dot = name.rfind(b".")
    return name[dot:] if dot > name.rfind(b"/") + 1 else b""


def _at_files(tool: Tool, words: list[bytes]) -> list[bytes]:
    """The words with nvcc's own spellings of a response file as ``@FILE``."""
    if tool is not Tool.NVCC:
        return words
    out: list[bytes] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition(b"=")
        if name in (b"--options-file", b"-optf"):
            value = value if equals else next(rest, b"")
            out += [b"@" + file for file in value.split(b",")]
        else:
            out.append(word)
    return out


def _has_own_response_file(tool: Tool, words: Sequence[bytes], env: Mapping[bytes, bytes]) -> bool:
    """True if nasm reads further words from a file or a variable: its grammar of them is its own."""
    if tool is not Tool.NASM:
        return False
    return bool(env.get(b"NASMENV")) or any(word.startswith(b"-@") for word in words)


def _probe_reason(line: _Line, cwd: bytes) -> Reason | None:
    if all(word.startswith(b"-") and word != b"-" for word in line.words):
        return Reason.NO_INPUT
    if b"-" in line.outputs:
        return Reason.WRITES_STDOUT
    if b"-" in line.words:
        return Reason.STANDARD_INPUT
    if line.output == b"/dev/null":
        return Reason.DISCARDED
    for word in line.words:
        path = word.rpartition(b"=")[2]
        if path.startswith((b"/dev/", b"/proc/")) or word.startswith((b"-o/dev/", b"-o/proc/")):
            return Reason.INHERITED_FD
    if is_configure_test([*line.sources, *line.outputs], cwd):
        return Reason.CONFIGURE_TEST
    if b"-fsyntax-only" in line.words or b"-syntax-only" in line.words:
        return Reason.SYNTAX_ONLY
    if line.prints and not line.outputs:
        return Reason.WRITES_STDOUT
    return None


def _kind(line: _Line) -> tuple[Kind, Reason]:
    if line.prints:
        return Kind.PREPROCESS, Reason.PREPROCESS
    if line.grammar.kind is Kind.ASSEMBLE:
        return Kind.ASSEMBLE, Reason.ASSEMBLE
    return Kind.COMPILE, Reason.COMPILE if len(line.sources) == 1 else Reason.COMPILE_SEVERAL


def _forced_reason(tool: Tool, line: _Line, env: Mapping[bytes, bytes]) -> Reason | None:
    if _asks_gpu(tool, line, env):
        return Reason.GPU
    if any(word.startswith(_WRAPPERS) for word in line.words):
        return Reason.WRAPPER
    if any(env.get(name) for name in _APPENDING_VARIABLES) or any(word.startswith(_APPENDS) for word in line.words):
        return Reason.APPENDS
    return None


def _asks_gpu(tool: Tool, line: _Line, env: Mapping[bytes, bytes]) -> bool:
    """True if the compiler may look for the GPU of its host, which SprayCC can't compare with another host's."""
    if tool in (Tool.NASM, Tool.YASM):
        return False
    for previous, word in itertools.pairwise([b"", *line.words]):
        # -arch native, -gencode=arch=native,…, --offload-arch=native. -march=native and -tp native are for the CPU.
        if (word == b"native" and previous != b"-tp") or b"=native" in _CPU.sub(b"", word):
            return True
    if tool is Tool.HIPCC:
        named = any(word.startswith((b"--offload-arch", b"--amdgpu-target")) for word in line.words)
        return not (named or env.get(b"HCC_AMDGPU_TARGET"))
    if tool is Tool.NVHPC:
        options = [word for word in line.words if word.startswith(_NVHPC_GPU)]
        cuda_fortran = any(_suffix(source).lower() == b".cuf" for source in line.sources)
        return bool(options or cuda_fortran) and not any(re.search(rb"[=,]cc\d\d", word) for word in options)
    return False


def _is_native(tool: Tool, line: _Line) -> bool:
    if any(_CPU.search(word) for word in line.words):
        return True
    if tool is Tool.INTEL:
        return any(_INTEL_CPU.match(word) for word in line.words)
    if tool is Tool.NVHPC:
        # Without -tp, code is for the CPU of the compiler's host.
        targets = line.arguments([b"-tp"])
        return not targets or targets[-1] in (b"native", b"host")
    return False


def _starts(tool: Tool, line: _Line, env: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """nvcc compiles by means of the host's compiler: that of -ccbin, or the gcc on PATH."""
    if tool is not Tool.NVCC:
        return ()
    named = line.arguments([b"-ccbin", b"--compiler-bindir"])
    return (named[-1] if named else env.get(b"NVCC_CCBIN") or b"gcc",)

"""Describes a command line and chooses its placement: the entry point of this package.

A wrong placement on the submit host costs time. A wrong placement on an executor may change the result. An executor's
host sees the same files and runs the command unmodified, so an executor suits each command that only reads and writes
files. An executor does not suit a command that

- reads a pipe or an inherited descriptor,
- appends to a file to which other commands append,
- asks which CPU its host has, or
- talks to a process on the submit host.

A launcher (ccache, distcc) stays on the submit host together with the compiler that it starts, because the launcher's
own files are unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from spraycc.commands.appending import CLANG_VARIABLES, GCC_VARIABLES
from spraycc.commands.configure_tests import is_configure_test
from spraycc.commands.languages import ASSEMBLER_STAGES, Stage
from spraycc.commands.names import NO_TOOLS, Family, Tool, Tools, is_launcher
from spraycc.commands.opaque import describe_opaque
from spraycc.commands.outputs import Outputs, is_file, is_header_only, outputs_of
from spraycc.commands.parse import Input, Mode, ParsedLine, is_module_server, parse
from spraycc.commands.reasons import Reason
from spraycc.commands.response import expand
from spraycc.model import Description, Kind, Placement

ReadFile = Callable[[bytes], bytes | None]

_ARCHIVERS = (Tool.AR, Tool.RANLIB, Tool.STRIP, Tool.OBJCOPY)
_BINUTILS_QUERIES = frozenset([b"--version", b"--help", b"-V", b"-v", b"--print-output-format"])
_LINKER_QUERIES = frozenset([b"--version", b"-v", b"-V", b"--help", b"-version"])


def describe(
    argv: Sequence[bytes],
    program: bytes,
    cwd: bytes,
    env: Mapping[bytes, bytes],
    read_file: ReadFile,
    tools: Tools = NO_TOOLS,
) -> Description:
    """Describes one command line. Never raises, whatever the words are.

    Args:
        argv: the words, ``argv[0]`` first. If ``argv[0]`` and ``program`` name different tools, ``program`` counts.
        program: path of the program that will really run.
        cwd: the working directory.
        env: the environment; only variables that change a compiler's outputs count.
        read_file: returns the content of a response file by its name as written (relative to ``cwd``), or None if the
            file can't be read.
        tools: the user's own compilers.
    """
    called = argv[0] if argv else b""
    if is_launcher(program) or is_launcher(called):
        return Description(Kind.UNKNOWN, Placement.HERE_LIGHT, Reason.LAUNCHER.value)
    tool = tools.named(program[program.rfind(b"/") + 1 :], called[called.rfind(b"/") + 1 :])
    if tool is None:
        return Description(Kind.UNKNOWN, Placement.HERE_LIGHT, Reason.UNKNOWN_PROGRAM.value)
    description = _describe_tool(tool, argv, cwd, env, read_file)
    # The runner has removed SprayCC's own library. A library of the user may write any file.
    if description.complete and env.get(b"LD_PRELOAD"):
        description = replace(description, complete=False)
    # Bear's library in the compiler reports to a process on the submit host. If it can't, it ends the compiler (3.1.1).
    if description.placement is Placement.REMOTE and env.get(b"INTERCEPT_REPORT_DESTINATION"):
        return replace(description, placement=Placement.HERE_HEAVY, reason=Reason.WATCHED.value)
    return description


def _describe_tool(
    tool: Tool, argv: Sequence[bytes], cwd: bytes, env: Mapping[bytes, bytes], read_file: ReadFile
) -> Description:
    if tool.is_opaque:
        return describe_opaque(tool, argv[1:], cwd, env, read_file)
    family = tool.family
    if family is None:
        return _describe_other(tool, argv[1:])
    if family is not Family.GCC:
        if len(argv) > 1 and argv[1].startswith(b"-cc1"):
            return Description(Kind.UNKNOWN, Placement.HERE_LIGHT, Reason.INNER_COMMAND.value)
        if env.get(b"CCC_OVERRIDE_OPTIONS"):
            return Description(Kind.UNKNOWN, Placement.HERE_HEAVY, Reason.OVERRIDDEN.value)
    expansion = expand(argv[1:], read_file, clang=family is Family.CLANG)
    line = parse(expansion.words, family, cxx=tool.is_cxx)
    if not expansion.complete and not line.query:
        kind = Kind.LINK if line.mode is Mode.LINK else Kind.UNKNOWN
        return Description(kind, Placement.HERE_HEAVY, Reason.RESPONSE_FILE.value)
    return describe_line(line, cwd, env)


def describe_line(line: ParsedLine, cwd: bytes, env: Mapping[bytes, bytes]) -> Description:
    """Describes the parsed line of a C or C++ compiler driver."""
    if line.other_driver:
        return Description(Kind.UNKNOWN, Placement.HERE_LIGHT, Reason.OTHER_DRIVER.value)
    sources = [source for source in line.inputs if source.language is not None]
    probe = _probe_reason(line, sources, cwd)
    if probe is not None:
        kind = Kind.PREPROCESS if probe is Reason.PREPROCESS_STDOUT else Kind.PROBE
        return _description(kind, Placement.HERE_NOW, probe, line, sources)
    if line.mode is Mode.LINK and not is_header_only(line):
        return _description(Kind.LINK, Placement.HERE_HEAVY, Reason.LINK, line, sources)
    kind, reason = _kind(line, sources)
    forced = _forced_reason(line, env)
    if forced is not None:
        return _description(kind, Placement.HERE_HEAVY, forced, line, sources)
    description = _description(kind, Placement.REMOTE, reason, line, sources)
    return replace(description, native=True) if line.native else description


def _description(
    kind: Kind, placement: Placement, reason: Reason, line: ParsedLine, sources: list[Input]
) -> Description:
    # A query writes no file, whatever its other options are.
    if reason in (Reason.QUERY, Reason.NO_INPUT, Reason.NOTHING_COMPILED):
        outputs = Outputs((), complete=True)
    else:
        outputs = outputs_of(line)
    return Description(
        kind, placement, reason.value, tuple([source.name for source in sources]), outputs.names,
        complete=outputs.complete, reads=tuple(line.reads), searches=tuple(line.searches),
    )  # fmt: skip


def _probe_reason(line: ParsedLine, sources: list[Input], cwd: bytes) -> Reason | None:
    """The reason to run the line at once, or None. The most certain reasons are tried first."""
    if line.query:
        return Reason.QUERY
    if not line.inputs:
        if line.mode is Mode.LINK and line.linker_words:
            # -Wl,@FILE may name objects, so only a query is a probe.
            return Reason.LINKER_QUERY if _LINKER_QUERIES.intersection(line.linker_words) else None
        return Reason.QUERY if line.verbose else Reason.NO_INPUT
    if line.mode is not Mode.LINK and not sources:
        unread = [source.name for source in line.inputs if source.name == b"-"]
        return Reason.STANDARD_INPUT if unread else Reason.NOTHING_COMPILED
    for source in line.inputs:
        reason = _special_input(source.name)
        if reason is not None:
            return reason
    for name in line.reads:
        if name.startswith((b"/dev/", b"/proc/")) and name != b"/dev/null":
            return _special_input(name)
    if line.output == b"/dev/null":
        return Reason.DISCARDED
    # An assembler seeks in its output, and can't do so in an executor's pipe. Dependency files are written in order.
    if line.output in _STREAMS and line.mode is not Mode.DEPENDENCIES:
        return Reason.INHERITED_FD
    for written in (line.output, line.depfile, line.cpp_depfile):
        if written is not None and written.startswith((b"/dev/", b"/proc/")) and written not in _HARMLESS_DEVICES:
            return Reason.INHERITED_FD
    if line.mode is Mode.SYNTAX:
        return Reason.SYNTAX_ONLY
    names = [source.name for source in line.inputs]
    if is_configure_test([*names, line.output] if line.output is not None else names, cwd):
        return Reason.CONFIGURE_TEST
    if line.mode is Mode.PREPROCESS and not is_file(line.output):
        return Reason.PREPROCESS_STDOUT
    if line.mode is Mode.ASSEMBLY:
        stages = line.stages()
        if stages == {Stage.ASSEMBLE}:
            return Reason.NOTHING_COMPILED
        # For assembler source -S only preprocesses. GCC then writes to standard output and ignores -o.
        if stages <= ASSEMBLER_STAGES and (line.family is not Family.CLANG or not is_file(line.output)):
            return Reason.PREPROCESS_STDOUT
    return None


#: The streams of a command: on an executor they are pipes, on the submit host they may be files.
_STREAMS = (b"/dev/stdout", b"/dev/stderr")
#: Dependency files under /dev that mean the same on another host.
_HARMLESS_DEVICES = (b"/dev/null", *_STREAMS)


def _special_input(name: bytes) -> Reason | None:
    if name == b"-":
        return Reason.STANDARD_INPUT
    if not name.startswith((b"/dev/", b"/proc/")):
        return None
    if name == b"/dev/null":
        return Reason.EMPTY_SOURCE
    if name in (b"/dev/stdin", b"/dev/fd/0", b"/proc/self/fd/0"):
        return Reason.STANDARD_INPUT
    return (
        Reason.INHERITED_FD
        if name.startswith((b"/dev/", b"/proc/self/", b"/proc/thread-self/")) or b"/fd/" in name
        else None
    )


def _kind(line: ParsedLine, sources: list[Input]) -> tuple[Kind, Reason]:
    if line.mode is Mode.DEPENDENCIES:
        return Kind.DEPENDENCIES, Reason.DEPENDENCIES
    if line.mode is Mode.PREPROCESS:
        return Kind.PREPROCESS, Reason.PREPROCESS
    stages = line.stages()
    if stages == {Stage.HEADER}:
        return Kind.PCH, Reason.PCH
    if stages <= ASSEMBLER_STAGES:
        if line.mode is Mode.ASSEMBLY:
            return Kind.PREPROCESS, Reason.PREPROCESS
        return Kind.ASSEMBLE, Reason.ASSEMBLE
    return Kind.COMPILE, Reason.COMPILE if len(sources) == 1 else Reason.COMPILE_SEVERAL


def _forced_reason(line: ParsedLine, env: Mapping[bytes, bytes]) -> Reason | None:
    """The reason why a line of a remote kind must stay on the submit host, or None."""
    if line.forced_here is not None:
        return line.forced_here
    if line.family is not Family.CLANG:
        # GCC appends rules to the files that these variables name, for every line without -M or -MD.
        names_depfile = line.depend or line.cpp_depfile is not None or line.mode is Mode.DEPENDENCIES
        if not names_depfile and any(env.get(name) for name in GCC_VARIABLES):
            return Reason.APPENDS
        mapper = env.get(b"CXX_MODULE_MAPPER")
        if mapper and is_module_server(mapper):
            return Reason.MODULE_SERVER
    if line.family is not Family.GCC:
        if line.modules:
            return Reason.MODULE_CACHE
        if any(env.get(name) for name in CLANG_VARIABLES):
            return Reason.APPENDS
        if line.fragment is not None and not _is_own_fragment(line):
            return Reason.APPENDS
    return None


def _is_own_fragment(line: ParsedLine) -> bool:
    """True if no other line uses the file of -MJ, because that file's name contains the object's name.

    Clang appends to the file. If several lines append to one file, they must all run on one host.
    """
    if line.fragment == b"-" or line.fragment == b"/dev/null":
        return True
    assert line.fragment is not None
    main = line.output if line.output is not None else line.inputs[0].name
    base = main[main.rfind(b"/") + 1 :]
    own = base[: base.rfind(b".")] if b"." in base else base
    return bool(own) and own in line.fragment[line.fragment.rfind(b"/") + 1 :]


def _describe_other(tool: Tool, words: Sequence[bytes]) -> Description:
    """Describes a program that is no compiler driver: it stays on the submit host, and only the quota differs."""
    if words and all(word in _BINUTILS_QUERIES for word in words):
        return Description(Kind.PROBE, Placement.HERE_NOW, Reason.QUERY.value)
    if tool in _ARCHIVERS:
        return Description(Kind.ARCHIVE, Placement.HERE_LIGHT, Reason.ARCHIVE.value)
    if tool is Tool.LD:
        return Description(Kind.LINK, Placement.HERE_HEAVY, Reason.LINK.value)
    return Description(Kind.ASSEMBLE, Placement.HERE_LIGHT, Reason.ASSEMBLER.value)

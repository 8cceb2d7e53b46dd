"""The reasons for placements. All in one module, because ``spraycc why`` counts and shows each phrase."""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """The value is the phrase that the user reads: short, stable, and without file names."""

    # on an executor
    COMPILE = "compile"
    COMPILE_SEVERAL = "compile of several sources"
    ASSEMBLE = "assembler source"
    PREPROCESS = "preprocess to a file"
    DEPENDENCIES = "dependency generation"
    PCH = "precompiled header"

    # on the submit host at once: the command ends in milliseconds, and another program waits for its answer
    QUERY = "asks the compiler something"
    NO_INPUT = "no input file"
    NOTHING_COMPILED = "compiles nothing"
    LINKER_QUERY = "asks the linker something"
    STANDARD_INPUT = "reads standard input"
    INHERITED_FD = "uses an inherited descriptor"
    DISCARDED = "discards its output"
    EMPTY_SOURCE = "source is an empty device"
    CONFIGURE_TEST = "configure test"
    SYNTAX_ONLY = "checks syntax only"
    PREPROCESS_STDOUT = "preprocess to standard output"
    WRITES_STDOUT = "writes to standard output"

    # on the submit host, with a local slot
    LINK = "link"
    ARCHIVE = "archive"
    ASSEMBLER = "assembler run by itself"

    # compiles that must stay on the submit host
    GPU = "asks for the GPU of its host"
    WRAPPER = "runs the compiler's parts through another program"
    APPENDS = "appends to a shared file"
    MODULE_SERVER = "talks to a module server"
    WATCHED = "reports to Bear"
    MODULE_CACHE = "shares a module cache"
    RESPONSE_FILE = "response file can't be read"

    # not understood
    LAUNCHER = "started through a launcher"
    UNKNOWN_PROGRAM = "unknown program"
    INNER_COMMAND = "the compiler's inner command"
    OTHER_DRIVER = "another driver mode"
    OVERRIDDEN = "options are changed by the environment"

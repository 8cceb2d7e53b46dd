"""Variables that make a compiler append to a file, each with the name of that file. Other compiles may append to it."""

from __future__ import annotations

#: GCC (manual, "Environment Variables Affecting GCC").
GCC_VARIABLES = (b"DEPENDENCIES_OUTPUT", b"SUNPRO_DEPENDENCIES")
#: Clang's driver, and the compilers that are made from Clang.
CLANG_VARIABLES = (
    b"CC_PRINT_OPTIONS_FILE",
    b"CC_PRINT_HEADERS_FILE",
    b"CC_LOG_DIAGNOSTICS_FILE",
    b"CC_PRINT_PROC_STAT_FILE",
    b"CC_PRINT_INTERNAL_STAT_FILE",
)

"""The environment of a build tool: with the server's jobserver and the shims, or without both. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from spraycc.jobserver.makeflags import VARIABLES, compose, compose_cargo, without_jobserver

#: By default ccache identifies a compiler by the file that it finds on PATH. In a build that file is a shim, which does
#: not change with the compiler, so ccache would return objects of another compiler.
CCACHE_CHECK = b"CCACHE_COMPILERCHECK"
_BY_FILE = (b"", b"mtime", b"content")
_BY_ITS_WORDS = b"%compiler% -v"
#: ccache's own default.
_BY_TIME = b"mtime"

_OURS = (b"SPRAYCC_SOCKET", b"SPRAYCC_BUILD", b"SPRAYCC_SHIMS", b"SPRAYCC_SLOT")


def in_build(
    env: Mapping[bytes, bytes],
    *,
    socket: bytes,
    build: bytes,
    shims: bytes,
    path: bytes,
    fifo: bytes,
    fd: int | None,
    shell: bytes = b"",
) -> dict[bytes, bytes]:
    """The environment for a tool in a build that the server has opened.

    Args:
        env: the environment of this process.
        socket: the path of the server's socket.
        build: the build's id.
        shims: the shim directory.
        path: the PATH in force; ``env`` may have none.
        fifo: the path of the jobserver's fifo, empty without a jobserver.
        fd: the descriptor of the fifo, which the tool inherits; None without a jobserver.
        shell: a shell for make's recipe lines, empty for the usual one.
    """
    result = without_build(env, shims)
    result |= {
        b"SPRAYCC_SOCKET": socket,
        b"SPRAYCC_BUILD": build,
        b"SPRAYCC_SHIMS": shims,
        b"PATH": b":".join((shims, *elements_without(path, shims))),
    }
    result |= for_ccache(env)
    if fd is not None:
        for name in VARIABLES:
            if name in env and name != b"MAKEFLAGS":
                result[name] = without_jobserver(env[name])
        result[b"MAKEFLAGS"] = compose(fifo, fd, env.get(b"MAKEFLAGS", b""), shell)
        result[b"CARGO_MAKEFLAGS"] = compose_cargo(fd)
    return result


def for_ccache(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The variable that makes ccache identify compilers behind shims; empty if the user's own value does so."""
    return {CCACHE_CHECK: _BY_ITS_WORDS} if env.get(CCACHE_CHECK, b"") in _BY_FILE else {}


def not_for_ccache(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The variable that undoes :func:`for_ccache`."""
    return {CCACHE_CHECK: _BY_TIME} if env.get(CCACHE_CHECK) == _BY_ITS_WORDS else {}


def without_build(env: Mapping[bytes, bytes], shims: bytes | None = None) -> dict[bytes, bytes]:
    """The environment without SprayCC's variables and, if ``shims`` is known, without that directory on PATH."""
    result = {name: value for name, value in env.items() if name not in _OURS}
    shims = shims or env.get(b"SPRAYCC_SHIMS")
    if shims and b"PATH" in result:
        result[b"PATH"] = b":".join(elements_without(result[b"PATH"], shims))
    return result


def elements_without(path: bytes, shims: bytes) -> list[bytes]:
    """The elements of ``path`` without the shim directory."""
    return [element for element in path.split(b":") if element.rstrip(b"/") != shims.rstrip(b"/")]

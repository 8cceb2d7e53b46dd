"""The environment of a build tool: with the server's jobserver and interception, or without both. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from spraycc.commands import interception
from spraycc.jobserver.makeflags import VARIABLES, compose, compose_cargo, without_jobserver

_OURS = (b"SPRAYCC_SOCKET", b"SPRAYCC_BUILD", b"SPRAYCC_SHIMS", b"SPRAYCC_SLOT")


def in_build(
    env: Mapping[bytes, bytes],
    *,
    socket: bytes,
    build: bytes,
    path: bytes,
    fifo: bytes,
    fd: int | None,
    intercept: Mapping[bytes, bytes],
    shell: bytes = b"",
) -> dict[bytes, bytes]:
    """The environment for a tool in a build that the server has opened.

    Args:
        env: the environment of this process.
        socket: the path of the server's socket.
        build: the build's id.
        path: the PATH in force; ``env`` may have none.
        fifo: the path of the jobserver's fifo, empty without a jobserver.
        fd: the descriptor of the fifo, which the tool inherits; None without a jobserver.
        intercept: the variables that intercept compilers; SPRAYCC_SHIMS is a directory that becomes the first on PATH.
        shell: a shell for make's recipe lines, empty for the usual one.
    """
    result = without_build(env)
    result |= {b"SPRAYCC_SOCKET": socket, b"SPRAYCC_BUILD": build, **intercept}
    if shims := intercept.get(b"SPRAYCC_SHIMS"):
        result[b"PATH"] = b":".join((shims, *elements_without(result.get(b"PATH", path), shims)))
    if fd is not None:
        for name in VARIABLES:
            if name in env and name != b"MAKEFLAGS":
                result[name] = without_jobserver(env[name])
        result[b"MAKEFLAGS"] = compose(fifo, fd, env.get(b"MAKEFLAGS", b""), shell)
        result[b"CARGO_MAKEFLAGS"] = compose_cargo(fd)
    return result


def without_build(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The environment without SprayCC's variables, its library, and its directory on PATH."""
    result = interception.without({name: value for name, value in env.items() if name not in _OURS})
    shims = env.get(b"SPRAYCC_SHIMS")
    if shims and b"PATH" in result:
        result[b"PATH"] = b":".join(elements_without(result[b"PATH"], shims))
    return result


def elements_without(path: bytes, shims: bytes) -> list[bytes]:
    """The elements of ``path`` without the shim directory."""
    return [element for element in path.split(b":") if element.rstrip(b"/") != shims.rstrip(b"/")]

"""The environment of a build tool: with the server's jobserver and the shims, or without either. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spraycc.jobserver.makeflags import VARIABLES, compose, compose_cargo, without_jobserver

#: How ccache tells compilers apart by itself: by the file that it finds on PATH. In a build that is a shim, which does
#: not change when the compiler does, so that ccache would give out what another one made.
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
    """The environment for a tool whose tasks the server places.

    Args:
        env: ours.
        socket: the server's.
        build: the build's id.
        shims: the shim directory.
        path: PATH in force, which may lie in no variable.
        fifo: the jobserver's, empty without one.
        fd: the descriptor on it that the tool inherits; None without one.
        shell: a shell for make's recipe lines, empty for the usual one.
    """
    result = without_build(env, shims)
    result |= {
        b"SPRAYCC_SOCKET": socket,
        b"SPRAYCC_BUILD": build,
        b"SPRAYCC_SHIMS": shims,
        b"PATH": b":".join((shims, *_elements(path, shims))),
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
    """What ccache must be told where shims are on PATH; nothing where the user has told it something that serves."""
    return {CCACHE_CHECK: _BY_ITS_WORDS} if env.get(CCACHE_CHECK, b"") in _BY_FILE else {}


def not_for_ccache(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """What undoes :func:`for_ccache`."""
    return {CCACHE_CHECK: _BY_TIME} if env.get(CCACHE_CHECK) == _BY_ITS_WORDS else {}


def without_build(env: Mapping[bytes, bytes], shims: bytes | None = None) -> dict[bytes, bytes]:
    """The environment without SprayCC's variables and, if ``shims`` is known, without that directory on PATH."""
    result = {name: value for name, value in env.items() if name not in _OURS}
    shims = shims or env.get(b"SPRAYCC_SHIMS")
    if shims and b"PATH" in result:
        result[b"PATH"] = b":".join(_elements(result[b"PATH"], shims))
    return result


def _elements(path: bytes, shims: bytes) -> Sequence[bytes]:
    return [element for element in path.split(b":") if element.rstrip(b"/") != shims.rstrip(b"/")]

"""Both decoders of the server's messages, compared with each other and with spraycc.wire."""

from __future__ import annotations

import importlib.util
import random
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spraycc.errors import ProtocolError
from spraycc.wire.framing import decode_body, encode_frame
from spraycc.wire.runner import FROM_SERVER, Exited, Output, Refused, RunHere
from tests.system.harness.native import NATIVE, STRICT, runner_parts
from tests.system.runner.conftest import SANITIZE

HERE = Path(__file__).parent
FALLBACK = HERE.parents[2] / "spraycc" / "runner" / "fallback.py"
CORPUS = sorted((HERE / "corpus").iterdir())


def load_fallback() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spraycc_runner_fallback", FALLBACK)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fallback = load_fallback()


def line(body: bytes) -> str:
    """The fallback's result, in the words of fuzz_message.c."""
    try:
        tag, first, second, data = fallback.decode(body)
    except fallback.Garbage:
        return "garbage"
    if tag == "out":
        return f"out {first} {len(data)}"
    return "refused" if tag == "refused" else f"{tag} {first} {second}"


def wire_line(body: bytes) -> str:
    """The result of the server's own grammar."""
    try:
        message: Any = FROM_SERVER.unpack(decode_body(body))
    except ProtocolError:
        return "garbage"
    if isinstance(message, Output):
        return f"out {message.fd} {len(message.data)}"
    if isinstance(message, Exited):
        return f"exit {message.code} {message.signal}"
    if isinstance(message, RunHere):
        return f"here {message.skip_stdout} {message.skip_stderr}"
    return "refused" if isinstance(message, Refused) else "garbage"


messages = st.one_of(
    st.builds(Output, st.sampled_from([1, 2]), st.binary(max_size=300)),
    st.builds(Exited, st.integers(0, 255), st.integers(0, 64)),
    st.builds(RunHere, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    st.builds(Refused, st.text(max_size=300)),
)


@given(messages)
def test_what_the_server_says_is_understood(message: Any) -> None:
    body = encode_frame(FROM_SERVER.pack(message))[4:]
    assert line(body) == wire_line(body) != "garbage"


@given(st.binary(max_size=64))
@example(b"\x83\x63out\x01\x5f\x41x\xff")
def test_garbage_is_refused_and_nothing_else_happens(body: bytes) -> None:
    # Here trailing elements and bytes are ignored unread, so the fallback may accept what the server's decoder rejects.
    line(body)


@given(st.recursive(st.integers(-1 - 2**63, 2**64 - 1) | st.binary() | st.text(), lambda inner: st.lists(inner)))
def test_the_fallback_encodes_as_everybody_does(item: Any) -> None:
    assert decode_body(fallback.encode(item)) == item
    assert encode_frame(item)[4:] == fallback.encode(item)


def mutations(count: int) -> list[bytes]:
    """Seeds with some bytes changed, cut or doubled; the same seeds in each run."""
    source = random.Random(1)
    bodies = []
    for _ in range(count):
        body = bytearray(source.choice(CORPUS).read_bytes())
        for _ in range(source.randrange(4)):
            at = source.randrange(len(body) + 1)
            what = source.randrange(4)
            if what == 0:
                body[at : at + 1] = bytes([source.choice([0, 1, 2, 0x17, 0x18, 0x1B, 0x1F, 0x5B, 0x5F, 0x80, 0xFF])])
            elif what == 1:
                del body[at:]
            elif what == 2:
                body[at:at] = source.randbytes(source.randrange(1, 9))
            else:
                body[at:at] = body[: source.randrange(9)]
        bodies.append(bytes(body))
    return bodies


@pytest.mark.parametrize("count", [2000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_the_native_decoder_agrees_with_the_fallbacks(compile_c: Any, tmp_path: Path, count: int) -> None:
    sources = [HERE / "fuzz_message.c", *runner_parts()]
    flags = [*STRICT, *SANITIZE, "-DSTANDALONE"]
    program = compile_c(tmp_path / "decode", sources, *flags, f"-I{NATIVE / 'runner'}")
    bodies = [path.read_bytes() for path in CORPUS] + mutations(count)
    frames = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    done = subprocess.run([program], input=frames, capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert lines == [line(body) for body in bodies]
    assert 0 < lines.count("garbage") < len(lines)
    assert {words.split()[0] for words in lines} == {"garbage", "out", "exit", "here", "refused"}

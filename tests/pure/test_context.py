"""The context of a process, as text."""

from __future__ import annotations

import pytest

from spraycc import context


def test_the_same_process_has_the_same_context() -> None:
    assert context.of_this_process() == context.of_this_process()
    assert context.difference(context.of_this_process(), context.of_this_process()) == ""


@pytest.mark.parametrize("name", ["mnt", "user", "pid", "net", "root", "uid", "gid", "groups", "TracerPid", "CapEff"])
def test_each_part_makes_a_difference(name: str) -> None:
    here = context.of_this_process()
    parts = dict(part.split(":", 1) for part in here.split(" "))
    parts[name] += "0"
    there = " ".join(f"{key}:{value}" for key, value in parts.items())
    assert context.difference(here, there) == context._WORDS[name]


@pytest.mark.parametrize("text", ["", "garbage", "mnt:1", "mnt:" * 1000])
def test_another_releases_text_is_another_context(text: str) -> None:
    assert context.difference(context.of_this_process(), text)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, ""),
        ({b"FAKECHROOT": b"true", b"PATH": b"/bin"}, ""),
        ({b"FAKECHROOT_BASE": b""}, ""),
        ({b"FAKECHROOT_BASE": b"/srv/root"}, "with other files (FAKECHROOT_BASE)"),
        ({b"NIX_REDIRECTS": b"/a=/b"}, "with other files (NIX_REDIRECTS)"),
    ],
)
def test_preloaded_libraries_with_other_files(env: dict[bytes, bytes], words: str) -> None:
    assert context.of_preloaded(env) == words

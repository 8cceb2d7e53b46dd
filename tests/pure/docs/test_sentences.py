"""No sentence of the pages that users read first is too long, and the tool that counts them counts right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import name_of
from tests.tools import sentences
from tests.tools.sentences import MOST_WORDS, long_sentences, words

LONG = " ".join(["word"] * MOST_WORDS)


def counts(text: str) -> list[int]:
    return [len(words(sentence)) for sentence in sentences.sentences(text)]


@pytest.mark.parametrize("page", sentences.pages(), ids=name_of)
def test_no_sentence_is_too_long(page: Path) -> None:
    assert not long_sentences(page.read_text())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two. Three four five!", [2, 3]),
        ("One two\nthree four.", [4]),
        ("# A title\n\nOne two.", [2, 2]),
        ("- one two\n- three\n  four\n\n1. five", [2, 2, 1]),
        ("| a b | c |\n| --- | :-: |\n| one two three. Four | `x | y` |", [2, 1, 3, 1, 1, 1]),
        ("Run `spraycc make -j8. Then more` now.", [3]),
        ("See [the long page](a-b.md) and <https://a.b/c.d>.", [6]),
        ("For example, e.g. one, i.e. two.", [6]),
        ("Python 3.11 or later, .spraycc.toml too.", [6]),
        ("**Bold words.** Then *more* words.", [2, 3]),
        ("One - two + three … four.", [4]),
        ("Text.\n\n```sh\nspraycc make one two three\n```\n\nMore text.", [1, 2]),
        ("<!-- a comment. -->\nText.", [1]),
        ("![a picture of it](x.png)\n\n> A quote.", [2]),
        ('He said "one." Then two.', [3, 2]),
    ],
)
def test_the_words_of_each_sentence(text: str, expected: list[int]) -> None:
    assert counts(text) == expected


@pytest.mark.parametrize("frame", ["{}", "- {}", "| x | {} |", "# {}", "1. {}", "> {}", "*{}*", "([{}](x.md))"])
def test_a_long_sentence_is_noticed_everywhere(frame: str) -> None:
    assert not long_sentences(frame.format(f"{LONG}."))
    [problem] = long_sentences(frame.format(f"{LONG} more."))
    assert problem.startswith(f"{MOST_WORDS + 1} words: ")


def test_an_exception_has_a_reason_and_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [sentence for page in sentences.pages() for sentence in sentences.sentences(page.read_text())]
    for begin, reason in sentences.EXCEPTIONS.items():
        assert reason
        assert any(sentence.startswith(begin) for sentence in everything)
    monkeypatch.setattr(sentences, "EXCEPTIONS", {"word word": "a test"})
    assert not long_sentences(f"{LONG} more.")


def test_the_tool_prints_the_long_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Short. {LONG} more.\n")
    assert sentences.main([str(page)]) == 1
    assert capsys.readouterr().out.startswith(f"{page}: {MOST_WORDS + 1} words: word")
    page.write_text("Short.\n")
    assert sentences.main([str(page)]) == 0

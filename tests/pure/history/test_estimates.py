"""Estimates of a task's time and memory, from earlier runs of the same and of similar tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.history import estimates
from spraycc.history.estimates import Entry, History
from spraycc.model import UNKNOWN

KEYS = st.sampled_from(
    [(kind, name) for kind in ("compile", "link") for name in (b"a.o", b"d/a.o", b"d/b.o", b"e/f/g.o")]
)


def test_nothing_is_known():
    history = History()
    assert history.expect(("compile", b"a.o")) == UNKNOWN
    history.note(("link", b"a.o"), 3.0, 100, 1)
    assert history.expect(("compile", b"a.o")) == UNKNOWN


def test_one_run_is_believed_and_later_ones_move_it():
    history, key = History(), ("compile", b"a.o")
    history.note(key, 4.0, 1000, 1)
    assert history.expect(key).seconds == 4.0
    assert history.expect(key).memory_bytes == 1000
    for run in range(10):
        history.note(key, 8.0, 500, 2 + run)
    assert history.expect(key).seconds == pytest.approx(8.0, rel=0.02)
    assert 500 < history.expect(key).memory_bytes < 600  # peaks are forgotten slowly
    history.note(key, 8.0, 2000, 20)
    assert history.expect(key).memory_bytes == 2000  # and learned at once


@pytest.mark.parametrize(("seconds", "least", "most"), [(0.05, 1.0, 1.5), (10.0, 20.0, 45.0), (100.0, 200.0, 450.0)])
def test_late_is_far_beyond_what_was_seen(seconds, least, most):
    history, key = History(), ("compile", b"a.o")
    for run in range(5):
        history.note(key, seconds * (0.9 if run % 2 else 1.1), 0, run)
        late_s = history.expect(key).late_s
        assert late_s is not None
        assert least < late_s < most


def test_a_new_target_is_like_its_directory_else_like_its_kind():
    history = History()
    for number in range(10):
        history.note(("compile", b"slow/%d.o" % number), 10.0, 4000, 1)
        history.note(("compile", b"quick/%d.o" % number), 2.0, 2000, 1)
    assert history.expect(("compile", b"slow/new.o")).seconds == pytest.approx(10)
    assert history.expect(("compile", b"quick/new.o")).memory_bytes == 2000
    new = history.expect(("compile", b"elsewhere/new.o"))
    assert new.seconds == pytest.approx(6)
    assert new.late_s is not None
    assert 40 <= new.late_s < 50  # four times what 95 of 100 of its kind take


def test_of_a_kind_that_is_hardly_known_nothing_is_late():
    history = History()
    history.note(("compile", b"a.o"), 1.0, 0, 1)
    assert history.expect(("compile", b"b.o")).late_s is None


@given(st.lists(st.tuples(KEYS, st.floats(0, 1e6), st.integers(0, 1 << 40)), max_size=60))
def test_means_are_those_of_the_entries(notes):
    """Whatever the order of changes, the expectation for a new target is the mean of the present entries."""
    history = History()
    for now, (key, seconds, memory) in enumerate(notes):
        history.note(key, seconds, memory, now)
    for kind in ("compile", "link"):
        known = [entry for (other, _), entry in history if other == kind]
        expected = history.expect((kind, b"nowhere/new.o"))
        if not known:
            assert expected == UNKNOWN
            continue
        assert expected.seconds == pytest.approx(sum(e.seconds for e in known) / len(known), rel=1e-6, abs=1e-6)
        assert all(e.seconds >= 0 and e.deviation >= 0 and e.memory_bytes >= 0 for e in known)


def test_changes_are_taken_once_and_given_back():
    history, key = History(), ("compile", b"a.o")
    history.load([(key, Entry(1.0, 0.1, 5, 3, 7))])
    assert history.take_changes() == []
    history.note(key, 1.0, 5, 8)
    changes = history.take_changes()
    assert [(changed, entry.runs) for changed, entry in changes] == [(key, 4)]
    assert history.take_changes() == []
    history.give_back(changes)
    assert len(history.take_changes()) == 1


def test_what_was_noted_before_the_file_was_read_is_newer():
    history, key = History(), ("compile", b"a.o")
    history.note(key, 9.0, 5, 8)
    history.load([(key, Entry(1.0, 0.1, 5, 3, 7))])
    assert history.expect(key).seconds == 9.0


def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr(estimates, "MOST_ENTRIES", 100)
    history = History()
    for now in range(1000):
        history.note(("compile", b"d%d/a.o" % now), 1.0, 0, now)
        assert len(history) <= 101
    assert history.get(("compile", b"d999/a.o")) is not None
    assert history.get(("compile", b"d0/a.o")) is None
    # The directories of forgotten targets are forgotten, too.
    assert history.expect(("compile", b"d0/b.o")).seconds == pytest.approx(1.0)


def test_a_kill_for_memory_is_remembered():
    history, key = History(), ("compile", b"a.o")
    history.note_memory(key, 999, 1)
    assert history.get(key) is None  # how long it takes is not known
    history.note(key, 1.0, 10, 1)
    history.note_memory(key, 999, 2)
    assert history.expect(key).memory_bytes == 999

"""The table of stamps against a naive model, and its rules one by one."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spraycc.server.coherence.view import FRESH_S, TableFullError, Ticket, View, bits_of, directory_of, ids_of
from tests.examples import examples

PATHS = [b"/a", b"/a/x", b"/a/y", b"/a/b", b"/a/b/x", b"/a/bc", b"/a/bc/x", b"/z", b"/"]
LOOKUPS = [kind + path for kind in (b"f", b"n", b"l") for path in PATHS]
STAMPS = [bytes([number]) * 40 for number in range(3)]
LOG_LIMIT = 12


class AgainstAModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.view = View(limit=20, log_limit=LOG_LIMIT)
        self.now = 100.0
        self.lookups: list[bytes] = []
        self.stamps: list[bytes | None] = []
        self.history: list[int] = []
        self.ever_changed: set[int] = set()
        #: the time of the lookup, for entries that were not forgotten since
        self.looked: dict[int, float] = {}
        self.tickets: list[tuple[Ticket, set[int]]] = []
        self.newest: dict[int, int] = {}

    @rule(lookup=st.sampled_from(LOOKUPS))
    def add(self, lookup: bytes) -> None:
        if lookup in self.lookups:
            assert self.view.add(lookup) == self.lookups.index(lookup)
        elif len(self.lookups) == 20:
            with pytest.raises(TableFullError):
                self.view.add(lookup)
        else:
            assert self.view.id_of(lookup) is None
            assert self.view.add(lookup) == len(self.lookups)
            self.lookups.append(lookup)
            self.stamps.append(None)
            self.forgotten(lambda other: other == lookup)

    @rule(eighths=st.integers(1, 10))
    def wait(self, eighths: int) -> None:
        self.now += eighths / 8

    @rule()
    def take_a_ticket(self) -> None:
        self.tickets.append((self.view.ticket(self.now), set()))

    @precondition(lambda self: self.tickets and self.lookups)
    @rule(data=st.data())
    def learn(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.tickets) - 1))
        ticket, forgotten = self.tickets[number]
        ids = st.integers(0, len(self.lookups) - 1)
        results = data.draw(st.lists(st.tuples(ids, st.sampled_from(STAMPS)), max_size=6))
        changed = set()
        for entry, stamp in results:
            if self.newest.get(entry, -1) > number:
                continue
            self.newest[entry] = number
            if entry not in forgotten:
                self.looked[entry] = ticket.now
            if self.stamps[entry] != stamp:
                if self.stamps[entry] is not None:
                    changed.add(entry)
                self.stamps[entry] = stamp
                self.history.append(entry)
        self.ever_changed |= changed
        assert self.view.learn(results, ticket) == bits_of(changed)

    @rule(path=st.sampled_from([*PATHS, b"/none"]))
    def forget(self, path: bytes) -> None:
        self.view.forget_ids([entry for entry, lookup in enumerate(self.lookups) if lookup[1:] == path])
        self.forgotten(lambda lookup: lookup[1:] == path)

    @rule()
    def forget_all(self) -> None:
        self.view.forget_all()
        self.forgotten(lambda lookup: True)

    def forgotten(self, concerns) -> None:
        ids = {entry for entry, lookup in enumerate(self.lookups) if concerns(lookup)}
        for entry in ids:
            self.looked.pop(entry, None)
        for _, since in self.tickets:
            since |= ids

    @invariant()
    def the_table_is_that_of_the_model(self) -> None:
        view = self.view
        assert len(view) == len(self.lookups)
        assert [view.lookup_of(entry) for entry in range(len(view))] == self.lookups
        assert [view.stamp_of(entry) for entry in range(len(view))] == self.stamps
        assert view.version == len(self.history)
        assert view.ever_changed == bits_of(self.ever_changed)
        for directory in {directory_of(path) for path in PATHS}:
            names = [entry for entry, lookup in enumerate(self.lookups) if directory_of(lookup[1:]) == directory]
            assert view.in_directory(directory) == bits_of(names)

    @invariant()
    def changes_are_told_from_every_version(self) -> None:
        for version in range(len(self.history) + 1):
            told = self.view.changed_since(version)
            exact = bits_of(self.history[version:])
            assert told in (exact, self.view.everything)
            if version >= len(self.history) - LOG_LIMIT // 2:
                assert told == exact
        assert self.view.changed_since(len(self.history) + 1) == self.view.everything

    @invariant()
    def an_entry_is_fresh_for_a_while(self) -> None:
        everything = self.view.everything
        stale = set(ids_of(self.view.stale(everything, self.now)))
        for entry in range(len(self.lookups)):
            age = self.now - self.looked.get(entry, -1000)
            if age >= FRESH_S:
                assert entry in stale
            elif age < FRESH_S * 3 / 4:
                assert entry not in stale
            assert self.view.stale(1 << entry, self.now) == (entry in stale) << entry


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=examples(60), stateful_step_count=40)


@pytest.fixture
def view() -> View:
    view = View()
    for name in (b"f/a/x", b"n/a", b"f/b"):
        view.add(name)
    return view


def learn_all(view: View, now: float) -> None:
    ticket = view.ticket(now)
    view.learn([(entry, STAMPS[0]) for entry in range(len(view))], ticket)


def test_few_of_many_directories_keep_their_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spraycc.server.coherence.view._DIRECTORY_SETS", 2)
    view, names = View(), {b"/d%d" % number: 0 for number in range(4)}
    for number in range(40):
        directory = b"/d%d" % (number * 7 % 4)
        names[directory] |= 1 << view.add(b"f" + directory + b"/%d" % number)
        for asked, bits in names.items():
            assert view.in_directory(asked) == bits
            assert view.in_directory(directory) == names[directory]


@pytest.mark.parametrize("ids", [[], [0], [7, 8], [0, 63, 64, 50_000], list(range(8190, 30_000, 7))])
def test_a_set_has_its_members(ids: list[int]) -> None:
    assert ids_of(bits_of(ids)) == ids
    assert bits_of(ids) == sum(1 << entry for entry in ids)


def test_the_age_counts_from_the_ticket_however_long_the_lookup_took(view: View) -> None:
    ticket = view.ticket(10.0)
    assert view.stale(1, 19.0) == 1
    view.learn([(0, STAMPS[0])], ticket)
    assert view.stale(1, 19.0) == 1


def test_an_entry_that_changes_during_the_lookup_stays_stale(view: View) -> None:
    ticket = view.ticket(10.0)
    view.forget_ids([0])
    view.learn([(0, STAMPS[0]), (1, STAMPS[0])], ticket)
    assert view.stale(0b11, 10.0) == 0b01
    assert view.stamp_of(0) == STAMPS[0]


def test_a_lookup_from_before_the_entry_was_added_does_not_make_it_fresh(view: View) -> None:
    ticket = view.ticket(10.0)
    new = view.add(b"f/new")
    view.learn([(new, STAMPS[0])], ticket)
    assert view.stale(1 << new, 10.0) == 1 << new


def test_a_late_result_does_not_replace_a_newer_one(view: View) -> None:
    early, late = view.ticket(10.0), view.ticket(10.0)
    view.learn([(0, STAMPS[1])], late)
    assert view.learn([(0, STAMPS[0])], early) == 0
    assert view.stamp_of(0) == STAMPS[1]


def test_forgetting_everything_affects_a_lookup_that_is_under_way(view: View) -> None:
    learn_all(view, 10.0)
    ticket = view.ticket(10.0)
    view.forget_all()
    view.learn([(0, STAMPS[0])], ticket)
    assert view.stale(view.everything, 10.0) == view.everything


def test_a_version_of_another_table_gives_everything(view: View) -> None:
    learn_all(view, 10.0)
    assert view.changed_since(3) == 0
    assert view.changed_since(4) == view.everything
    assert view.changed_since(-1) == view.everything

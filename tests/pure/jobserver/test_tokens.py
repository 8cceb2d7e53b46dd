"""The token account, against a model of the FIFO and of processes that take, return and lose tokens."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spraycc.jobserver.tokens import TokenAccount


def account(wanted: int, issued: int = 0) -> TokenAccount:
    tokens = TokenAccount()
    tokens.set_tokens(wanted)
    tokens.written(issued)
    return tokens


def to_do(tokens: TokenAccount) -> tuple[int, int]:
    return tokens.due, tokens.owed


def test_a_new_build_has_no_token() -> None:
    tokens = TokenAccount()
    assert (tokens.issued, tokens.committed, tokens.due, tokens.owed) == (0, 0, 0, 0)


def test_what_is_written_is_not_due() -> None:
    tokens = account(3)
    assert to_do(tokens) == (3, 0)
    tokens.written(3)
    assert to_do(tokens) == (0, 0)


def test_set_higher_again_the_debt_goes_first() -> None:
    tokens = account(10, 10)
    tokens.set_tokens(2)
    assert to_do(tokens) == (0, 8)
    tokens.withdrawn(5)
    assert to_do(tokens) == (0, 3)
    tokens.set_tokens(5)
    assert to_do(tokens) == (0, 0)
    tokens.set_tokens(7)
    assert to_do(tokens) == (2, 0)


def test_a_fifo_that_takes_only_some() -> None:
    tokens = account(99, 60)
    assert to_do(tokens) == (39, 0)
    tokens.set_tokens(60)
    assert to_do(tokens) == (0, 0)


def test_no_more_than_the_fifo_has_room_for() -> None:
    tokens = account(99, 60)
    assert not tokens.is_full
    tokens.set_capacity(80)
    assert (tokens.due, tokens.committed, tokens.is_full) == (20, 80, True)
    tokens.set_tokens(90)
    assert tokens.due == 20
    tokens.set_capacity()
    tokens.set_tokens(90)
    assert (tokens.due, tokens.is_full) == (30, False)


@pytest.mark.parametrize(("wanted", "committed"), [(4, 3), (2, 3), (9, 8)])
def test_lost_tokens_are_due_again_only_when_somebody_says_so(wanted: int, committed: int) -> None:
    tokens = account(4, 4)
    tokens.set_tokens(wanted)
    tokens.lost(1)
    assert (tokens.issued, tokens.committed) == (3, committed)
    tokens.set_tokens(4)
    assert to_do(tokens) == (1, 0)


def test_tokens_that_were_found_are_owed() -> None:
    tokens = account(2, 2)
    tokens.found(2)
    assert to_do(tokens) == (0, 2)


@pytest.mark.parametrize("misuse", [TokenAccount.written, TokenAccount.withdrawn, TokenAccount.lost])
def test_what_was_not_asked_for_is_a_bug(misuse: Callable[[TokenAccount, int], None]) -> None:
    with pytest.raises(AssertionError):
        misuse(TokenAccount(), 1)
    with pytest.raises(AssertionError):
        misuse(TokenAccount(), -1)


def test_a_negative_number_is_a_bug() -> None:
    for misuse in (TokenAccount.set_tokens, TokenAccount.set_capacity, TokenAccount.found):
        with pytest.raises(AssertionError):
            misuse(TokenAccount(), -1)


class Pool(RuleBasedStateMachine):
    """A FIFO with room for 40 tokens, and holders that can take only free tokens."""

    ROOM = 40

    def __init__(self) -> None:
        super().__init__()
        self.tokens = TokenAccount()
        self.wanted = 0
        self.free = 0
        self.held = 0
        self.lost = 0

    @rule(count=st.integers(0, 60))
    def set_tokens(self, count: int) -> None:
        self.tokens.set_tokens(count)
        self.wanted = count

    @rule()
    def write_what_is_due(self) -> None:
        count = min(self.tokens.due, self.ROOM - self.free - self.held)
        if count > 0:
            self.free += count
            self.tokens.written(count)

    @rule()
    def take_out_what_is_owed(self) -> None:
        count = min(self.tokens.owed, self.free)
        self.free -= count
        self.tokens.withdrawn(count)

    @precondition(lambda self: self.free)
    @rule(data=st.data())
    def somebody_takes(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, self.free))
        self.free, self.held = self.free - count, self.held + count

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def somebody_returns(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, self.held))
        self.free, self.held = self.free + count, self.held - count

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def somebody_is_killed(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, self.held))
        self.held, self.lost = self.held - count, self.lost + count

    @precondition(lambda self: self.lost)
    @rule(replace=st.booleans())
    def the_watch_writes_one_off(self, replace: bool) -> None:
        committed = self.tokens.committed
        self.tokens.lost(1)
        assert self.tokens.committed == committed - 1
        self.lost -= 1
        self.set_tokens(self.wanted if replace else self.tokens.committed)

    @precondition(lambda self: self.free + self.held < self.ROOM)
    @rule()
    def one_that_was_written_off_comes_back(self) -> None:
        self.free += 1
        self.tokens.found(1)

    @invariant()
    def nothing_is_made_up(self) -> None:
        tokens = self.tokens
        assert tokens.issued == self.free + self.held + self.lost
        assert tokens.issued + tokens.due - tokens.owed == self.wanted
        assert tokens.committed == tokens.issued + tokens.due
        assert min(tokens.issued, tokens.due, tokens.owed) >= 0
        assert not (tokens.due and tokens.owed)

    def teardown(self) -> None:
        """When all tokens are back, the pool has exactly the wanted size."""
        self.free, self.held = self.free + self.held, 0
        while self.lost:
            self.the_watch_writes_one_off(replace=True)
        self.take_out_what_is_owed()
        self.write_what_is_due()
        assert self.free == min(self.wanted, self.ROOM)


TestPool = Pool.TestCase

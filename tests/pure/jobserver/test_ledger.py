"""The token account, against a model of the FIFO and of processes that take, return and lose tokens."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spraycc.jobserver.ledger import Adjustment, TokenLedger


def test_a_new_build_has_no_token() -> None:
    ledger = TokenLedger()
    assert (ledger.circulation, ledger.owed, ledger.due) == (0, 0, 0)
    assert ledger.set_width(1) == Adjustment()


def test_the_implicit_slot_is_no_token() -> None:
    ledger = TokenLedger()
    assert ledger.set_width(4) == Adjustment(issue=3)
    ledger.issued(3)
    assert ledger.adjustment() == Adjustment()


def test_no_width_is_the_width_of_the_implicit_slot() -> None:
    ledger = TokenLedger()
    ledger.set_width(3)
    ledger.issued(2)
    assert ledger.set_width(0) == Adjustment(withdraw=2)


def test_widened_again_the_debt_goes_first() -> None:
    ledger = TokenLedger()
    ledger.set_width(11)
    ledger.issued(10)
    assert ledger.set_width(3) == Adjustment(withdraw=8)
    ledger.withdrawn(5)
    assert ledger.owed == 3
    assert ledger.set_width(6) == Adjustment()
    assert ledger.set_width(8) == Adjustment(issue=2)


def test_a_fifo_that_takes_only_some() -> None:
    ledger = TokenLedger()
    ledger.set_width(100)
    ledger.issued(60)
    assert ledger.due == 39
    assert ledger.set_width(61) == Adjustment()


def test_the_recount_finds_lost_tokens_and_makes_them_due() -> None:
    ledger = TokenLedger()
    ledger.set_width(9)
    ledger.issued(8)
    assert ledger.recount(5) == 3
    assert ledger.due == 3
    assert ledger.recount(5) == 0


def test_the_recount_finds_forged_tokens_and_owes_them() -> None:
    ledger = TokenLedger()
    ledger.set_width(3)
    ledger.issued(2)
    assert ledger.recount(4) == -2
    assert ledger.owed == 2


def test_written_off_tokens_are_due_again() -> None:
    ledger = TokenLedger()
    ledger.set_width(5)
    ledger.issued(4)
    ledger.write_off(1)
    assert ledger.adjustment() == Adjustment(issue=1)


@pytest.mark.parametrize("misuse", ["issued", "withdrawn", "write_off"])
def test_what_was_not_asked_for_is_a_bug(misuse: str) -> None:
    ledger = TokenLedger()
    ledger.set_width(1)
    with pytest.raises(AssertionError):
        getattr(ledger, misuse)(1)
    with pytest.raises(AssertionError):
        getattr(ledger, misuse)(-1)


def test_a_negative_width_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        TokenLedger().set_width(-1)


class Pool(RuleBasedStateMachine):
    """A FIFO with room for 40 tokens and holders that can only take what is free."""

    ROOM = 40

    def __init__(self) -> None:
        super().__init__()
        self.ledger = TokenLedger()
        self.width = 1
        self.free = 0
        self.held = 0
        self.lost = 0

    @rule(width=st.integers(0, 60))
    def change_width(self, width: int) -> None:
        adjustment = self.ledger.set_width(width)
        self.width = max(1, width)
        assert adjustment.issue == 0 or adjustment.withdraw == 0

    @rule()
    def write_what_is_due(self) -> None:
        count = min(self.ledger.due, self.ROOM - self.free - self.held)
        if count > 0:
            self.free += count
            self.ledger.issued(count)

    @rule()
    def take_out_what_is_owed(self) -> None:
        count = min(self.ledger.owed, self.free)
        self.free -= count
        self.ledger.withdrawn(count)

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
    @rule()
    def the_watchdog_writes_one_off(self) -> None:
        self.ledger.write_off(1)
        self.lost -= 1

    @precondition(lambda self: not self.held)
    @rule()
    def recount_when_all_is_quiet(self) -> None:
        assert self.ledger.recount(self.free) == self.lost
        self.lost = 0

    @invariant()
    def nothing_is_made_up(self) -> None:
        assert self.ledger.circulation == self.free + self.held + self.lost
        assert self.ledger.circulation + self.ledger.due - self.ledger.owed == self.width - 1
        assert min(self.ledger.circulation, self.ledger.due, self.ledger.owed) >= 0
        assert not (self.ledger.due and self.ledger.owed)

    def teardown(self) -> None:
        """Settled with everything back, the pool is exactly as wide as asked for."""
        self.free, self.held = self.free + self.held, 0
        self.recount_when_all_is_quiet()
        self.take_out_what_is_owed()
        self.write_what_is_due()
        assert self.free == min(self.width - 1, self.ROOM)


TestPool = Pool.TestCase

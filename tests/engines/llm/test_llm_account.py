"""What a run has paid, as it stands on disk."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from steps.contracts.errors import IntegrityError
from steps.engines.llm.account import Account, Payer, Payment
from steps.engines.llm.client import Reply

RUN, OTHER = Payer("run-one", "1 of 2"), Payer("run-two")
REPLY = Reply("said", "stop", False, 70_001, 12, 0.5, "text", 1)
ASKED, BOUGHT = Payment.asked("question 1", 0.1 + 0.2), Payment.ended("question 2", REPLY, 3)


def account(folder: Path, payer: Payer = RUN) -> Account:
    return Account(folder / "replies_paid.sqlite", payer)


@pytest.fixture
def paid(tmp_path: Path) -> Path:
    with account(tmp_path) as mine, account(tmp_path, OTHER) as others:
        mine.note([("a", ASKED), ("b", Payment.asked("question 2", 8.0))])
        mine.note([("b", BOUGHT), ("c", Payment.ended("question 3", None, 6))])
        others.note([("d", BOUGHT)])
    return tmp_path


def test_payments_come_back_as_they_were_noted_in_any_order(paid: Path) -> None:
    with account(paid) as mine:
        assert mine.payments() == [ASKED, BOUGHT, Payment.ended("question 3", None, 6)]
        mine.note([("b", Payment.asked("question 2", 8.0))])
        assert mine.payments()[1] == BOUGHT, "how it ended counts, whatever is told later"
    with account(paid, Payer(RUN.run)) as whole, account(paid, Payer(RUN.run, "2 of 2")) as share:
        assert len(whole.payments()) == 3 and share.payments() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"run-one1 of 2", b"run-oni1 of 2", 1),
        lambda raw: raw.replace(b"run-one1 of 2", b"run-one2 of 2", 1),
        lambda raw: raw.replace(b"bought", b"batchd"),
        lambda raw: raw.replace(b"asked", b"asket", 1),
        lambda raw: raw.replace((70_001).to_bytes(3, "big"), (70_003).to_bytes(3, "big")),
    ],
)
def test_a_flipped_byte_is_an_error_and_never_another_sum(paid: Path, change: Callable[[bytes], bytes]) -> None:
    file = paid / "replies_paid.sqlite"
    before = file.read_bytes()
    file.write_bytes(change(before))
    assert file.read_bytes() != before
    with account(paid) as mine, pytest.raises(IntegrityError, match="payments of this run have changed") as caught:
        mine.payments()
    assert "start a new run, whose max_cost is less" in (caught.value.hint or "")
    with account(paid, Payer("a run that has paid nothing")) as new:
        assert new.payments() == []


def test_a_payment_that_is_gone_is_missed(paid: Path) -> None:
    with closing(sqlite3.connect(paid / "replies_paid.sqlite")) as db, db:
        db.execute("DELETE FROM payments WHERE id = 'b'")
    with account(paid) as mine, pytest.raises(IntegrityError, match=": 1 payments of this run"):
        mine.payments()
    with account(paid, OTHER) as others:
        assert others.payments() == [BOUGHT]


def test_payments_of_files_without_sums_count(paid: Path) -> None:
    with closing(sqlite3.connect(paid / "replies_paid.sqlite")) as db, db:
        db.execute("DROP TABLE sums")
    with account(paid) as mine:
        mine.note([("e", BOUGHT)])
        assert len(mine.payments()) == 4
        # What a dead process left of one that is there already says nothing about it.
        mine._merge([json.dumps(mine._line("b", Payment.asked("question 2", 8.0))).encode()])
        assert mine.payments()[1] == BOUGHT


def test_what_is_damaged_where_the_state_lies_elsewhere_is_made_anew(
    paid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = paid / "replies_paid.sqlite"
    file.write_bytes(file.read_bytes().replace(b"bought", b"batchd"))
    monkeypatch.setattr(Account, "outlives_machine", True)
    with account(paid) as mine, pytest.raises(IntegrityError) as caught:
        mine.payments()
    assert caught.value.hint == "remove the file: it is made anew from the durable state"

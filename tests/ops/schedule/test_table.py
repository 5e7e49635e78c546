"""The table under many hands, and under kills between any two of its transactions."""

import threading
from contextlib import contextmanager

import pytest
from support.clockwork import BROKEN, Desk, Quick, at

from ops.schedule import alerts, moves
from ops.schedule.schedule import channel_of


class Killed(BaseException):
    pass


class Mortal(Quick):
    """A table at which one dies with the transaction after so many, before it is kept or right after."""

    left = 10**9
    after = False

    def _commit(self, db):
        self.left -= 1
        if self.left == -1 and not self.after:
            raise Killed
        super()._commit(db)

    @contextmanager
    def change(self):
        with super().change() as t:
            yield t
        if self.left == -1 and self.after:
            raise Killed


def test_many_hands_lose_nothing(tmp_path):
    desk = Desk(tmp_path)

    def ask():
        for _ in range(10):
            moves.run_now(desk.table, "s", at("00:30"))

    hands = [threading.Thread(target=ask) for _ in range(8)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    with desk.table.look() as t:
        assert len(t.slots("s")) == 80
    taken = []
    takers = [threading.Thread(target=lambda: taken.append(moves.claim(desk.table, at("01:00"), 99))) for _ in range(8)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sum(one is not None for one in taken) == 1, "one slot of a schedule runs, and one taker has it"


def test_a_transaction_that_dies_changes_nothing(tmp_path):
    desk = Desk(tmp_path)
    table = Mortal(desk.table.path)
    table.left = 0
    with pytest.raises(Killed):
        moves.run_now(table, "s", at("00:30"))
    assert desk.states() == {}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kept", range(10))
def test_an_alert_is_never_lost_and_comes_twice_only_when_killed_before_it_is_marked(
    tmp_path, monkeypatch, kept, after
):
    sent: list[str] = []
    unmarked: list[str] = []

    def send(_channel, _schedule, message, _root, _environment):
        sent.append(message.id)
        if table.left == 0 and not after:
            unmarked.append(message.id)

    monkeypatch.setattr(alerts, "send", send)
    desk = Desk(tmp_path, alerts=[channel_of("webhook:A"), channel_of("webhook:B")])
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    desk.end(desk.look("02:00"), "02:01", BROKEN)
    table = Mortal(desk.table.path)
    table.left, table.after = kept, after

    def tell(now):
        alerts.keep_due(table, at(now))
        alerts.deliver(table, tmp_path, {}, lambda: at(now))

    # One to keep them, two for each of the four, and one that finds no more.
    with pytest.raises(Killed):
        tell("02:02")
    for minute in ("02:03", "02:10", "02:20"):
        tell(minute)
    assert len(set(sent)) == 2, "an id per slot"
    assert len(sent) == 4 + len(unmarked)
    assert len(unmarked) == (kept in (2, 4, 6, 8) and not after)


def test_a_table_that_isnt_there_is_empty_and_stays_away(tmp_path):
    table = Quick(tmp_path / "deep" / "table.db")
    with table.look() as t:
        assert t.entries() == [] and t.slots() == [] and t.beat() is None
    assert not (tmp_path / "deep").exists()

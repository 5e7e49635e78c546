"""A clock that is set back and forth: no slot runs twice, none is forgotten, and the schedule stays alive."""

import random
from datetime import timedelta

import pytest
from support.clockwork import DONE, Desk, at

from ops.schedule import moves
from ops.schedule.slots import Result

FIRST = at("00:30")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("seed", range(8))
def test_every_slot_has_its_line_and_at_most_one_run(tmp_path, seed):
    rng = random.Random(seed)
    policy = {"catchup": rng.choice(["none", "latest", "all"]), "overlap": rng.choice(["skip", "queue"])}
    desk = Desk(tmp_path, now="00:30", **policy)
    now, done = FIRST, []
    for step in range(60):
        jump = rng.choice([1, 1, 1, 1, 3, -2, -9, 30, -40])
        # At last it is set right, and goes on.
        now = max(FIRST, now + jump * HOUR / 4) if step < 40 else max(now, FIRST + 60 * HOUR) + HOUR / 2
        moves.account(desk.table, now)
        while (claimed := moves.claim(desk.table, now, 9)) is not None:
            moves.conclude(desk.table, claimed[1], rng.choice([DONE, DONE, Result("failed", "x")]), now)
            done.append(claimed[1].at)
    assert len(done) == len(set(done)), "no slot runs twice"
    wanted = set(desk.schedule.times.between(FIRST, now))
    with desk.table.look() as t:
        slots = t.slots("s")
        assert t.entry("s").accounted == now
    assert {s.at for s in slots} == wanted and not any(s.is_open for s in slots)
    assert any(at > FIRST + 60 * HOUR for at in done), "it is alive"

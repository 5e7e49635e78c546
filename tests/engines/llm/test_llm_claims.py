"""Several processes that ask the same at once, of a real HTTP server: each reply is bought once."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engines.llm.batch_server import BatchServer
from engines.llm.scripted_server import Act, ScriptedServer, completion
from engines.llm.test_llm_batches import session as in_batches
from engines.llm.test_llm_session import PRICES, asked, echo, numbered, session, texts

from steps.engines.llm import claims
from steps.engines.llm.account import Payer
from steps.engines.llm.cache import ReplyCache

CONCURRENCY = 4
# Asks so many questions, from the front or from the back, and says what it was told and what it has bought.
CODE = (
    "import json, sys; from pathlib import Path\n"
    "from engines.llm.test_llm_claims import CONCURRENCY, PRICES, numbered, session, texts\n"
    "from steps.engines.llm import claims\n"
    "url, folder, count, order, claims.LEASE_SECONDS = *sys.argv[1:5], float(sys.argv[5])\n"
    "with session(url, Path(folder), PRICES, concurrency=CONCURRENCY, timeout_seconds=60.0) as asks:\n"
    "    said = texts(asks.answers(numbered(int(count))[::int(order)]))\n"
    "    print(json.dumps([said, asks.counts()['replies bought'], asks.counts()['cache hits'], asks.spending.cost]))\n"
)
ANSWERS = [f"answer to question {i}" for i in range(10_000)]


def asking(
    server: ScriptedServer, folder: Path, count: int, order: int = 1, lease: float = 60.0
) -> subprocess.Popen[str]:
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    arguments = [server.url, str(folder), str(count), str(order), str(lease)]
    return subprocess.Popen([sys.executable, "-c", CODE, *arguments], env=where, stdout=subprocess.PIPE, text=True)


def told(child: subprocess.Popen[str]) -> Any:
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return json.loads(out)


def until(reached: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.002)


def stop_outside_a_transaction(child: subprocess.Popen[str], folder: Path) -> None:
    """One that stands still within a transaction keeps everybody from the file."""
    while True:
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(0.1)
        try:
            with closing(sqlite3.connect(folder / "replies.sqlite", timeout=0, isolation_level=None)) as db:
                db.execute("BEGIN EXCLUSIVE")
                return
        except sqlite3.OperationalError:
            os.kill(child.pid, signal.SIGCONT)
            time.sleep(0.01)


def twice(server: ScriptedServer) -> int:
    """Requests beyond one for each question."""
    return len(server.bodies) - len(set(asked(server)))


@pytest.mark.parametrize("order", [pytest.param(1, marks=pytest.mark.slow), -1])
def test_two_processes_at_once_buy_each_reply_once(tmp_path: Path, order: int) -> None:
    """In the same order, and in opposite ones: neither waits for one that waits for it."""
    count = 120
    with ScriptedServer(echo(lambda _: 0.02)) as server:
        both = [asking(server, tmp_path, count), asking(server, tmp_path, count, order)]
        (one, bought, hits, cost), (other, more, others_hits, others_cost) = map(told, both)
    assert one == ANSWERS[:count] and other == ANSWERS[:count][::order]
    assert sorted(asked(server)) == sorted(q.key for q in numbered(count))
    assert bought + more == count and hits == more and others_hits == bought
    # A reply costs 0.2 in the run that bought it.
    assert (cost, others_cost) == (pytest.approx(0.2 * bought), pytest.approx(0.2 * more))


def test_two_sessions_of_one_process_buy_each_reply_once_and_share_the_work(tmp_path: Path) -> None:
    with (
        ScriptedServer(echo(lambda _: 0.05)) as server,
        session(server.url, tmp_path, concurrency=CONCURRENCY) as one,
        session(server.url, tmp_path, concurrency=CONCURRENCY) as other,
    ):
        first, second = one.begin(numbered(60)), other.begin(numbered(60))
        assert texts(first()) == texts(second()) == ANSWERS[:60]
        bought = [asks.counts()["replies bought"] for asks in (one, other)]
    assert sum(bought) == len(server.bodies) == 60 and min(bought) >= 8


def test_of_a_process_that_is_killed_another_takes_what_it_bought_and_asks_the_rest(tmp_path: Path) -> None:
    with ScriptedServer(echo(lambda _: 0.02)) as server:
        killed = asking(server, tmp_path, 100)
        until(lambda: len(server.bodies) >= 30)
        with session(server.url, tmp_path, PRICES, concurrency=CONCURRENCY) as asks:
            wait = asks.begin(numbered(100))
            until(lambda: len(server.bodies) >= 50)
            os.kill(killed.pid, signal.SIGKILL)
            start = time.monotonic()
            assert texts(wait()) == ANSWERS[:100]
            assert time.monotonic() - start < 10, "that it is dead is seen, and no lease waited for"
        killed.communicate()
    assert twice(server) <= CONCURRENCY, "only what was in flight may be asked for again"
    with ReplyCache(tmp_path / "replies.sqlite") as cache:
        assert cache.claim(dict.fromkeys([q.key for q in numbered(100)]))[0].keys() == {q.key for q in numbered(100)}


@pytest.mark.slow
def test_a_process_that_stands_still_is_waited_for_no_longer_than_its_lease_and_asks_nothing_twice_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE_SECONDS", 1.5)
    with ScriptedServer(echo(lambda _: 0.05)) as server:
        still = asking(server, tmp_path, 60, lease=1.5)
        until(lambda: len(server.bodies) >= 10)
        stop_outside_a_transaction(still, tmp_path)
        before = len(server.bodies)
        with session(server.url, tmp_path, concurrency=CONCURRENCY) as asks:
            wait = asks.begin(numbered(60))
            until(lambda: len(server.bodies) > before)
            start = time.monotonic()
            assert texts(wait()) == ANSWERS[:60]
            assert 0.5 < time.monotonic() - start < 10
            before = len(server.bodies)
            os.kill(still.pid, signal.SIGCONT)
            assert told(still)[0] == ANSWERS[:60]
    assert len(server.bodies) - before <= CONCURRENCY, "only what it was about to send"


def test_what_one_process_fails_at_another_asks(tmp_path: Path) -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        said = body["messages"][-1]["content"]
        refused = said == "question 3" and body["temperature"] == 1.0
        return Act(400, "{}", delay=0.3) if refused else Act(body=completion(f"answer to {said}").body, delay=0.02)

    with (
        ScriptedServer(script) as server,
        session(server.url, tmp_path, concurrency=CONCURRENCY, temperature=1.0) as one,
        session(server.url, tmp_path, concurrency=CONCURRENCY) as other,
    ):
        failing = one.begin(numbered(6))
        until(lambda: "question 3" in asked(server))
        assert texts(other.answers(numbered(6))) == ANSWERS[:6]
        assert texts(failing())[3] == "bad_request"
    assert Counter(asked(server)) == {q.key: 1 + (q.key == "question 3") for q in numbered(6)}


def test_the_limit_of_one_holds_and_what_it_may_not_ask_another_does(tmp_path: Path) -> None:
    # One request reserves 8 of 10, and costs 0.2: so many until less than that is left.
    with (
        ScriptedServer(echo(lambda _: 0.01)) as server,
        session(server.url, tmp_path, PRICES.model_copy(update={"max_cost": 9.0}), concurrency=1) as poor,
        session(server.url, tmp_path, PRICES, concurrency=1) as rich,
    ):
        first, second = poor.begin(numbered(40)), rich.begin(numbered(40))
        assert texts(second()) == ANSWERS[:40]
        first()
        costs = poor.spending.cost, rich.spending.cost
        assert costs[0] <= 9.0 and sum(costs) == pytest.approx(40 * 0.2)
    assert twice(server) == 0


def test_a_reply_of_no_use_is_bought_anew_by_one_of_two(tmp_path: Path) -> None:
    turn = threading.Event()

    def script(n: int, body: dict[str, Any]) -> Act:
        return Act(body=completion("useless" if not turn.is_set() else "fine").body, delay=0.1)

    with (
        ScriptedServer(script) as server,
        session(server.url, tmp_path) as one,
        session(server.url, tmp_path) as other,
    ):
        one.answers(numbered(3))
        turn.set()
        asks = [s.begin(numbered(3), lambda question, reply: reply.text == "fine") for s in (one, other)]
        assert [texts(wait()) for wait in asks] == [["fine"] * 3] * 2
    assert len(server.bodies) == 6


def test_a_reply_that_is_not_written_yet_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ReplyCache.put

    def slowly(self: ReplyCache, *given: Any) -> None:
        time.sleep(0.5)
        put(self, *given)

    monkeypatch.setattr(ReplyCache, "put", slowly)
    with ScriptedServer(echo()) as server, session(server.url, tmp_path) as asks:
        first = asks.begin(numbered(1))
        until(lambda: asks.counts()["replies bought"] == 1)
        time.sleep(0.1)
        assert texts(asks.answers(numbered(1))) == texts(first()) == ANSWERS[:1]
    assert len(server.bodies) == 1


def test_two_that_ask_in_batches_pay_once_and_the_one_that_made_them_counts_them(tmp_path: Path) -> None:
    with BatchServer(polls=5) as server:
        with (
            in_batches(server.url, tmp_path, payer=Payer("a")) as one,
            in_batches(server.url, tmp_path, payer=Payer("b")) as other,
        ):
            first, second = one.begin(numbered(10)), other.begin(numbered(10))
            assert texts(first()) == texts(second()) == ANSWERS[:10]
            assert one.spending.cost + other.spending.cost == pytest.approx(0.2 + 9 * 0.1)
        assert len(server.single) == 1 and len(server.asked()) == 9


def test_claims_of_dead_processes_are_forgotten_when_the_cache_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "replies.sqlite"
    with ReplyCache(file) as cache:
        assert cache.claim({"a": None, "b": None}) == ({}, {})
        with ReplyCache(file) as other:
            assert other.claim({"b": None, "c": None}) == ({}, {"b": cache.me})
        with closing(sqlite3.connect(file)) as db:
            assert dict(db.execute("SELECT key, process FROM claims WHERE key != 'c'")) == {
                "a": cache.me,
                "b": cache.me,
            }
    with ReplyCache(file), closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT count(*) FROM claims").fetchone() == (0,)


@pytest.mark.slow
def test_of_many_that_are_killed_at_any_moment_nothing_is_bought_twice_but_what_was_in_flight(tmp_path: Path) -> None:
    """Three at once on overlapping questions in different orders; now and then one is killed, and another begins."""
    chance, count, killed = random.Random(5), 900, 0

    def went_on(goal: int) -> bool:
        return len(server.bodies) >= goal or all(child.poll() is not None for child in children)

    with ScriptedServer(echo(lambda _: 0.02)) as server:
        children = [asking(server, tmp_path, count, order) for order in (1, -1, 1)]
        while (now := len(server.bodies)) < count * 0.9:
            until(partial(went_on, now + chance.randrange(60)))
            time.sleep(chance.random() * 0.05)
            place = chance.randrange(len(children))
            if children[place].poll() is None:
                os.kill(children[place].pid, signal.SIGKILL)
                killed += 1
            children[place].communicate()
            children[place] = asking(server, tmp_path, count, chance.choice((1, -1)))
        ends = [told(child)[0] for child in children]
    assert killed >= 15
    assert all(end in (ANSWERS[:count], ANSWERS[:count][::-1]) for end in ends)
    assert set(asked(server)) == {q.key for q in numbered(count)} and twice(server) <= killed * CONCURRENCY
    assert not list(tmp_path.glob("*.journal"))

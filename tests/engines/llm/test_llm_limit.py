"""How many requests are in flight: against a real server that has few places, says so, or gets slower."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, error

from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.limit import Limit, Measured
from steps.engines.llm.prices import Prices
from steps.engines.llm.session import ChatSession, Question

OK = completion("fine")


def limit(concurrency: int | str) -> Limit:
    return Limit(Endpoint(base_url="http://127.0.0.1:1/v1", model="m", concurrency=concurrency))


def questions(n: int) -> list[Question]:
    return [Question(f"{i}", [{"role": "user", "content": f"{i}"}], {}, "word") for i in range(n)]


def asked(url: str, folder: Path, n: int, **more: Any) -> tuple[int, Limit]:
    """Replies, and the limit afterwards."""
    quick = {"initial_backoff_seconds": 0.02, "max_backoff_seconds": 0.05, "max_attempts": 8, "timeout_seconds": 10.0}
    endpoint = Endpoint(base_url=url, model="m", response_format="text", **{**quick, **more})
    with ChatSession(endpoint, Prices(), folder / "replies.sqlite", where="judge.endpoint") as session:
        answers = session.answers(questions(n))
        return sum(isinstance(a.reply, Reply) for a in answers), session._client.limit


def test_a_server_that_is_asked_too_much_is_asked_less_and_no_question_is_lost(tmp_path: Path) -> None:
    places, lock = threading.Semaphore(4), threading.Lock()
    refused = [0]

    def script(n: int, body: dict[str, Any]) -> Act:
        if not places.acquire(blocking=False):
            with lock:
                refused[0] += 1
            return error(429)
        time.sleep(0.02)
        places.release()
        return OK

    with ScriptedServer(script) as server:
        replies, after = asked(server.url, tmp_path, 200, concurrency=32)
    assert replies == 200
    assert after.now < 16, "far fewer than 32"
    assert refused[0] < 120, "a client that always sends 32 is refused some 1,400 times"


def test_nothing_is_sent_while_the_server_asks_for_patience(tmp_path: Path) -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        return error(429, headers={"Retry-After": "0.5"}) if n == 3 else Act(body=OK.body, delay=0.01)

    with ScriptedServer(script) as server:
        replies, _ = asked(server.url, tmp_path, 40, concurrency=2)
    assert replies == 40
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    # One other was in flight when it said so, and may have been followed by another before the word was read.
    assert max(gaps) >= 0.4 and server.times[6] - server.times[3] >= 0.4


def test_one_refusal_halves_the_limit_once_for_all_that_were_in_flight() -> None:
    async def main() -> tuple[int, int]:
        of = limit(16)
        places = [await of.enter() for _ in range(16)]
        for place in places[:5]:
            of.busy(place, None)
        halved = of.now
        for _ in places:
            of.leave(replied=True)
        again = await of.enter()
        of.busy(again, None)
        return halved, of.now

    halved, again = asyncio.run(main())
    assert halved == 8
    assert again == 4, "9 after eight replies, 10 after nine more that aren't there yet; then half"


def test_a_limit_that_fell_comes_back_one_by_one_and_never_above_what_is_set() -> None:
    async def main() -> list[int]:
        of, seen = limit(4), []
        of.busy(await of.enter(), None)
        of.leave(replied=False)
        for _ in range(12):
            await of.enter()
            of.leave(replied=True)
            seen.append(of.now)
        return seen

    assert asyncio.run(main()) == [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(("places", "found"), [(4, 8), (8, 8), (16, 16), (48, 64), (64, 64), (300, 256), (4000, 512)])
def test_auto_finds_what_the_server_can_do(places: int, found: int) -> None:
    """A server with so many places, 0.5 s a reply; further requests wait there."""
    now, time_now = 8, [0.0]
    measured = Measured(now, lambda: time_now[0])
    for _ in range(20_000):
        time_now[0] += 0.5 / min(now, places)
        now = measured.wanted(now, 512, full=True)
    assert now == found


def test_auto_measures_nothing_while_there_is_too_little_to_ask() -> None:
    time_now = [0.0]
    measured = Measured(8, lambda: time_now[0])
    for _ in range(1000):
        time_now[0] += 0.01
        assert measured.wanted(8, 512, full=False) == 8


@pytest.mark.slow
def test_auto_asks_more_of_a_real_server_that_bears_more(tmp_path: Path) -> None:
    with ScriptedServer(lambda n, body: Act(body=OK.body, delay=0.2)) as server:
        replies, after = asked(server.url, tmp_path, 150, concurrency="auto")
    assert replies == 150 and after.now >= 16 and server.most_at_once > 8


def test_a_cancelled_wait_gives_its_turn_to_the_next() -> None:
    async def main() -> bool:
        of = limit(1)
        await of.enter()
        first, second = asyncio.create_task(of.enter()), asyncio.create_task(of.enter())
        await asyncio.sleep(0)
        of.leave(replied=True)
        first.cancel()
        await asyncio.wait_for(second, 5)
        return first.cancelled()

    assert asyncio.run(main())

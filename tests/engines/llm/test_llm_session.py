"""Many questions to a real HTTP server that follows a script."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion

from steps.contracts.errors import ServiceError, StorageError
from steps.engines.llm.asker import Requests, account_of
from steps.engines.llm.caller import Failure
from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.llm.session import Answer, ChatSession, Question

# 100 prompt and 10 reply tokens.
OK = completion("fine")
# A reply costs 100 * 0.001 + 10 * 0.01 = 0.2; what may come is reserved first: 800 reply tokens are 8.
PRICES = Prices(price_per_million_input=1000.0, price_per_million_output=10_000.0)
FREE, CAPPED = Prices(), PRICES.model_copy(update={"max_cost": 10.0})


def question(text: str) -> Question:
    return Question(text, [{"role": "system", "content": "Answer."}, {"role": "user", "content": text}], {}, "word")


def numbered(n: int) -> list[Question]:
    return [question(f"question {i}") for i in range(n)]


def session(url: str, folder: Path, prices: Prices = FREE, max_chars: int | None = None, **more: Any) -> ChatSession:
    quick = {"initial_backoff_seconds": 0.01, "max_backoff_seconds": 0.02, "timeout_seconds": 5.0, "max_attempts": 2}
    endpoint = Endpoint(base_url=url, model="m", response_format="text", **{**quick, **more})
    return ChatSession(endpoint, prices, folder / "replies.sqlite", where="judge.endpoint", max_chars=max_chars)


def asked(server: ScriptedServer) -> list[str]:
    return [body["messages"][-1]["content"] for body in server.bodies]


def texts(answers: list[Answer]) -> list[str]:
    return [a.reply.text if isinstance(a.reply, Reply) else a.reply.reason for a in answers]


def echo(delay: Callable[[str], float] = lambda _: 0.0) -> Callable[[int, dict[str, Any]], Act]:
    def script(n: int, body: dict[str, Any]) -> Act:
        said = body["messages"][-1]["content"]
        return Act(body=completion(f"answer to {said}").body, delay=delay(said))

    return script


def test_answers_stand_in_the_order_of_the_questions_whenever_they_come(tmp_path: Path) -> None:
    questions = numbered(6)
    with ScriptedServer(echo(lambda said: 0.2 - 0.03 * int(said[-1]))) as server, session(server.url, tmp_path) as asks:
        answers = asks.answers(questions)
    assert texts(answers) == [f"answer to {q.key}" for q in questions]
    assert sorted(asked(server)) == [q.key for q in questions]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where tests run side by side, whose processes leave it to the one that started them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_is_told_at_once_and_what_was_bought_is_kept(tmp_path: Path) -> None:
    def delay(said: str) -> float:
        return 0.0 if said != "question 1" else 30.0

    with ScriptedServer(echo(delay)) as server:
        with pytest.raises(KeyboardInterrupt), session(server.url, tmp_path, timeout_seconds=60.0) as asks:
            main = threading.main_thread().ident
            threading.Timer(0.5, signal.pthread_kill, [main, signal.SIGINT]).start()
            start = time.monotonic()
            asks.answers(numbered(3))
        assert time.monotonic() - start < 10
        with session(server.url, tmp_path) as asks:
            assert texts(asks.answers([question("question 0"), question("question 2")])) == [
                "answer to question 0", "answer to question 2",
            ]  # fmt: skip
    assert len(server.bodies) == 3, "what was bought is kept"


def test_questions_go_on_while_their_answers_are_not_waited_for(tmp_path: Path) -> None:
    with ScriptedServer(echo(lambda _: 0.05)) as server, session(server.url, tmp_path, concurrency=4) as asks:
        first = asks.begin(numbered(4))
        second = asks.begin([*numbered(6), question("question 5")])
        answers = second()
        assert texts(answers) == [f"answer to question {i}" for i in (*range(6), 5)]
        assert [a.cached for a in answers] == [True] * 4 + [False, False, True]
        assert texts(first()) == [f"answer to question {i}" for i in range(4)]
    assert sorted(asked(server)) == [f"question {i}" for i in range(6)], "each is asked once"


@pytest.mark.parametrize("concurrency", [1, 6])
def test_concurrency_is_reached_and_never_exceeded(tmp_path: Path, concurrency: int) -> None:
    with (
        ScriptedServer(echo(lambda _: 0.05)) as server,
        session(server.url, tmp_path, concurrency=concurrency) as asks,
    ):
        asks.answers(numbered(20))
    assert server.most_at_once == concurrency


def test_no_reply_is_bought_twice(tmp_path: Path) -> None:
    with ScriptedServer(echo()) as server:
        with session(server.url, tmp_path, PRICES) as asks:
            answers = asks.answers([question("a"), question("b"), question("a")])
            assert [a.cached for a in answers] == [False, False, True]
            again = asks.answers([question("b"), question("c")])
            assert [a.cached for a in again] == [True, False]
        with session(server.url, tmp_path, PRICES) as later:
            assert all(a.cached for a in later.answers([question(q) for q in "abc"]))
            assert later.counts() == {"HTTP requests": 0, "cache hits": 3}
    assert sorted(asked(server)) == ["a", "b", "c"]
    assert asks.counts() == {"HTTP requests": 3, "replies bought": 3, "cache hits": 2}
    assert asks.spending.table().rows == (
        ("bought in this run", 300, 30, pytest.approx(0.6)), ("from the cache", 200, 20, pytest.approx(0.4)),
    )  # fmt: skip
    assert later.spending.cost == 0


def test_a_cached_reply_that_is_of_no_use_is_asked_for_again(tmp_path: Path) -> None:
    with ScriptedServer(lambda n, body: completion(f"reply {n}")) as server:
        with session(server.url, tmp_path) as asks:
            before = texts(asks.answers(numbered(3)))
        with session(server.url, tmp_path) as asks:
            after = texts(asks.answers(numbered(3), lambda q, reply: q.key != "question 1"))
    assert len(server.bodies) == 4 and sorted(set(after) - set(before)) == ["reply 3"]
    assert after == [before[0], "reply 3", before[2]]


def test_the_cap_on_cost_stops_the_buying_and_what_was_bought_is_free(tmp_path: Path) -> None:
    with ScriptedServer(echo()) as server:
        with session(server.url, tmp_path, CAPPED, concurrency=1) as asks:
            answers = asks.answers(numbered(15))
        bought = len(server.bodies)
        # Before the n-th request (n - 1) * 0.2 is spent and a little over 8 set aside.
        assert bought == 10 and asks.spending.cost == pytest.approx(2.0)
        assert texts(answers).count("max_cost") == 5
        with session(server.url, tmp_path, PRICES) as asks:
            assert "max_cost" not in texts(asks.answers(numbered(15)))
        assert len(server.bodies) == 15 and asks.spending.cached_prompt_tokens == 1000


def test_requests_in_flight_count_against_the_cap(tmp_path: Path) -> None:
    with ScriptedServer(echo(lambda _: 0.1)) as server, session(server.url, tmp_path, CAPPED, concurrency=8) as asks:
        asks.answers(numbered(8))
    assert server.most_at_once == 1


def test_messages_that_are_too_long_are_never_sent(tmp_path: Path) -> None:
    with ScriptedServer(echo()) as server, session(server.url, tmp_path, max_chars=300) as asks:
        answers = asks.answers([question("x" * 301), question("y" * 300)])
    assert isinstance(answers[0].reply, Failure) and answers[0].reply.reason == "too_long"
    assert asked(server) == ["y" * 300]


def test_a_server_that_never_answers_is_an_error_that_names_the_config(tmp_path: Path) -> None:
    with (
        ScriptedServer(lambda n, body: Act(drop=True)) as server,
        session(server.url, tmp_path) as asks,
        pytest.raises(ServiceError, match=r"no reply to any of 3 requests.*[\s\S]*judge\.endpoint\.base_url"),
    ):
        asks.answers(numbered(3))


def test_a_server_that_dies_midway_leaves_its_replies(tmp_path: Path) -> None:
    with (
        ScriptedServer(lambda n, body: OK if n < 25 else Act(drop=True)) as server,
        pytest.raises(ServiceError, match="in a row"),
        session(server.url, tmp_path) as asks,
    ):
        asks.answers(numbered(60))
    with ScriptedServer(lambda n, body: OK) as server, session(server.url, tmp_path) as asks:
        assert len(asks.answers(numbered(60))) == 60
    # Replies that were on their way when it gave up are asked for again.
    assert 35 <= len(server.bodies) <= 35 + 8


@pytest.mark.parametrize("bad", [{"price_per_million_input": 1.0}, {"max_cost": 1.0}, {"max_cost": -1.0}])
def test_half_a_price_and_a_cap_without_prices_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Prices(**bad)


def test_what_the_cache_cannot_hold_of_a_reply_is_kept_as_a_mark_and_comes_back_from_it(tmp_path: Path) -> None:
    with ScriptedServer(lambda n, body: completion("so \ud83d there\0")) as server:
        with session(server.url, tmp_path) as asks:
            first = texts(asks.answers(numbered(1)))
        with session(server.url, tmp_path) as asks:
            assert texts(asks.answers(numbered(1))) == first == ["so ? there?"]
        assert len(server.bodies) == 1


def test_tokens_that_are_no_text_come_back_from_the_cache(tmp_path: Path) -> None:
    said = {"content": [{"token": "3", "top_logprobs": [{"token": "\ud83d", "logprob": -0.5}]}]}
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "3"}, "logprobs": said}
    with ScriptedServer(lambda n, body: Act(body=json.dumps({"choices": [choice]}))) as server:
        for _ in range(2):
            with session(server.url, tmp_path) as asks:
                assert texts(asks.answers([replace(q, top=20) for q in numbered(1)])) == ['[["?", -0.5]]']
        assert len(server.bodies) == 1


def test_a_reply_that_was_damaged_in_the_cache_is_asked_for_anew_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "replies.sqlite"
    with ScriptedServer(lambda n, body: completion("score 3")) as server:
        with session(server.url, tmp_path) as asks:
            asks.answers(numbered(2))
            assert "damaged in the cache" not in asks.counts()
        file.write_bytes(file.read_bytes().replace(b"score 3", b"score 5", 1))
        with session(server.url, tmp_path) as asks:
            assert texts(asks.answers(numbered(2))) == ["score 3", "score 3"]
            assert asks.counts()["damaged in the cache"] == 1
        assert len(server.bodies) == 3


def test_the_account_counts_the_requests_of_all_sessions(tmp_path: Path) -> None:
    with (
        ScriptedServer(echo()) as server,
        session(server.url, tmp_path / "writer") as writer,
        session(server.url, tmp_path / "checker") as checker,
    ):
        writer.answers(numbered(3))
        checker.answers(numbered(2))
        account = account_of(Requests(), [writer, checker])
    assert account.counts["endpoint"]["HTTP requests"] == 5


def test_a_disk_that_is_full_ends_the_session_with_its_reason(tmp_path: Path) -> None:
    with (
        ScriptedServer(echo()) as server,
        pytest.raises(StorageError, match="no space left"),
        session(server.url, tmp_path) as asks,
    ):
        asks.answers(numbered(1))
        assert asks._cache._journal is not None
        full = os.open("/dev/full", os.O_WRONLY)
        for part in asks._cache._journal._files:
            os.dup2(full, part._handle)
        os.close(full)
        answered = asks.answers(numbered(50)[1:])
        raise AssertionError(f"{len(answered)} answers that nothing kept")

"""Questions in batches, asked of a real HTTP server that has OpenAI's calls for them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines.llm.batch_server import BatchServer, failed, said

from steps.contracts.errors import ServiceError
from steps.engines.llm import batches
from steps.engines.llm.account import Payer
from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import BatchSettings, Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.llm.session import Answer, ChatSession, Question

# A reply of 100 prompt and 10 reply tokens costs 0.2, in a batch 0.1.
PRICES = Prices(price_per_million_input=1000.0, price_per_million_output=10_000.0)


def questions(n: int) -> list[Question]:
    return [Question(f"q{i}", [{"role": "user", "content": f"question {i}"}], {}, "word") for i in range(n)]


def session(url: str, folder: Path, prices: Prices = PRICES, payer: Payer | None = None, **more: Any) -> ChatSession:
    endpoint = Endpoint(
        base_url=url, model="m", initial_backoff_seconds=0.01, max_backoff_seconds=0.02, max_attempts=2,
        batch=BatchSettings(poll_seconds=0.02), **more,
    )  # fmt: skip
    return ChatSession(endpoint, prices, folder / "replies.sqlite", where="judge.endpoint", payer=payer)


def texts(answers: list[Answer]) -> list[str]:
    return [a.reply.text if isinstance(a.reply, Reply) else a.reply.reason for a in answers]


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer() as running:
        yield running


def test_one_question_goes_alone_and_the_others_in_a_batch_for_half_the_price(
    server: BatchServer, tmp_path: Path
) -> None:
    with session(server.url, tmp_path, payer=Payer("r")) as asks:
        answers = asks.answers(questions(10))
        assert texts(answers) == [f"answer to question {i}" for i in range(10)]
        assert asks.spending.cost == pytest.approx(0.2 + 9 * 0.1)
    assert len(server.single) == 1 and server.asked() == [f"question {i}" for i in range(1, 10)]
    with session(server.url, tmp_path, payer=Payer("r")) as later:
        assert all(a.cached is False for a in later.answers(questions(10))), "this run has bought them"
        assert later.spending.cost == pytest.approx(0.2 + 9 * 0.1)
    assert len(server.batches) == 1 and len(server.single) == 1


def test_what_fails_in_a_batch_is_told_by_its_reason_and_asked_again_by_the_next_run(tmp_path: Path) -> None:
    def answer(key: str, body: dict[str, Any]) -> dict[str, Any] | None:
        wrong = {"q2": failed(key, 400), "q3": failed(key, 500), "q4": failed(key, 429), "q5": None}
        other = {"q6": {**said(key, body), "custom_id": "q999"}, "q7": said(key, {"messages": [{"content": "7"}]})}
        return {**wrong, **other}.get(key, said(key, body))

    with BatchServer(answer) as server:
        with session(server.url, tmp_path) as asks:
            found = texts(asks.answers(questions(8)))
        assert found == ["answer to question 0", "answer to question 1", "bad_request", "server_error", "rate_limited",
                         "bad_response", "bad_response", "answer to 7"]  # fmt: skip
        server.answer = said
        with session(server.url, tmp_path) as asks:
            assert texts(asks.answers(questions(7)))[2:] == [f"answer to question {i}" for i in range(2, 7)]
    assert len(server.single) == 2, "the first of each run goes alone"


def test_an_expired_batch_gives_what_it_has(tmp_path: Path) -> None:
    def answer(key: str, body: dict[str, Any]) -> dict[str, Any] | None:
        return said(key, body) if key < "q5" else None

    with BatchServer(answer, end=lambda n: {"status": "expired"}) as server, session(server.url, tmp_path) as asks:
        assert texts(asks.answers(questions(7)))[4:] == ["answer to question 4", "expired", "expired"]


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    def end(n: int) -> dict[str, Any]:
        full = {"status": "failed", "errors": {"data": [{"code": "token_limit_exceeded"}]}}
        return full if n < 2 else {"status": "completed"}

    with BatchServer(end=end) as server, session(server.url, tmp_path) as asks:
        assert texts(asks.answers(questions(3))) == [f"answer to question {i}" for i in range(3)]
    assert len(server.batches) == 3


def test_a_refused_batch_and_a_server_without_any_are_errors_with_a_way_out(tmp_path: Path) -> None:
    bad = {"status": "failed", "errors": {"data": [{"code": "model_not_found"}]}}
    with (
        BatchServer(end=lambda n: bad) as server,
        session(server.url, tmp_path / "a") as asks,
        pytest.raises(ServiceError, match="refuses a batch of 2 requests \\(model_not_found\\)"),
    ):
        asks.answers(questions(3))

    class SinglesOnly(BatchServer):
        def post(self, path: str, data: bytes, kind: str) -> tuple[int, Any]:
            return (404, {}) if path == "/v1/files" else super().post(path, data, kind)

    with (
        SinglesOnly() as plain,
        session(plain.url, tmp_path / "b") as asks,
        pytest.raises(ServiceError, match=r"no batches \(HTTP 404\)[\s\S]*leave endpoint.batch out"),
    ):
        asks.answers(questions(3))


def test_the_limit_on_cost_holds_and_what_is_left_of_it_is_used(server: BatchServer, tmp_path: Path) -> None:
    # A batch reserves 800 reply tokens, 4.0, for each; 10.0 allow two, whose replies cost 0.1 each.
    with session(server.url, tmp_path, PRICES.model_copy(update={"max_cost": 10.0})) as asks:
        found = texts(asks.answers(questions(15)))
        assert asks.spending.cost <= 10.0
    # 0.2 are spent by the first: two, two, ... until less than what one reserves is left.
    assert found.count("max_cost") == 0 and len(server.batches) == 7
    assert len(server.asked()) == len(set(server.asked())), "nothing is asked twice"


def test_big_questions_make_several_batches(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MOST_REQUESTS", 4)
    with session(server.url, tmp_path) as asks:
        assert len(set(texts(asks.answers(questions(10))))) == 10
    assert [server.files[b["input_file_id"]].count(b"\n") for b in server.batches.values()] == [4, 4, 1]


CODE = (
    "import sys; from pathlib import Path\n"
    "from engines.llm.test_llm_batches import session, questions\n"
    "with session(sys.argv[1], Path(sys.argv[2])) as asks: asks.answers(questions(20))\n"
)


@pytest.mark.parametrize("before", ["/v1/files", "/v1/batches", "GET /v1/batches/"])
def test_after_kill_9_the_same_batch_is_waited_for(tmp_path: Path, before: str) -> None:
    """Killed before the upload is answered, before the batch is known, and while it is waited for."""
    held = threading.Event()

    class Slow(BatchServer):
        def post(self, path: str, data: bytes, kind: str) -> tuple[int, Any]:
            done = super().post(path, data, kind)
            if path == before and not held.is_set():
                held.set()
                time.sleep(1.0)
            return done

        def get(self, path: str) -> tuple[int, Any]:
            if f"GET {path}".startswith(before):
                held.set()
            return super().get(path)

    with Slow(polls=50) as server:
        where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
        child = subprocess.Popen([sys.executable, "-c", CODE, server.url, str(tmp_path)], env=where)
        assert held.wait(60)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        server.polls = 0
        with session(server.url, tmp_path) as asks:
            assert texts(asks.answers(questions(20))) == [f"answer to question {i}" for i in range(20)]
    paid = [*server.asked(), *(body["messages"][-1]["content"] for body in server.single)]
    assert sorted(paid) == sorted({f"question {i}" for i in range(20)}), "nothing is bought twice"
    assert len(server.batches) == 1


def test_two_at_once_make_one_batch(server: BatchServer, tmp_path: Path) -> None:
    server.polls = 20
    with session(server.url, tmp_path) as one, session(server.url, tmp_path) as other:
        one.answers(questions(1))
        other.answers([Question("alone", questions(1)[0].messages, {}, "word")])
        first, second = one.begin(questions(10)), other.begin(questions(10))
        assert texts(first()) == texts(second()) == [f"answer to question {i}" for i in range(10)]
    assert len(server.asked()) == len(set(server.asked())) == 9

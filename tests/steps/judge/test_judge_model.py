"""The model backend against a real HTTP server that follows a script."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, error, free_port, reasoning_model, verdict
from support.object_store import s3, s3_server  # noqa: F401 - fixtures
from support.textrows import chat, dataset, document, preference

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, ServiceError
from steps.contracts.outcome import Outcome
from steps.engines.llm.endpoint import Endpoint
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge

GOOD = completion(verdict(5))


def config(url: str, **more: Any) -> JudgeConfig:
    quick = {"initial_backoff_seconds": 0.01, "max_backoff_seconds": 0.02, "timeout_seconds": 5.0, "max_attempts": 2}
    server = Endpoint(base_url=url, model=more.pop("model", "m"), **{**quick, **more.pop("endpoint", {})})
    return JudgeConfig(**{"backend": "llm", "endpoint": server, "max_undecided_share": 1.0, **more})


def rows_of(n: int, folder: Path) -> Dataset:
    return dataset([chat(f"Question number {i}?", f"Answer number {i}.") for i in range(n)], folder)


def number_in(body: dict[str, Any]) -> int:
    found = re.search(r"Question number (\d+)", body["messages"][1]["content"])
    assert found
    return int(found[1])


def run(
    script: Callable[[int, dict[str, Any]], Act], rows: Dataset, folder: Path, **more: Any
) -> tuple[Outcome, list[dict[str, Any]], ScriptedServer]:
    with ScriptedServer(script) as server:
        outcome = judge(
            rows, config(server.url, **more), StageContext(folder / "out", cache=folder / "cache", scrubbed=True)
        )
    return outcome, pq.read_table(folder / "out" / "verdicts.parquet").to_pylist(), server


def test_each_rows_scores_decide_about_that_row(tmp_path: Path) -> None:
    table = {0: (5, 5, 5, 5), 1: (4, 4, 4, 4), 2: (4, 4, 4, 3), 3: (5, 5, 5, 1), 4: (1, 1, 1, 1), 5: (5, 4, 4, 3)}
    # Late replies to early rows: the order of the replies must not matter.
    outcome, verdicts, _ = run(
        lambda n, body: Act(body=completion(verdict(*table[number_in(body)])).body, delay=0.2 - 0.03 * number_in(body)),
        rows_of(6, tmp_path / "in"), tmp_path,
    )  # fmt: skip
    assert [v["outcome"] for v in verdicts] == ["kept", "kept", "dropped", "dropped", "dropped", "kept"]
    assert [v["share"] for v in verdicts] == pytest.approx([1.0, 0.8, 0.75, 0.8, 0.2, 0.8])
    assert outcome.report.dropped_by == {"below_threshold": 1, "low_accuracy": 1, "low_relevance": 1}
    kept = [r["messages"][0]["content"] for r in outcome.rows.iter_rows()]
    assert kept == [f"Question number {i}?" for i in (0, 1, 5)]
    line = outcome.ledger.read().to_pylist()[0]
    assert json.loads(line["evidence"])["scores"] == {"relevance": 4, "clarity": 4, "completeness": 4, "accuracy": 3}
    assert (
        verdicts[2]["raw_reply"] == verdict(4, 4, 4, 3)
        and json.loads(verdicts[2]["reasons"])["accuracy"] == "because 3"
    )


UNUSABLE = {
    "refusal": completion(None, refusal="I won't"),
    "empty_reply": completion(""),
    "not_json": completion("I'd give it five of five."),
    "truncated": completion(verdict(5)[:40], finish="length"),
    "missing_score": completion(json.dumps({"relevance": 5})),
    "bad_score": completion(verdict(5, 5, 5, "good")),
    "score_out_of_range": completion(verdict(5, 5, 5, 6)),
    "ambiguous_reply": completion(verdict(5) + "\nor rather\n" + verdict(1)),
    "server_error": error(500),
    "connection": Act(drop=True),
    "timeout": Act(body=GOOD.body, delay=0.6),
    "bad_response": Act(body='{"choices": []}'),
    "rate_limited": error(429, headers={"Retry-After": "9999"}),
}


@pytest.mark.parametrize("policy", ["quarantine", "keep", "drop"])
def test_every_unusable_reply_is_undecided_and_goes_where_the_policy_says(tmp_path: Path, policy: str) -> None:
    reasons = list(UNUSABLE)
    outcome, verdicts, _ = run(
        lambda n, body: UNUSABLE[reasons[number_in(body)]] if number_in(body) < len(reasons) else GOOD,
        rows_of(len(reasons) + 3, tmp_path / "in"), tmp_path, undecided=policy,
        endpoint={"timeout_seconds": 0.3, "give_up_after": 99},
    )  # fmt: skip
    assert [v["error"] for v in verdicts] == [*reasons, None, None, None]
    n, report = len(reasons), outcome.report
    assert report.undecided == n and report.counts["undecided by reason"] == dict.fromkeys(reasons, 1)
    expected = {"quarantine": (3, 0, n), "keep": (3 + n, 0, 0), "drop": (3, n, 0)}[policy]
    assert (report.kept, report.dropped, report.quarantined) == expected
    assert outcome.quarantined is not None and outcome.quarantined.rows == expected[2]
    assert {line["reason"] for line in outcome.ledger.read().to_pylist()} == {f"undecided:{r}" for r in reasons}


def test_policy_fail_stops_on_the_first_undecided_row(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="not_json"):
        run(lambda n, body: completion("hm"), rows_of(3, tmp_path / "in"), tmp_path, undecided="fail")


def test_too_many_undecided_rows_fail_and_leave_the_replies(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"3 of 10 rows got no verdict \(3 not_json\)"):
        run(
            lambda n, body: completion("hm") if number_in(body) < 3 else GOOD,
            rows_of(10, tmp_path / "in"), tmp_path, max_undecided_share=0.2,
        )  # fmt: skip
    assert pq.read_table(tmp_path / "out" / "verdicts.parquet")["raw_reply"].to_pylist().count("hm") == 3


@pytest.mark.parametrize("policy", ["fail", "drop"])
def test_every_undecided_rows_reply_is_where_the_message_says(tmp_path: Path, policy: str) -> None:
    def answer(n: int, body: dict[str, Any]) -> Act:
        number = number_in(body)
        long = error(400, "too long", code="context_length_exceeded", param="messages")
        return long if number == 1 else completion(f"hm {number}") if number < 3 else GOOD

    rows = rows_of(10, tmp_path / "in")
    with pytest.raises(ServiceError) as failed:
        run(answer, rows, tmp_path, max_undecided_share=0.2, undecided=policy)
    found = re.search(r"is in (\S+), by record_id", str(failed.value))
    assert found and Path(found[1]).parent == tmp_path / "cache"
    ids = [row["record_id"] for row in rows.iter_rows()]
    lines = [json.loads(line) for line in Path(found[1]).read_text().splitlines()]
    expected = [(ids[0], "not_json", "hm 0"), (ids[1], "bad_request", None), (ids[2], "not_json", "hm 2")]
    assert [(line["record_id"], line["error"], line["reply"]) for line in lines] == expected[: len(lines)]
    assert len(lines) == (1 if policy == "fail" else 3) and {line["source"] for line in lines} == {"s"}
    if policy == "drop":
        assert "1 bad_request: HTTP 400, param messages, code context_length_exceeded" in str(failed.value)
    # The next run, in which all rows get a verdict, takes the file away.
    run(lambda n, body: GOOD, rows, tmp_path, retry_undecided=True)
    assert not list((tmp_path / "cache").glob("undecided-*"))


def test_a_run_that_ends_well_says_where_undecided_replies_are(tmp_path: Path) -> None:
    outcome, _, _ = run(
        lambda n, body: completion("hm") if number_in(body) == 2 else GOOD, rows_of(4, tmp_path), tmp_path
    )
    (file,) = (tmp_path / "cache").glob("undecided-*.jsonl")
    assert outcome.report.notes[-1] == f"What the model said about rows without a verdict is in {file}, by record_id."


def test_a_reasoning_model_is_asked_as_it_wants_and_pays_once_per_row(tmp_path: Path) -> None:
    outcome, verdicts, server = run(reasoning_model(GOOD), rows_of(5, tmp_path / "in"), tmp_path)
    assert {v["outcome"] for v in verdicts} == {"kept"} and len(server.bodies) == 7
    assert outcome.report.counts["requests"]["replies bought"] == 5
    assert [w.partition(" for")[0] for w in outcome.report.warnings] == [
        "The server refuses max_tokens", "The server refuses temperature 0",
    ]  # fmt: skip
    # Replies that were bought so say so later, too.
    again, _, asked = run(reasoning_model(GOOD), rows_of(5, tmp_path / "again"), tmp_path)
    assert len(asked.bodies) == 0 and again.report.warnings == outcome.report.warnings


def test_halves_are_kept_and_averaged(tmp_path: Path) -> None:
    outcome, verdicts, _ = run(
        lambda n, body: completion(verdict(4.5, "3.5/5", 4, 4)), rows_of(1, tmp_path / "in"), tmp_path
    )
    assert [verdicts[0][c] for c in ("relevance", "clarity", "share")] == [4.5, 3.5, 0.8]
    assert verdicts[0]["outcome"] == "kept" and outcome.report.tables[0].rows[0] == ("relevance", 1, 4.5, 0, 0, 0, 0, 1)


def test_held_out_rows_are_scored_and_never_dropped(tmp_path: Path) -> None:
    import numpy as np

    rows = rows_of(4, tmp_path / "in")
    split = rows.select(np.ones(4, bool), tmp_path / "split", "split", np.array([0, 1, 2, 2], np.int8))
    outcome, verdicts, _ = run(
        lambda n, body: completion("hm" if number_in(body) == 3 else verdict(1)), split, tmp_path
    )
    assert [v["outcome"] for v in verdicts] == ["dropped", "kept", "kept", "kept"]
    assert [v["relevance"] for v in verdicts] == [1, 1, 1, None]
    assert outcome.report.flagged_by == {"low_relevance": 2} and outcome.report.undecided == 1
    assert outcome.rows.manifest.splits == {"test": 2, "validation": 1}


def test_equal_rows_are_asked_for_once_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    texts = [chat("Same?", "Same.", locator=str(i)) for i in range(5)] + [chat("Other?", "Other.")]
    rows = dataset(texts, tmp_path / "in")
    first, verdicts, server = run(lambda n, body: GOOD, rows, tmp_path)
    assert len(server.bodies) == 2 and [v["cached"] for v in verdicts] == [False, True, True, True, True, False]
    second, _, server = run(lambda n, body: GOOD, rows, tmp_path)
    assert server.bodies == [] and second.report.counts["requests"]["cache hits"] == 6
    assert second.rows.digest == first.rows.digest


def test_another_model_rubric_or_decoding_asks_again(tmp_path: Path) -> None:
    rows = rows_of(1, tmp_path / "in")
    for more in ({}, {"model": "m2"}, {"instructions": "Prefer haiku."}, {"endpoint": {"temperature": 0.5}},
                 {"endpoint": {"max_tokens": 70}}, {"endpoint": {"seed": 1}}):  # fmt: skip
        assert len(run(lambda n, body: GOOD, rows, tmp_path, **more)[2].bodies) == 1, more
        assert len(run(lambda n, body: GOOD, rows, tmp_path, **more)[2].bodies) == 0, more
    # Neither the limits nor the way of asking change a reply.
    for more in ({"threshold": 0.9}, {"endpoint": {"concurrency": 2, "timeout_seconds": 9.0}}):
        assert len(run(lambda n, body: GOOD, rows, tmp_path, **more)[2].bodies) == 0, more


def test_garbage_that_was_paid_for_is_not_bought_again_unless_asked(tmp_path: Path) -> None:
    rows = rows_of(2, tmp_path / "in")
    run(lambda n, body: completion("hm"), rows, tmp_path)
    again, _, server = run(lambda n, body: GOOD, rows, tmp_path)
    assert server.bodies == [] and again.report.undecided == 2
    better, _, server = run(lambda n, body: GOOD, rows, tmp_path, retry_undecided=True)
    assert len(server.bodies) == 2 and better.report.undecided == 0


def test_failed_requests_are_asked_again_by_the_next_run(tmp_path: Path) -> None:
    rows = rows_of(4, tmp_path / "in")
    first, _, _ = run(lambda n, body: error(500) if number_in(body) == 2 else GOOD, rows, tmp_path)
    second, _, server = run(lambda n, body: GOOD, rows, tmp_path)
    assert (first.report.undecided, second.report.undecided, len(server.bodies)) == (1, 0, 1)


def test_a_server_that_is_down_is_an_error_soon(tmp_path: Path) -> None:
    start, rows = time.monotonic(), rows_of(500, tmp_path / "in")
    with pytest.raises(ServiceError, match="8 requests in a row failed"):
        judge(
            rows,
            config(f"http://127.0.0.1:{free_port()}/v1"),
            StageContext(tmp_path / "o", cache=tmp_path / "c", scrubbed=True),
        )
    assert time.monotonic() - start < 10


def test_a_server_down_for_fewer_rows_than_the_limit_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no reply"):
        judge(
            rows_of(2, tmp_path / "in"),
            config(f"http://127.0.0.1:{free_port()}/v1"),
            StageContext(tmp_path / "o", cache=tmp_path / "c", scrubbed=True),
        )


def test_a_server_that_dies_midway_leaves_its_verdicts_to_the_next_run(tmp_path: Path) -> None:
    rows = rows_of(60, tmp_path / "in")
    with pytest.raises(ServiceError, match="in a row"):
        run(lambda n, body: GOOD if n < 25 else Act(drop=True), rows, tmp_path)
    outcome, _, server = run(lambda n, body: GOOD, rows, tmp_path)
    # Replies that were on their way when it gave up are asked for again.
    assert outcome.report.kept == 60 and 35 <= len(server.bodies) <= 35 + 8


def test_the_report_says_what_was_bought_and_what_max_cost_left_out(tmp_path: Path) -> None:
    prices = {"price_per_million_input": 1000.0, "price_per_million_output": 10_000.0}
    # A reply costs 100 * 0.001 + 10 * 0.01 = 0.2; what may come is reserved first: 800 reply tokens are 8.
    outcome, verdicts, server = run(
        lambda n, body: GOOD, rows_of(10, tmp_path / "in"), tmp_path, **prices, max_cost=10.0
    )
    bought = len(server.bodies)
    table = next(t for t in outcome.report.tables if t.title == "Tokens and cost")
    assert 1 <= bought < 10 and table.rows[0][1:] == (100 * bought, 10 * bought, pytest.approx(0.2 * bought))
    assert [v["error"] for v in verdicts].count("max_cost") == 10 - bought


def test_rows_that_are_too_long_are_never_sent(tmp_path: Path) -> None:
    rows = dataset([chat("Short?", "Yes."), chat("Long?", "x" * 400)], tmp_path / "in")
    _, verdicts, server = run(lambda n, body: GOOD, rows, tmp_path, max_chars=300)
    assert [v["error"] for v in verdicts] == [None, "too_long"] and len(server.bodies) == 1


def test_an_empty_answer_needs_no_request(tmp_path: Path) -> None:
    rows = dataset([chat("Hello?", " \n"), chat("Hello?", "Hi.")], tmp_path / "in")
    outcome, verdicts, server = run(lambda n, body: GOOD, rows, tmp_path)
    assert len(server.bodies) == 1 and verdicts[0]["backend"] == "rule"
    assert outcome.report.dropped_by == {"empty_answer": 1}


def test_documents_are_judged_without_relevance_and_each_answer_of_a_pair_alone(tmp_path: Path) -> None:
    rows = dataset([document("A text."), preference("Best?", "The chosen one.", "The rejected one.")], tmp_path / "in")

    def script(n: int, body: dict[str, Any]) -> Act:
        wanted = body["response_format"]["json_schema"]["schema"]["required"]
        return completion(verdict(5, criteria=tuple(wanted)))

    _, verdicts, server = run(script, rows, tmp_path)
    assert verdicts[0]["relevance"] is None and verdicts[0]["share"] == 1.0 and verdicts[1]["relevance"] == 5
    sent = json.dumps(server.bodies)
    assert "The chosen one." in sent and "The rejected one." in sent
    assert not any("The chosen one." in b and "The rejected one." in b for b in map(json.dumps, server.bodies))


def test_rows_that_were_not_scrubbed_do_not_leave_the_machine(tmp_path: Path) -> None:
    rows, away = rows_of(1, tmp_path / "in"), "http://192.0.2.1/v1"
    with pytest.raises(ConfigError, match="not scrubbed"):
        judge(rows, config(away), StageContext(tmp_path / "o", cache=tmp_path / "c"))
    with ScriptedServer(lambda n, body: GOOD) as server:
        judge(rows, config(server.url), StageContext(tmp_path / "o", cache=tmp_path / "c"))
    assert len(server.bodies) == 1


@pytest.mark.slow
@pytest.mark.parametrize("resumed_on", [pytest.param("one", marks=pytest.mark.slow), "another"])
def test_after_kill_9_no_finished_verdict_is_bought_again(
    tmp_path: Path, resumed_on: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same machine, or on another one that shares a durable state in S3."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "one"))
    if resumed_on == "another":
        monkeypatch.setenv("ASSAY_STATE_URI", f"{request.getfixturevalue('s3')}/{tmp_path.name}/state")
    rows, concurrency = rows_of(60, tmp_path / "in"), 3
    code = (
        "import sys; from pathlib import Path\n"
        "from steps.contracts.context import StageContext as At; from steps.contracts.dataset import Dataset\n"
        "from steps.engines.llm.endpoint import Endpoint\n"
        "from steps.judge.config import JudgeConfig; from steps.judge.judge import judge\n"
        "url, base = sys.argv[1], Path(sys.argv[2])\n"
        f"e = Endpoint(base_url=url, model='m', concurrency={concurrency}, initial_backoff_seconds=0.01)\n"
        "c = JudgeConfig(backend='llm', endpoint=e)\n"
        "judge(Dataset.open(base / 'in'), c, At(base / 'killed', cache=base / 'one' / 'judge', scrubbed=True))\n"
    )
    with ScriptedServer(lambda n, body: Act(body=GOOD.body, delay=0.03)) as server:
        child = subprocess.Popen([sys.executable, "-c", code, server.url, str(tmp_path)])
        while len(server.bodies) < 25:
            assert child.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        time.sleep(0.2)
        before = len(server.bodies)
        monkeypatch.setenv("ASSAY_STATE", str(tmp_path / resumed_on))
        outcome = judge(
            rows,
            config(server.url, endpoint={"concurrency": 3}),
            StageContext(tmp_path / "out", cache=tmp_path / resumed_on / "judge", scrubbed=True),
        )
        asked = [number_in(b) for b in server.bodies]
    assert not (tmp_path / "killed" / "manifest.json").exists()
    assert outcome.report.kept == 60 and set(asked) == set(range(60))
    assert before >= 25 and len(asked) - 60 <= concurrency, "only what was in flight may be asked for again"
    assert outcome.report.counts["requests"]["cache hits"] == 60 - (len(asked) - before)


@pytest.mark.parametrize(
    "bad",
    [{"backend": "llm"}, {"backend": "heuristic", "endpoint": Endpoint(base_url="http://127.0.0.1/v1", model="m")},
     {"max_cost": 1.0}, {"price_per_million_input": 1.0}, {"threshold": 1.1}, {"typo": 1}],
)  # fmt: skip
def test_contradictory_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        JudgeConfig(**bad)


RUBRIC = """\
name: tone
version: 1
rows: {conversation: Rate how the assistant speaks.}
scale: [rude, curt, plain, friendly, warm]
criteria:
  warmth: {conversation: is it warm}
  brevity: {conversation: is it brief}
"""


def test_rows_are_rated_by_the_rubric_that_the_config_names(tmp_path: Path) -> None:
    (tmp_path / "tone.yaml").write_text(RUBRIC)
    rows = dataset(
        [chat("Question number 0?", "A."), chat("Question number 1?", "B."), document("C.")], tmp_path / "in"
    )
    asked: list[dict[str, Any]] = []

    def answer(n: int, body: dict[str, Any]) -> Act:
        asked.append(body)
        low = {"warmth": {"reason": "cold", "score": 1 + number_in(body)}, "brevity": {"reason": "", "score": 5}}
        return completion(json.dumps(low))

    with ScriptedServer(answer) as server:
        outcome = judge(
            rows, config(server.url, rubric="tone.yaml"), StageContext(tmp_path / "out", tmp_path, scrubbed=True)
        )
    verdicts = pq.read_table(tmp_path / "out" / "verdicts.parquet").to_pylist()
    assert [(v["warmth"], v["brevity"]) for v in verdicts] == [(1.0, 5.0), (2.0, 5.0), (None, None)]
    assert "relevance" not in verdicts[0] and verdicts[2]["error"] == "kind_not_rated"
    assert outcome.report.dropped_by == {"low_warmth": 1, "below_threshold": 1} and len(asked) == 2
    schema = asked[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["warmth", "brevity"] and "4 friendly, 5 warm" in asked[0]["messages"][0]["content"]
    assert "rubric tone 1" in outcome.report.notes[0]

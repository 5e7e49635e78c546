"""Probabilities of ratings from a served model: what the server says is what the verdict holds."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, error, verdict
from support.textrows import chat, dataset, document

from steps.contracts.context import StageContext
from steps.contracts.outcome import Outcome
from steps.engines.llm.endpoint import Endpoint
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge

ROWS = [chat("Question 0?", "An answer."), chat("Question 1?", "Another one."), document("A text.")]


def probable(**tokens: float) -> Act:
    """A reply of one token, with the most probable ones: names are tokens, `_4` is one with a blank before it."""
    top = [{"token": t.replace("_", " "), "logprob": math.log(p), "bytes": None} for t, p in tokens.items()]
    act = completion("4")
    body = json.loads(act.body)
    body["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return Act(body=json.dumps(body))


SURE = {"4": 0.6, "_4": 0.1, "5": 0.2, "3": 0.05, "the": 0.05}


def run(
    script: Callable[[int, dict[str, Any]], Act], folder: Path, rows: Any = ROWS, **more: Any
) -> tuple[Outcome, list[dict[str, Any]], ScriptedServer]:
    with ScriptedServer(script) as server:
        endpoint = Endpoint(base_url=server.url, model="m", max_attempts=1, concurrency=1)
        config = JudgeConfig(
            backend="llm", endpoint=endpoint, max_undecided_share=1.0, **{"scoring": "probabilities", **more}
        )
        ctx = StageContext(folder / "out", cache=folder / "cache", scrubbed=True)
        outcome = judge(dataset(rows, folder / "in"), config, ctx)
    return outcome, pq.read_table(folder / "out" / "verdicts.parquet").to_pylist(), server


def test_scores_are_expected_ratings_over_the_servers_tokens(tmp_path: Path) -> None:
    outcome, verdicts, server = run(lambda n, body: probable(**SURE), tmp_path)
    # Of each kind of row an empty one first.
    assert len(server.bodies) == (4 + 3) + 4 + 4 + 3
    assert {k: server.bodies[0][k] for k in ("max_tokens", "logprobs", "top_logprobs")} == {
        "max_tokens": 1, "logprobs": True, "top_logprobs": 20,
    }  # fmt: skip
    assert "response_format" not in server.bodies[0]
    asked = [b["messages"][1]["content"].splitlines()[-1] for b in server.bodies[:4]]
    assert asked[0] == "With one whole number from 1 to 5, rate its relevance." and len(set(asked)) == 4
    expected = (3 * 0.05 + 4 * 0.7 + 5 * 0.2) / 0.95
    assert [v["clarity"] for v in verdicts] == pytest.approx([expected] * 3, abs=1e-4)
    assert verdicts[2]["relevance"] is None and verdicts[0]["prompt_tokens"] == 400
    said = json.loads(verdicts[0]["probabilities"])["accuracy"]
    assert said["ratings"] == pytest.approx([0, 0, 0.05, 0.7, 0.2]) and said["mass"] == pytest.approx(0.95)
    assert outcome.report.kept == 3
    # A second run over the same rows asks nobody.
    again, _, server = run(lambda n, body: error(500), tmp_path)
    assert not server.bodies and again.report.kept == 3


def test_what_says_nothing_decides_nothing(tmp_path: Path) -> None:
    acts = {0: probable(the=0.7, a=0.2, **{"5": 0.1}), 1: completion("4")}

    def script(n: int, body: dict[str, Any]) -> Act:
        row = body["messages"][1]["content"]
        return next((act for i, act in acts.items() if f"Question {i}?" in row), error(400))

    _, verdicts, _ = run(script, tmp_path)
    assert [v["error"] for v in verdicts] == ["low_rating_mass", "no_logprobs", "bad_request"]
    assert verdicts[0]["error_detail"] == "relevance: a rating is said with probability 0.1, and 0.5 is wanted"
    assert "scoring: generation" in verdicts[1]["error_detail"] and verdicts[0]["raw_reply"]


@pytest.mark.parametrize(("can", "backend"), [(True, "probabilities"), (False, "response format json_schema")])
def test_auto_asks_once_what_the_server_can(can: bool, backend: str, tmp_path: Path) -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        if "logprobs" not in body:
            return completion(verdict(4) if "document" not in body["messages"][1]["content"] else verdict(
                4, criteria=("clarity", "completeness", "accuracy")))  # fmt: skip
        return probable(**SURE) if can else completion("4")

    outcome, verdicts, server = run(script, tmp_path, scoring="auto")
    assert backend in outcome.report.notes[0] and [v["error"] for v in verdicts] == [None] * 3
    # The empty row's criteria show what can be done.
    assert len(server.bodies) == (4 + 3 + 11 if can else 4 + 3)
    if not can:
        assert outcome.report.notes[1].startswith("Its ratings' probabilities can't be had: no_logprobs")


def test_unreadable_verdicts_are_asked_for_again_within_bounds(tmp_path: Path) -> None:
    good = completion(verdict(5))

    def script(n: int, body: dict[str, Any]) -> Act:
        said = body["messages"][1]["content"]
        if "Question 1?" in said:
            return completion("hm")
        return good if "An earlier reply was of no use (not_json)" in said else completion("hm")

    settings = {"scoring": "generation", "retry_unreadable": 2}
    outcome, verdicts, server = run(script, tmp_path, ROWS[:2], **settings)
    assert [(v["error"], v["raw_reply"]) for v in verdicts] == [(None, verdict(5)), ("not_json", "hm")]
    assert len(server.bodies) == 2 + 2 + 1 and outcome.report.undecided == 1
    again = run(lambda n, body: error(500), tmp_path, ROWS[:2], **settings)
    assert again[1] == [{**v, "cached": True, "seconds": None} for v in verdicts] and not again[2].bodies

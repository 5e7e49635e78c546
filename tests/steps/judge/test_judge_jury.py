"""Several judges as one, by hand and over the wire; and the rejected answers of pairs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support.textrows import chat, dataset, preference

from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError
from steps.contracts.outcome import Outcome
from steps.judge.config import JudgeConfig
from steps.judge.deciding import decide
from steps.judge.judge import judge
from steps.judge.jury import JurorsTally, combined
from steps.judge.jury_config import JuryConfig
from steps.judge.verdict import JudgeVerdict

ENDPOINT = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}


def jury(by: str, others: int = 2, **more: Any) -> JuryConfig:
    return JuryConfig(by=by, others=[{"name": f"j{n}", "endpoint": ENDPOINT} for n in range(others)], **more)  # type: ignore[arg-type]


def said(*scores: float | None) -> dict[str, JudgeVerdict]:
    names = ["first", *(f"j{n}" for n in range(len(scores) - 1))]
    verdicts = [
        JudgeVerdict("llm", "p", {"clarity": s, "accuracy": 5}, {"clarity": f"{n} says {s}"}, prompt_tokens=10)
        if s is not None
        else JudgeVerdict("llm", "p", error="not_json", raw_reply="hm")
        for n, s in zip(names, scores, strict=True)
    ]
    return dict(zip(names, verdicts, strict=True))


@pytest.mark.parametrize(
    ("by", "scores", "clarity"),
    [
        ("mean", (1, 2, 5), 2.6667),
        ("median", (1, 2, 5), 2),
        ("median", (1, 2, 3, 5), 2.5),
        ("veto", (1, 2, 5), 1),
        ("mean", (4, None, 5), 4.5),
        ("median", (4, None, 5), 4.5),
        ("veto", (4, None, 5), None),
        ("mean", (4, None, None), None),
        ("mean", (None, None, None), None),
    ],
)
def test_scores_are_combined_by_hand(by: str, scores: tuple[float | None, ...], clarity: float | None) -> None:
    found = combined(said(*scores), jury(by, len(scores) - 1), "d")
    assert found.scores.get("clarity") == clarity
    decided = [s for s in scores if s is not None]
    if clarity is None:
        assert found.error == "no_quorum" and f"{len(decided)} of {len(scores)} decided" in str(found.error_detail)
        assert found.raw_reply == "hm"
    else:
        assert found.scores["accuracy"] == 5 and len(found.reasons["clarity"].split(" | ")) == len(decided)
        assert found.prompt_tokens == 10 * len(decided) and found.share == pytest.approx((clarity + 5) / 10)
    assert [m == "not_json" for m in found.members.values()] == [s is None for s in scores]


def test_a_quorum_says_how_many_must_decide() -> None:
    assert combined(said(4, None, None), jury("mean", quorum=1), "d").scores["clarity"] == 4
    assert combined(said(4, None, 3), jury("veto", quorum=2), "d").scores["clarity"] == 3
    assert [jury("mean", n).least for n in (1, 2, 3)] == [2, 2, 3] and jury("veto", 3).least == 4


def test_agreement_is_that_of_scipy_and_scikit_learn() -> None:
    stats, metrics = pytest.importorskip("scipy.stats"), pytest.importorskip("sklearn.metrics")
    dice = np.random.default_rng(0)
    tally = JurorsTally(lambda scores: min(scores.values()) >= 3)
    rows = dice.integers(1, 6, (200, 2))
    for one, other in rows:
        tally.add({"a": {"clarity": int(one)}, "b": {"clarity": int(other)}})
    tally.add({"a": {"clarity": 5}, "b": "not_json"})
    alone, between = tally.tables()
    keeps = [int((rows[:, i] >= 3).sum()) for i in (0, 1)]
    assert alone.rows == (("a", keeps[0] + 1, 200 - keeps[0], 0), ("b", keeps[1], 200 - keeps[1], 1))
    (row,) = between.rows
    same = ((rows[:, 0] >= 3) == (rows[:, 1] >= 3)).mean()
    assert row[:3] == ("a, b", 200, round(float(same), 4))
    assert row[3] == pytest.approx(metrics.cohen_kappa_score(rows[:, 0], rows[:, 1], weights="quadratic"), abs=1e-4)
    assert row[4] == pytest.approx(stats.spearmanr(rows[:, 0], rows[:, 1]).statistic, abs=1e-4)
    assert row[5] == pytest.approx((rows[:, 0] - rows[:, 1]).mean() / 5, abs=1e-4)
    assert not math.isnan(float(row[3] or 0)) and JurorsTally(lambda _: True).tables() == ()


def run(script: Any, folder: Path, rows: Any, **more: Any) -> tuple[Outcome, list[dict[str, Any]], ScriptedServer]:
    with ScriptedServer(script) as server:
        here = {"base_url": server.url, "max_attempts": 1}
        if "jury" in more:
            more["jury"] = {**more["jury"], "others": [
                {"name": n, "endpoint": {**here, "model": n}} for n in more["jury"]["others"]]}  # fmt: skip
        own = {"backend": "llm", "endpoint": {**here, "model": "one"}, "max_undecided_share": 1.0}
        ctx = StageContext(folder / "out", cache=folder / "cache", scrubbed=True)
        outcome = judge(dataset(rows, folder / "in"), JudgeConfig(**{**own, **more}), ctx)  # type: ignore[arg-type]
    return outcome, pq.read_table(folder / "out" / "verdicts.parquet").to_pylist(), server


def test_a_jury_over_the_wire(tmp_path: Path) -> None:
    scores = {"one": (5, 5, 5), "two": (5, 1, 4), "three": (5, 4, None)}

    def script(n: int, body: dict[str, Any]) -> Act:
        number = int(body["messages"][1]["content"].split("Question ")[1][0])
        score = scores[body["model"]][number]
        return completion("hm" if score is None else verdict(score))

    rows = [chat(f"Question {n}?", f"Answer {n}.") for n in range(3)]
    outcome, verdicts, server = run(
        script, tmp_path, rows, jury={"others": ["two", "three"], "by": "veto", "quorum": 2}
    )
    assert [v["clarity"] for v in verdicts] == [5, 1, 4] and {v["backend"] for v in verdicts} == {"jury"}
    assert json.loads(verdicts[2]["members"])["three"] == "not_json"
    assert [v["outcome"] for v in verdicts] == ["kept", "dropped", "kept"] and len(server.bodies) == 9
    tables = {t.title: t.rows for t in outcome.report.tables}
    assert tables["Judges alone"] == (("first", 3, 0, 0), ("two", 2, 1, 0), ("three", 2, 0, 1))
    assert [row[:3] for row in tables["Agreement of judges"]] == [
        ("first, two", 3, 0.6667), ("first, three", 2, 1.0), ("two, three", 2, 0.5),
    ]  # fmt: skip
    assert outcome.report.notes[0] == (
        "A jury of 3: per criterion the lowest score of those that decide, at least 2 of them."
    )
    again = run(lambda n, body: completion("hm"), tmp_path, rows, jury={"others": ["two", "three"], "by": "mean"})
    assert not again[2].bodies and again[1][1]["clarity"] == pytest.approx(10 / 3, abs=1e-4)


@pytest.mark.parametrize(("policy", "outcomes", "asked"), [
    ("flag", ["kept", "kept", "kept", "dropped"], 7),
    ("drop", ["kept", "dropped", "kept", "dropped"], 7),
    ("off", ["kept", "kept", "kept", "dropped"], 4),
])  # fmt: skip
def test_a_pair_whose_rejected_answer_wins(policy: str, outcomes: list[str], asked: int, tmp_path: Path) -> None:
    rows = [
        preference("Which?", "good 5", "bad 1"), preference("Which?", "fair 4", "better 5"),
        preference("Which?", "same 5", "equal 5"), chat("Which?", "poor 2"),
    ]  # fmt: skip

    def script(n: int, body: dict[str, Any]) -> Act:
        said = json.loads(body["messages"][1]["content"].splitlines()[1])["conversation"][-1]["content"]
        return completion(verdict(int(said[-1])))

    outcome, verdicts, server = run(script, tmp_path, rows, rejected=policy)
    assert [v["outcome"] for v in verdicts] == outcomes and len(server.bodies) == asked
    if policy == "off":
        assert "rejected_share" not in verdicts[0]
        return
    assert [v["rejected_share"] for v in verdicts] == [0.2, 1.0, 1.0, None]
    lines = {line["reason"]: json.loads(line["evidence"]) for line in outcome.ledger.read().to_pylist()}
    assert lines["rejected_wins"]["rejected_share"] == 1.0 and set(lines) == {"rejected_wins", "below_threshold"} | (
        {"low_relevance"} & set(lines)
    )
    assert outcome.report.counts["pairs by the better answer"] == {"chosen": 1, "rejected": 1, "neither": 1}


def test_juries_that_cant_be() -> None:
    own = {"backend": "llm", "endpoint": ENDPOINT}
    two = {"name": "two", "endpoint": ENDPOINT}
    for wrong, told in [
        ({"jury": {"others": [two, two]}, **own}, "each juror has a name of its own"),
        ({"jury": {"others": [{**two, "name": "first"}]}, **own}, "none is called first"),
        ({"jury": {"others": [{"name": "two"}]}, **own}, "asked by endpoint or local"),
        ({"jury": {"others": [two], "quorum": 3}, **own}, "quorum is 3, and there are 2 judges"),
        ({"jury": {"others": [two]}}, "a jury is set, but backend is heuristic"),
    ]:
        with pytest.raises(ValueError, match=told):
            JudgeConfig(**wrong)  # type: ignore[arg-type]


def test_no_juror_gets_rows_that_may_not_leave(tmp_path: Path) -> None:
    away = {"name": "away", "endpoint": {"base_url": "https://api.example.com/v1", "model": "m"}}
    config = JudgeConfig(backend="llm", endpoint=ENDPOINT, jury={"others": [away]})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not scrubbed") as e:
        judge(dataset([chat("a", "b")], tmp_path / "in"), config, StageContext(tmp_path / "out"))
    assert "api.example.com" in str(e.value)


def test_a_rejected_answer_without_a_verdict_is_asked_about_again(tmp_path: Path) -> None:
    rows = [preference("Which?", "good 4", "bad 5")]

    def script(n: int, body: dict[str, Any]) -> Act:
        return completion("hm" if "bad 5" in body["messages"][1]["content"] else verdict(5))

    outcome, verdicts, _ = run(script, tmp_path, rows)
    assert verdicts[0]["outcome"] == "kept" and verdicts[0]["rejected_share"] is None
    assert outcome.report.counts["pairs by the better answer"] == {"rejected undecided: not_json": 1}
    assert outcome.artifacts["judge_row_cache"].manifest.rows == 0


@pytest.mark.parametrize(("split", "policy", "chosen", "decided"), [
    ("test", "drop", 1, ("kept", "rejected_wins")), ("validation", "flag", 4, ("kept", "rejected_wins")),
    ("train", "flag", 4, ("kept", "rejected_wins")), ("train", "drop", 4, ("dropped", "rejected_wins")),
    ("train", "flag", 1, ("dropped", "low_clarity")), ("train", "flag", 5, ("kept", None)),
])  # fmt: skip
def test_what_becomes_of_a_pair(split: str, policy: Any, chosen: int, decided: tuple[str, str | None]) -> None:
    config = JudgeConfig(backend="llm", endpoint=ENDPOINT, rejected=policy)  # type: ignore[arg-type]
    said = JudgeVerdict("llm", "p", {"clarity": chosen, "accuracy": chosen}, rejected_share=1.0)
    assert decide(split, said, config) == decided

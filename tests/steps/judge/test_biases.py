"""Habits of a judge: planted ones are found and measured, by hand and over the wire."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from scipy import stats
from support.textrows import chat, dataset

from steps.contracts.context import StageContext
from steps.contracts.reports import StageReport
from steps.engines.llm.families import families_of, known_families_in
from steps.judge.biases.length import LengthTally, controlled, rank_correlation
from steps.judge.biases.own_family import OwnFamily, maker
from steps.judge.biases.scale import ScaleTally, scale_warnings
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge
from steps.judge.ratings import Rating


def test_a_planted_liking_for_length_is_measured_and_taken_out() -> None:
    dice = np.random.default_rng(0)
    chars = np.rint(2 ** dice.uniform(4, 10, 2_000))
    sources = np.where(np.arange(2_000) % 2, "good", "plain")
    # The good source has longer answers as well.
    chars = np.where(sources == "good", chars * 4, chars)
    shares = 0.3 + 0.04 * np.log2(1 + chars) + 0.1 * (sources == "good") + dice.normal(0, 0.02, 2_000)
    found = controlled(chars, shares, sources)
    assert found is not None and found.slope is not None
    assert found.slope.low < 0.04 < found.slope.high and found.slope.high - found.slope.low < 0.005
    # All that is left between the sources is the tenth that was planted.
    equal = {name: at for name, *_, at in found.sources}
    assert equal["good"] - equal["plain"] == pytest.approx(0.1, abs=0.005)
    raw = {name: share for name, _, _, share, _ in found.sources}
    assert raw["good"] - raw["plain"] > 0.17
    # By an ordinary regression with dummies.
    design = np.column_stack([np.log2(1 + chars), sources == "good", sources == "plain"])
    assert found.slope.value == pytest.approx(np.linalg.lstsq(design, shares)[0][0], abs=1e-9)
    assert controlled(chars[:19], shares[:19], sources[:19]) is None
    same = controlled([7] * 30, [0.5] * 30, ["s"] * 30)
    assert same is not None and same.slope is None and same.correlation is None


def test_the_interval_of_the_slope_holds_what_it_says() -> None:
    dice = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        chars = np.rint(2 ** dice.uniform(3, 9, 80))
        x = np.log2(1 + chars)
        found = controlled(chars, 0.5 + 0.02 * x + dice.normal(0, 0.02 * x), ["s"] * 80)
        assert found is not None and found.slope is not None
        hits += found.slope.low <= 0.02 <= found.slope.high
    assert 270 <= hits <= 297


def test_rank_correlation_and_its_interval() -> None:
    # Bonett and Wright's by hand: r = 0.8 of 28: tanh(atanh(0.8) -+ 1.96 sqrt(1.32 / 25)).
    first = np.arange(28)
    found = rank_correlation(first, first)
    assert found is not None and found.value == pytest.approx(1) and found.low > 0.99
    low, high = np.tanh(np.arctanh(0.8) + np.array([-1, 1]) * 1.959964 * np.sqrt(1.32 / 25))
    dice = np.random.default_rng(3)
    while True:
        second = first + dice.normal(0, 6, 28)
        found = rank_correlation(first, second)
        assert found is not None
        if abs(found.value - 0.8) < 0.002:
            break
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert rank_correlation(first[:19], first[:19]) is None and rank_correlation([1] * 30, range(30)) is None


def test_rank_correlation_is_that_of_scipy() -> None:
    dice = np.random.default_rng(5)
    for n in range(20, 120):
        first, second = dice.integers(0, 1 + n // 3, n), dice.normal(0, 1, n).round(int(dice.integers(0, 3)))
        found = rank_correlation(first, second)
        assert found is not None and found.value == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_length_is_the_same_in_any_order_and_holds_a_bounded_number_of_rows() -> None:
    dice = np.random.default_rng(2)
    rows = [(f"{n:032x}", f"r{n}", "s/f", int(c), 0.2 + c / 2_000) for n, c in enumerate(dice.integers(0, 999, 12_000))]
    tables = []
    for order in (rows, rows[::-1]):
        tally = LengthTally(0.8)
        for row in order:
            tally.add(*row)
            assert len(tally._points) < 10_000
        tables.append(tally.tables())
        assert "rank correlation 1.00" in tally.warnings()[0]
    assert tables[0] == tables[1] and tables[0][0].rows[0][1] == 5_000


@pytest.mark.parametrize(("name", "families"), [
    ("gpt-4o-mini", {"GPT"}), ("openai/gpt-oss-20b", {"GPT"}), ("o3", {"GPT"}), ("gpt2", {"gpt2"}),
    ("text-davinci-003", {"GPT"}), ("claude-sonnet-4-5", {"Claude"}), ("meta-llama/Llama-3.1-8B", {"Llama"}),
    ("models/qwen3-4b", {"Qwen"}), ("models/qwen3/weights", {"Qwen"}), ("models:/acme@champion", {"acme"}),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", {"DeepSeek", "Qwen"}), ("Phi-4.gguf", {"Phi"}), ("qwen3:8b", {"Qwen"}),
    ("sophi3", {"sophi3"}), ("acme-7b", {"acme-7b"}), ("", set()), ("/", set()),
    ("google/gemma-3-4b-it", {"Gemini and Gemma"}),
])  # fmt: skip
def test_families_by_name(name: str, families: set[str]) -> None:
    assert families_of(name) == families


def test_data_sets_that_name_no_model_have_no_family() -> None:
    for text in ("alpaca.json", "docs/pro1.txt", "llamaindex docs", "llama.cpp", "photo3", "grokking.txt"):
        found = known_families_in(text)
        assert not found or text == "grokking.txt", (text, found)
    assert known_families_in("alpaca_gpt4_data.json") == {"GPT"}


def row(meta: Any, source: str = "s/rows.jsonl") -> dict[str, Any]:
    return {"meta": json.dumps(meta), "source": source}


def test_who_made_a_row() -> None:
    assert maker(row({"synthesis": {"model": "qwen3"}})) == ("qwen3", {"Qwen"})
    assert maker(row({"augmentation": {"model": "claude-1", "teacher": "gpt-4"}})) == ("gpt-4", {"GPT"})
    pair = {"model": "qwen3", "answers": ["sample 1", "sample 2"]}
    assert maker(row({"preference": pair})) == ("qwen3", {"Qwen"})
    assert maker(row({"preference": {**pair, "answers": ["the row's own", "sample 1"]}})) == ("", set())
    assert maker(row({"generator": "claude-3"})) == ("claude-3", {"Claude"})
    assert maker(row({}, "alpaca_gpt4/x.json"))[1] == {"GPT"}
    odd: tuple[Any, ...] = (
        {}, {"model": 3}, {"model": ""}, {"model": "x" * 999}, {"synthesis": "no"}, {"synthesis": {"model": None}},
        None, [], "text",
    )  # fmt: skip
    for meta in odd:
        assert maker(row(meta)) == ("", frozenset())


def test_the_gap_is_what_is_left_beside_judges_of_other_families() -> None:
    tally = OwnFamily({"first": "qwen3-32b", "two": "claude-3", "three": "qwen-max"})
    mine, theirs = row({"model": "qwen3"}), row({"model": "acme"})
    for own, base in ((mine, 4.0), (mine, 4.2), (theirs, 3.0), (theirs, 3.4)):
        more = 1.0 if own is mine else 0.25
        tally.add(own, 0.0, {"first": {"c": base / 2 + more}, "two": {"c": base / 2}, "three": {"c": 5}})
    gap = tally.gap("first")
    # (1 - 0.25) / 5; the other judge of the family isn't asked.
    assert gap is not None and gap.value == pytest.approx(0.15) and gap.n == 2
    assert tally.gap("two") is None
    (table,) = tally.tables()
    assert table.rows[0][:5] == ("qwen3-32b", 2, pytest.approx(0.61), 2, pytest.approx(0.37))
    said = tally.warnings()
    assert len(said) == 2 and "of its own family, Qwen: qwen3 (2 rows)" in said[0] and "+0.150" in said[0]
    alone = OwnFamily({"first": "qwen3-32b"})
    alone.add(mine, 0.9, {})
    assert "Name a second judge of another family" in alone.warnings()[0]
    alone.add(row({"model": "ask bob@example.com about qwen"}), 0.9, {})
    assert "bob@" not in alone.warnings()[0] and "something called after it (1 rows)" in alone.warnings()[0]
    alone = OwnFamily({"first": "claude-3"})
    alone.add(mine, 0.9, {})
    assert alone.warnings() == () == alone.tables()


def test_use_of_the_scale_by_hand() -> None:
    clarity: Counter[int | float] = Counter({5: 48, 4.5: 1, 4.4: 1})
    scores: dict[str, Counter[int | float]] = {"clarity": clarity, "accuracy": Counter({1: 1, 5: 1})}
    tally = ScaleTally()
    tally.add({"clarity": Rating((0.0, 0.0, 0.0, 0.25, 0.25))})
    tally.add({"clarity": Rating((0.0, 0.0, 0.0, 0.0, 1.0)), "accuracy": Rating((0.0,) * 5)})
    used, probable = tally.tables(scores)
    assert used.rows[0][1:6] == (0.0, 0.0, 0.0, 0.02, 0.98) and used.rows[0][-1] == 0.98
    assert used.rows[1][6] == pytest.approx(np.log(2) / np.log(5), abs=1e-4)
    assert probable.rows == (("clarity", 0.0, 0.0, 0.0, 0.25, 0.75, 0.75, pytest.approx(np.log(2) / 2, abs=1e-4)),)
    (said,) = scale_warnings(scores)
    assert said.startswith("The judge hardly tells rows apart (clarity: 49 of 50 rows are rated 5);")
    assert ScaleTally().tables({"clarity": Counter()}) == ()


def judged(folder: Path, rows: Any, script: Any, **more: Any) -> StageReport:
    with ScriptedServer(script) as server:
        endpoint = {"base_url": server.url, "model": "qwen3", "max_attempts": 1}
        config = JudgeConfig(backend="llm", endpoint=endpoint, **more)  # type: ignore[arg-type]
        ctx = StageContext(folder / "out", cache=folder / "cache", scrubbed=more.pop("scrubbed", True))
        return judge(dataset(rows, folder / "in"), config, ctx).report


def test_a_run_shows_the_habits_of_its_judge(tmp_path: Path) -> None:
    rows = [chat(f"Question {n}?", "word " * (n + 1)) for n in range(40)]
    for n, one in enumerate(rows):
        one["meta"] = json.dumps({"model": "qwen2.5"} if n % 2 else {})

    def script(n: int, body: dict[str, Any]) -> Act:
        said = json.loads(body["messages"][1]["content"].splitlines()[1])["conversation"][-1]["content"]
        return completion(verdict(1 + min(4, len(said) // 40)))

    report = judged(tmp_path, rows, script)
    titles = {t.title: t for t in report.tables}
    length = {line[0]: line[1:] for line in titles["Score and length of the answer"].rows}
    assert length["rank correlation"][1] > 0.9 and length["share of the score for twice the length"][1] > 0
    assert titles["Answers of the judge's own family"].rows[0][1] == 20
    assert [w.split(":")[0] for w in report.warnings] == [
        "The judge's scores go with length", "qwen3 judges answers of its own family, Qwen",
    ]  # fmt: skip
    examples = [e for e in report.examples if e.chapter == "scores"]
    assert [e.reason for e in examples] == [f"score {s}" for s in (5, 5, 4, 4, 3, 3, 2, 2, 1, 1)]
    assert {t.chapter for t in report.tables} == {"scores", "biases", "spend"} and all(e.text for e in examples)


def test_fixed_signals_have_no_habits(tmp_path: Path) -> None:
    report = judge(dataset([chat("a", "b")], tmp_path / "in"), JudgeConfig(), StageContext(tmp_path / "out")).report
    assert {t.chapter for t in report.tables} == {""} and not [e for e in report.examples if e.chapter]

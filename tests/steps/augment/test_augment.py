"""Rows made of rows by a scripted model over HTTP: each method, what is dropped, and collapse."""

import json
import random
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.llm.scripted_server import Act, ScriptedServer
from support.following_rewriter import THOUGHT, Rewriter
from support.kills import killed
from support.textrows import chat, dataset, document, ledger_lines

from steps.augment.augment import augment
from steps.augment.config import AugmentConfig
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, InputError

SUBJECTS = ("rivers", "towers", "songs", "mayors", "bridges", "bread", "clocks", "ships")


def rows_in(folder: Path, count: int = 6) -> Dataset:
    """So many rows of train, one of test, and a document."""
    rows = [chat(f"What do you know of {SUBJECTS[i % 8]} number {i}?", f"A lot, in {i} ways.") for i in range(count)]
    version = dataset([*rows, chat("What is held out?", "This."), document("Some text.")], folder / "rows")
    return version.select(np.ones(count + 2, bool), folder / "split", "split", np.array([0] * count + [2, 0], np.int8))


def run(rows: Dataset, url: str, folder: Path, *methods: dict[str, Any], **more: Any) -> Any:
    settings = AugmentConfig.model_validate({"endpoint": {"base_url": url, "model": "m"}, "methods": methods, **more})
    return augment(rows, settings, StageContext(folder, cache=folder / "cache", scrubbed=True))


def made(outcome: Any) -> list[dict[str, Any]]:
    return [r | {"said": json.loads(r["meta"])["augmentation"]} for r in outcome.rows.iter_rows() if r["parents"]]


def test_every_method_makes_rows_of_those_that_train(tmp_path: Path) -> None:
    rows, script = rows_in(tmp_path), Rewriter()
    methods = (
        {"kind": "paraphrase", "per_row": 2}, {"kind": "back_translation"},
        {"kind": "evolve", "how": ["harder", "other_format"]}, {"kind": "persona", "personas": ["a pilot"]},
        {"kind": "self_instruct", "requests": 3, "seeds": 4, "tasks": 2},
    )  # fmt: skip
    with ScriptedServer(script) as server:
        done = run(rows, server.url, tmp_path / "out", *methods)
        held_out = [b for b in server.bodies if "held out" in json.dumps(b)]
    assert held_out == []
    found = made(done)
    by = {m: [r for r in found if r["said"]["method"] == m] for m in {r["said"]["method"] for r in found}}
    # The second paraphrase of a row differs from the first in a number alone, and repeats it.
    assert {m: len(r) for m, r in by.items()} == {
        "paraphrase": 6, "back_translation": 6, "evolve": 12, "persona": 6, "self_instruct": 6
    }  # fmt: skip
    assert done.report.dropped_by == {"repeats": 6}
    assert (done.report.rows_in, done.report.created, done.report.kept) == (8, 42, 44)
    seeds = {r["record_id"]: r for r in rows.iter_rows()}
    for row in by["paraphrase"] + by["back_translation"]:
        assert row["messages"][-1]["content"] == seeds[row["parents"][0]]["messages"][-1]["content"]
    for row in by["evolve"] + by["persona"] + by["self_instruct"]:
        assert row["messages"][-1]["content"] == f"Taught: {row['messages'][-2]['content']}"
        assert row["messages"][-1]["reasoning"] is None and row["split"] == "train"
    assert all(len(r["parents"]) == 4 for r in by["self_instruct"])
    assert len(done.report.tables[1].rows) == 5


@pytest.mark.parametrize(("reasoning", "thought"), [("keep", THOUGHT), ("drop", None)])
def test_a_teacher_answers_in_place_of_the_row(tmp_path: Path, reasoning: str, thought: str | None) -> None:
    with ScriptedServer(Rewriter()) as server:
        done = run(rows_in(tmp_path), server.url, tmp_path / "out", {"kind": "distill", "reasoning": reasoning})
    found = made(done)
    assert len(found) == 6 and done.report.dropped_by == {"answered_by_teacher": 6}
    assert {(r["messages"][-1]["reasoning"], r["said"]["teacher"]) for r in found} == {(thought, "m")}
    assert all(r["messages"][-1]["content"].startswith("Taught: What do you know of") for r in found)
    gone = [x for x in ledger_lines(done) if x["reason"] == "answered_by_teacher"]
    assert {json.loads(x["evidence"])["witness"] for x in gone} == {r["record_id"] for r in found}


def test_paraphrases_that_ask_something_else_are_dropped(tmp_path: Path) -> None:
    with ScriptedServer(Rewriter(bends=True)) as server:
        done = run(rows_in(tmp_path), server.url, tmp_path / "out", {"kind": "paraphrase"})
    # It was asked for one, and wrote two.
    assert done.report.dropped_by == {"other_meaning": 6, "more_than_asked": 6} and not made(done)


def test_what_is_too_long_is_dropped_with_its_length_and_the_limit(tmp_path: Path) -> None:
    class Endless(Rewriter):
        def _questions(self, orders: str, value: Any, number: int) -> list[str]:
            return ["Why? " * 1_000]

    with ScriptedServer(Endless()) as server:
        done = run(rows_in(tmp_path), server.url, tmp_path / "out", {"kind": "paraphrase"})
    lines = [line for line in ledger_lines(done) if line["verdict"] == "dropped"]
    assert len(lines) == 6 and {line["reason"] for line in lines} == {"too_long"}
    assert {line["evidence"] for line in lines} == {'{"limit":4000,"question_chars":4999}'}


def test_collapse_is_refused_with_its_figure(tmp_path: Path) -> None:
    with ScriptedServer(Rewriter(fixed=True)) as server, pytest.raises(InputError) as told:
        run(rows_in(tmp_path, 24), server.url, tmp_path / "out", {"kind": "evolve"})
    assert told.value.what == "what evolve makes has collapsed: 96% of its 24 questions repeat one; max_repeated is 0.5"


def test_what_lacks_a_model_or_a_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows are made by a model, and none is named"):
        AugmentConfig.model_validate({"methods": [{"kind": "paraphrase"}]})
    with pytest.raises(ValueError, match="methods is empty"):
        AugmentConfig.model_validate({"endpoint": {"base_url": "http://localhost/v1", "model": "m"}})
    away = AugmentConfig.model_validate(
        {"endpoint": {"base_url": "http://example.com/v1", "model": "m"}, "methods": [{"kind": "paraphrase"}]}
    )
    with pytest.raises(ConfigError, match="not scrubbed"):
        augment(rows_in(tmp_path), away, StageContext(tmp_path / "out", scrubbed=False))


CONCURRENCY, KILLS = 6, 12
SETTINGS = {
    "methods": [
        {"kind": "paraphrase", "per_row": 2}, {"kind": "back_translation"}, {"kind": "evolve", "how": ["other_format"]},
        {"kind": "self_instruct", "requests": 30, "seeds": 4, "tasks": 2},
    ],
    "diversity": {"min_rows": 10_000}, "price_per_million_input": 1000.0, "price_per_million_output": 0.0,
}  # fmt: skip
KILLED = (
    "import json, sys; from pathlib import Path\n"
    "from steps.augment.augment import augment; from steps.augment.config import AugmentConfig\n"
    "from steps.contracts.context import StageContext as At; from steps.contracts.dataset import Dataset\n"
    "settings, base = AugmentConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])\n"
    "at = At(base / 'killed', cache=base / 'cache', scrubbed=True, run='r')\n"
    "rows = Dataset.open(base / 'split', lambda sha: base / 'rows' / 'shards' / f'{sha}.parquet')\n"
    "augment(rows, settings, at)\n"
)


@pytest.mark.slow
def test_twelve_kills_change_no_row_and_what_was_bought_is_not_bought_again(tmp_path: Path) -> None:
    rows, rewriter, chance = rows_in(tmp_path, 48), Rewriter(), random.Random(3)

    def script(_: int, body: dict[str, Any]) -> Act:
        """What it says hangs on what it is asked, and not on how often."""
        return replace(rewriter(zlib.crc32(json.dumps(body["messages"]).encode()), body), delay=0.01)

    with ScriptedServer(script) as server:
        endpoint = {"base_url": server.url, "model": "m", "concurrency": CONCURRENCY}
        settings = AugmentConfig.model_validate({"endpoint": endpoint, **SETTINGS})
        undisturbed = augment(rows, settings, StageContext(tmp_path / "alone", scrubbed=True))
        needed = len(server.bodies)
        server.bodies.clear()
        command = [sys.executable, "-c", KILLED, settings.model_dump_json(), str(tmp_path)]
        killed(lambda: subprocess.Popen(command, text=True), server, KILLS, chance, within=needed // KILLS)
        at = StageContext(tmp_path / "out", cache=tmp_path / "cache", scrubbed=True, run="r")
        done = augment(rows, settings, at)
    assert needed > 250 and done.rows.digest == undisturbed.rows.digest
    assert sorted(map(str, ledger_lines(done))) == sorted(map(str, ledger_lines(undisturbed)))
    assert len(server.bodies) - needed <= KILLS * CONCURRENCY, "only what was in flight may be asked for again"
    # What the killed ones bought is the run's, and each reply counts once: 100 tokens.
    paid = done.report.counts["endpoint"]["replies bought"]
    assert needed - KILLS * CONCURRENCY <= paid <= needed
    (cost,) = [t.rows[0] for t in done.report.tables if t.title == "Tokens and cost"]
    assert cost[1] == 100 * paid and cost[3] == pytest.approx(0.1 * paid)

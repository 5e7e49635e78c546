"""Preference pairs from samples of a scripted model over HTTP, ranked by a judge in both orders or by a grader."""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion
from support.textrows import chat, dataset, ledger_lines

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ServiceError
from steps.prefer.config import PreferConfig
from steps.prefer.prefer import prefer


def rows_in(folder: Path, count: int = 3, validation: int = 0) -> Dataset:
    """So many rows of train, the last of them of validation, and one of test."""
    rows = [chat(f"What is {i} times 7?", f"It is {7 * i}.") for i in range(1, count + 1)]
    version = dataset([*rows, chat("What is held out?", "This.")], folder / "rows")
    splits = np.array([0] * (count - validation) + [1] * validation + [2], np.int8)
    return version.select(np.ones(count + 1, bool), folder / "split", "split", splits)


class Model:
    """Its samples to a prompt are, in turn, those of `samples`, with the prompt's number in them."""

    def __init__(self, samples: list[str]) -> None:
        self.samples, self.asked, self.lock = samples, Counter(), threading.Lock()

    def __call__(self, _: int, body: dict[str, Any]) -> Act:
        assert "response_format" not in body and body["temperature"] == 0.8
        said = body["messages"][-1]["content"]
        number = int("".join(c for c in said if c.isdigit())[:1])
        with self.lock:
            turn = self.asked[said]
            self.asked[said] += 1
        return completion(self.samples[turn % len(self.samples)].format(right=7 * number, wrong=7 * number + 1))


def judging(body: dict[str, Any], prefers: str) -> Act:
    """A judge that likes `longer` answers, or always the place `A`."""
    value = json.loads(body["messages"][-1]["content"].split("\n")[1])
    a, b = (len(value[place][0]["content"]) for place in "AB")
    longer = "A" if a > b else "B" if b > a else "tie"
    return completion(json.dumps({"reason": "so", "better": "A" if prefers == "A" else longer}))


def run(rows: Dataset, folder: Path, model: str, judge: str | None = None, **more: Any) -> Any:
    asked = {"endpoint": {"base_url": model, "model": "m"}}
    ranked = {"judge": {"endpoint": {"base_url": judge, "model": "j"}}} if judge else {}
    settings = PreferConfig.model_validate({"model": asked, "samples": 3, **ranked, **more})
    return prefer(rows, settings, StageContext(folder, cache=folder / "cache", scrubbed=True))


def test_a_judge_that_never_keeps_to_the_form_is_asked_no_more_than_the_first_questions(tmp_path: Path) -> None:
    model = Model(["{right}.", "It's {right}!", "{wrong}, I think."])
    with ScriptedServer(model) as served, ScriptedServer(lambda n, body: completion("Both are nice.")) as judge:
        with pytest.raises(ServiceError, match="not one of the first 64 requests for comparisons got a reply of use"):
            run(rows_in(tmp_path, 30), tmp_path / "out", served.url, judge.url)
        assert len(judge.bodies) == 64


def pairs(outcome: Any) -> list[dict[str, Any]]:
    return [r | {"said": json.loads(r["meta"])["preference"]} for r in outcome.rows.iter_rows() if r["parents"]]


def test_a_judge_in_both_orders_gives_pairs_with_their_margin(tmp_path: Path) -> None:
    model = Model(["{right}.", "It is {right}, I think.", "It is {right}, I think, and that is what it is."])
    with ScriptedServer(model) as served, ScriptedServer(lambda _, body: judging(body, "longer")) as judge:
        done = run(rows_in(tmp_path), tmp_path / "out", served.url, judge.url)
        assert len(judge.bodies) == 3 * 3 * 2
        assert not [b for b in served.bodies if "held out" in json.dumps(b)]
    found = pairs(done)
    assert len(found) == 3 and {r["said"]["margin"] for r in found} == {1.0}
    for row in found:
        assert row["kind"] == "preference" and row["split"] == "train"
        assert row["chosen"][0]["content"].endswith("what it is.") and len(row["rejected"][0]["content"]) < 4
        assert row["said"]["judge"] == "j" and row["said"]["scores"] == [1.0, 0.0]
    assert [row[1] for row in done.report.tables[0].rows] == [9, 0, 0, 0, 0, 9]
    assert (done.report.rows_in, done.report.created, done.report.kept) == (4, 3, 7)


def test_validation_rows_get_pairs_by_the_same_rules_and_test_rows_none(tmp_path: Path) -> None:
    model = Model(["{right}.", "It is {right}, I think.", "It is {right}, I think, and that is what it is."])
    with ScriptedServer(model) as served, ScriptedServer(lambda _, body: judging(body, "longer")) as judge:
        rows = rows_in(tmp_path, 4, validation=2)
        done = run(rows, tmp_path / "out", served.url, judge.url, keep_rows=False)
        assert not [b for b in (*served.bodies, *judge.bodies) if "held out" in json.dumps(b)]
        assert (len(served.bodies), len(judge.bodies)) == (4 * 3, 4 * 3 * 2)
        none = run(rows, tmp_path / "none", served.url, judge.url, validation_share=0.0)
        assert len(served.bodies) == 4 * 3 + 2 * 3
    assert Counter(r["split"] for r in pairs(done)) == {"train": 2, "validation": 2} == done.report.counts["pairs of"]
    # A pair has the split of the row that it is of, and that row stays where it is held out.
    splits = {r["record_id"]: r["split"] for r in rows.iter_rows()}
    assert all(splits[r["parents"][0]] == r["split"] for r in pairs(done))
    assert Counter(r["split"] for r in done.rows.iter_rows() if not r["parents"]) == {"validation": 2, "test": 1}
    assert done.report.dropped_by == {"made_into_pairs": 2}
    assert {r["split"] for r in pairs(none)} == {"train"}


def test_a_share_of_the_rows_is_one_of_validation_too(tmp_path: Path) -> None:
    settings = PreferConfig.model_validate({
        "model": {"endpoint": {"base_url": "http://localhost/v1", "model": "m"}}, "grader": {"name": "contains"},
        "share": 0.25,
    })  # fmt: skip
    assert [settings.share_of(s) for s in ("train", "validation", "test")] == [0.25, 0.25, 0.0]
    more = settings.model_copy(update={"validation_share": 1.0})
    assert [more.share_of(s) for s in ("train", "validation", "test")] == [0.25, 1.0, 0.0]


def test_a_judge_that_likes_a_place_makes_no_pair(tmp_path: Path) -> None:
    model = Model(["{right}.", "It is {right}.", "Well, {right}."])
    with ScriptedServer(model) as served, ScriptedServer(lambda _, body: judging(body, "A")) as judge:
        done = run(rows_in(tmp_path), tmp_path / "out", served.url, judge.url)
    assert not pairs(done) and done.report.flagged_by == {"below_margin": 3}
    # The first place in both orders.
    assert [row[1] for row in done.report.tables[0].rows] == [0, 0, 9, 0, 0, 9]


def test_a_grader_ranks_against_the_rows_own_answer(tmp_path: Path) -> None:
    with ScriptedServer(Model(["It is {wrong}.", "Surely {right}", "It is {wrong}."])) as served:
        more = {"grader": {"name": "numeric"}, "keep_rows": False}
        done = run(rows_in(tmp_path), tmp_path / "out", served.url, **more)
    found = pairs(done)
    assert {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in found} == {
        (f"Surely {7 * i}", f"It is {7 * i + 1}.") for i in (1, 2, 3)
    }  # fmt: skip
    assert done.report.dropped_by == {"made_into_pairs": 3} and done.rows.rows == 4


def test_equal_samples_make_no_pair_and_the_rows_own_answer_does(tmp_path: Path) -> None:
    with ScriptedServer(Model(["It is {wrong}."])) as served:
        none = run(rows_in(tmp_path), tmp_path / "none", served.url, grader={"name": "numeric"})
        own = run(rows_in(tmp_path / "2"), tmp_path / "own", served.url, grader={"name": "numeric"}, with_answer=True)
    assert none.report.flagged_by == {"all_the_same": 3} and none.rows.rows == 4
    assert [r["said"]["answers"] for r in pairs(own)] == [["the row's own", "sample 1"]] * 3


def test_verdicts_that_cannot_be_read_decide_nothing(tmp_path: Path) -> None:
    model = Model(["{right}.", "It is {right}.", "Well, {right}."])
    with ScriptedServer(model) as served, ScriptedServer(lambda *_: completion("A is better!")) as judge:
        with pytest.raises(ServiceError, match="comparisons: not_json"):
            run(rows_in(tmp_path), tmp_path / "no", served.url, judge.url)
        done = run(rows_in(tmp_path / "2"), tmp_path / "out", served.url, judge.url, max_undecided_share=1.0)
    assert done.report.flagged_by == {"unjudged:not_json": 3} and not pairs(done)
    assert Counter(line["verdict"] for line in ledger_lines(done)) == {"flagged": 3}


def test_settings_that_make_no_pairs_are_refused() -> None:
    asked = {"endpoint": {"base_url": "http://localhost/v1", "model": "m"}}
    for settings, said in (
        ({"grader": {"name": "contains"}}, "none is named: set model.endpoint"),
        ({"model": asked}, "ranked by a judge or by a grader"),
        ({"model": asked, "grader": {"name": "contains"}, "samples": 1}, "one answer makes no pair"),
        ({"model": {"endpoint": {**asked["endpoint"], "temperature": 0}}, "grader": {"name": "contains"}}, "the same"),
        ({"model": {"endpoint": {**asked["endpoint"], "seed": 1}}, "grader": {"name": "contains"}}, "and no seed"),
    ):
        with pytest.raises(ValueError, match=said):
            PreferConfig.model_validate(settings)

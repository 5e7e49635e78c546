"""A model behind a server beside the models of the run: asked once, graded alike, paid for once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion

from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.errors import ConfigError, ServiceError
from steps.contracts.records import SPLITS, make_row, message
from steps.engines.scoring.answers import read_answers
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.measure import measure
from steps.evaluate.subject_config import SubjectConfig
from steps.gate.config import GateConfig
from steps.gate.gate import gate

CONFIG = EvaluateConfig(metrics=("exact_match",), extractor="json", device="cpu")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rows = []
    for n in range(12):
        turns = [message("user", f"box {n}?"), message("assistant", json.dumps({"box": n}))]
        rows.append(make_row(kind="conversation", source="s/a", locator=f"line:{n}", raw=b"%d" % n, messages=turns))
    writer = DatasetWriter(tmp_path / "v1", "ingest")
    writer.write_rows(rows)
    codes = np.array([SPLITS.index("train" if n < 4 else "test") for n in range(12)])
    return writer.close().select(np.ones(12, bool), tmp_path / "v2", "split", codes)


def knows_even(_: int, body: dict[str, Any]) -> Act:
    number = int(body["messages"][-1]["content"].removeprefix("box ").removesuffix("?"))
    answer = json.dumps({"box": number if number % 2 == 0 else -1})
    return Act(body=completion(f"<think>hm</think>{answer}").body)


def served(url: str, **said: Any) -> SubjectConfig:
    return SubjectConfig(name="served", endpoint={"base_url": url, "model": "m", "max_attempts": 1}, **said)


def run(dataset: Dataset, subject: SubjectConfig | None, folder: Path, model: Any = None, **said: Any) -> Any:
    name = subject.name if subject else "base"
    return measure(name, model, None, dataset, CONFIG, folder, folder / name, folder / "cache", subject, **said)


def test_it_is_graded_as_the_others_and_compared_with_them(tiny_model, dataset, tmp_path) -> None:
    with ScriptedServer(knows_even) as server:
        done = run(dataset, served(server.url, system="Say it."), tmp_path)
        bought = len(server.bodies)
        again = run(dataset, served(server.url, system="Say it."), tmp_path)
        assert bought == 8 == len(server.bodies), "no reply is bought twice"
    assert {tuple(m["role"] for m in b["messages"]) for b in server.bodies} == {("system", "user")}
    assert not any("response_format" in b for b in server.bodies)
    rows = read_answers(done.answers)["held_out"]
    assert [r.reasoning for r in rows] == ["hm"] * 8 and sum(r.scores["exact_match"] for r in rows) == 4
    assert [r.scores for r in read_answers(again.answers)["held_out"]] == [r.scores for r in rows]
    base = run(dataset, None, tmp_path, tiny_model)
    comparison, decision = gate([base, done], GateConfig(metric="exact_match", min_n=5, max_degenerate=None))
    (gain,) = [d for d in comparison.differences if d.metric == "exact_match"]
    assert gain.change.value == 0.5 and decision.candidate == "served"


def test_a_question_without_a_reply_is_no_wrong_answer(dataset, tmp_path) -> None:
    def fails_on_five(n: int, body: dict[str, Any]) -> Act:
        return Act(status=400, body={"error": {"message": "no"}}) if "box 5" in str(body) else knows_even(n, body)

    with ScriptedServer(fails_on_five) as server, pytest.raises(ServiceError, match="1 of 8 questions got no reply"):
        run(dataset, served(server.url), tmp_path)


def test_documents_that_are_looked_up_in_stay_on_this_machine_though_the_rows_were_scrubbed(dataset, tmp_path) -> None:
    (tmp_path / "boxes.txt").write_text("Box 5 belongs to jane.doe@example.org.")
    away = served("http://192.0.2.1/v1", retrieval={"documents": "boxes.txt"})
    with pytest.raises(ConfigError, match="not scrubbed"):
        run(dataset, away, tmp_path, scrubbed=True)


def test_rows_that_were_not_scrubbed_stay_on_this_machine(dataset, tmp_path) -> None:
    with pytest.raises(ConfigError, match="not scrubbed"):
        run(dataset, served("http://192.0.2.1/v1"), tmp_path)

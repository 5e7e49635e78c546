"""A ready-made classifier in the judge's place; the model is made and trained on the spot."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.textrows import chat, dataset, document, ledger_lines
from support.tiny_classifier import trained_classifier

from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.outcome import Outcome
from steps.judge.classifier_config import QualityClassifier
from steps.judge.classifier_judge import on_scale
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression: 1 for texts with the word, 0 for others."""
    return trained_classifier(tmp_path_factory.mktemp("scorer"), ["splendid"], labels=("score",))


def run(folder: Path, rows: list[Any], model: Path, **more: Any) -> Outcome:
    settings = {"model": str(model), "scale": (0.0, 1.0), **more}
    config = JudgeConfig(backend="classifier", classifier=QualityClassifier(**settings), threshold=0.6)
    ctx = StageContext(folder / "out", root=folder, cache=folder / "cache", scrubbed=True)
    return judge(dataset(rows, folder / "in"), config, ctx)


@pytest.mark.slow
def test_rows_are_kept_by_one_number_on_the_judges_scale(tmp_path: Path, scorer: Path) -> None:
    rows = [
        chat("a cat sits", "the dog sleeps splendid today", locator="1"),
        chat("a cat sits splendid", "she walks home today", locator="2"),
        document("the dog sits on the mat", locator="3"),
        document("splendid the dog sits on the mat", locator="4"),
        chat("a cat sits", "", locator="5"),
    ]
    outcome = run(tmp_path, rows, scorer, part="answer")
    kept = {r["record_id"] for r in outcome.rows.iter_rows()}
    assert kept == {rows[0]["record_id"], rows[3]["record_id"]}
    found = pq.read_table(outcome.artifacts["verdicts"].path).to_pylist()
    assert [v["backend"] for v in found] == [*(["classifier"] * 4), "rule"]
    assert all(v["share"] == pytest.approx(v["classified"] / 5) and v["error"] is None for v in found)
    reasons = {line["record_id"]: line["reason"] for line in ledger_lines(outcome)}
    assert set(reasons.values()) <= {"below_threshold", "low_classified", "empty_answer"}
    assert reasons[rows[4]["record_id"]] == "empty_answer"
    whole = run(tmp_path / "whole", rows, scorer)
    assert {r["record_id"] for r in whole.rows.iter_rows()} == {rows[i]["record_id"] for i in (0, 1, 3)}


@pytest.mark.slow
def test_one_text_has_one_score_whatever_stands_beside_it(tmp_path: Path, scorer: Path) -> None:
    rows = [chat("a cat", f"{'the dog ' * (i % 23)} splendid", locator=str(i)) for i in range(60)]
    forth = run(tmp_path / "forth", rows, scorer)
    back = run(tmp_path / "back", rows[::-1], scorer, batch_size=16)
    as_set = lambda o: {  # noqa: E731
        (v["record_id"], v["share"]) for v in pq.read_table(o.artifacts["verdicts"].path).to_pylist()
    }
    assert as_set(forth) == as_set(back)


def test_the_scale_is_as_said() -> None:
    assert [on_scale(v, (0.0, 5.0)) for v in (-1.0, 0.0, 2.5, 3.0, 5.0, 7.0)] == [1.0, 1.0, 3.0, 3.4, 5.0, 5.0]


@pytest.mark.slow
def test_wrong_models_and_settings_are_refused(tmp_path: Path, scorer: Path) -> None:
    with pytest.raises(ConfigError, match="no class 'good'"):
        run(tmp_path / "1", [chat("a", "b")], scorer, label="good")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputNotFoundError, match=r"no \*\.safetensors"):
        run(tmp_path / "2", [chat("a", "b")], tmp_path / "empty")
    with pytest.raises(ValueError, match="lower number"):
        QualityClassifier(model="x", scale=(5.0, 0.0))
    with pytest.raises(ValueError, match="go together"):
        JudgeConfig(backend="classifier")

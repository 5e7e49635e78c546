"""What a win rate would ask and cost, told before anything is asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.training_plan.comparing import comparing_plan
from ops.training_plan.prices import prices
from pipelines.config import RunConfig
from steps.evaluate.win_rate import duelling


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    rows = [{"prompt": f"Question number {i}?", "completion": f"Answer {i}."} for i in range(50)]
    (tmp_path / "chats.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    questions = [json.dumps({"question": f"{i}?", "answer": "yes"}) for i in range(7)]
    (tmp_path / "q.jsonl").write_text("\n".join(questions))
    (tmp_path / "texts.txt").write_text("A text.\n\nAnother one.")
    models = {"j": {"input": 2.0, "output": 10.0, "source": "its list"}}
    (tmp_path / "prices.yaml").write_text(json.dumps({"models": models, "currency": "EUR"}))
    return tmp_path


def plan(folder: Path, evaluate: dict[str, Any] | None = None, **more: Any) -> Any:
    judge = {"endpoint": {"base_url": "http://127.0.0.1:9/v1", "model": "j"}}
    controls = [{"name": "asked", "kind": "questions", "path": "q.jsonl"},
                {"name": "general", "kind": "perplexity", "path": "texts.txt"}]  # fmt: skip
    values = {
        "name": "x", "ingest": {"sources": [{"name": "s", "path": "chats.jsonl"}]}, "base": {"model": "o/m"},
        "skip": ["scrub"], "split": {"test": 0.2, "validation": 0.0}, "registry": {"name": "r"},
        "evaluate": {"judge": judge, "controls": controls, "win_rate": {}, **(evaluate or {})}, **more,
    }  # fmt: skip
    return comparing_plan(folder, RunConfig.model_validate(values), prices(folder / "prices.yaml"))


def test_both_orders_of_every_question_and_two_subjects(folder: Path) -> None:
    found = plan(folder)
    (part,) = found.parts
    # Ten of fifty rows are held out, seven questions stand in a file; the base and what was trained are one pair.
    assert part.by_purpose == {"held_out": 20, "asked": 14} and part.asked.requests == 34 and found.rows == 17
    assert part.asked.cost == pytest.approx((2 * part.asked.prompt_tokens + 10 * part.asked.reply_tokens) / 1e6)
    assert part.asked.prompt_tokens > 34 * 500 and "pairs of subjects: 1" in found.origin
    prompted = {"name": "prompted", "system": "Be brief."}
    three = plan(folder, {"subjects": [prompted]}, gate={"min_gain_over_champion": 0.0})
    # Against the base: champion, prompted, tuned; against the champion: the two others.
    assert three.parts[0].by_purpose == {"held_out": 100, "asked": 70}
    few = plan(folder, {"win_rate": {"max_rows": 4}})
    assert few.parts[0].by_purpose == {"held_out": 8, "asked": 8}


def test_what_is_not_known_is_said_and_nobody_is_counted_without_a_win_rate(folder: Path) -> None:
    assert plan(folder, {"win_rate": None}) is None
    unknown = plan(folder, ingest={"sources": [{"name": "s", "path": "https://host/rows.jsonl"}]})
    assert unknown.parts[0].by_purpose == {"asked": 14} and "held-out rows" in unknown.notes[0]
    (folder / "q.jsonl").unlink()
    gone = plan(folder)
    assert gone.parts[0].by_purpose == {"held_out": 20} and "no such control file" in gone.notes[0]
    assert any("win_rate: 10 rows" in line for line in gone.lines())


def test_whose_answers_are_held_against_whose() -> None:
    assert duelling(["base", "tuned"], "base") == [("tuned", "base")]
    assert duelling(["base", "champion", "tuned"], "champion") == [("base", "champion"), ("tuned", "champion")]
    assert duelling(["base", "champion", "tuned"], "base") == [
        ("champion", "base"), ("tuned", "base"), ("tuned", "champion"),
    ]  # fmt: skip
    assert duelling(["base"], "base") == []

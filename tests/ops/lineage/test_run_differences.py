"""`assay diff` of two runs: config, code, libraries, metrics and cost beside the rows."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import sample_run, stored_run
from typer.testing import CliRunner

from ops.lineage.run_differences import differences_of, flat
from ops.main import app
from ops.run_index import save_run
from steps.contracts.digests import file_digest
from steps.contracts.evaluation import EvalReport
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[3]
_AS = ["-c", "user.name=test", "-c", "user.email=test@example.org"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stored_run.StoredRun:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return stored_run.build(ROOT, tmp_path / "work")


def _second(run: stored_run.StoredRun, config: str, **changes: Any) -> RunRecord:
    """A run that took everything from the cache but the evaluation, which came out otherwise."""
    assert run.record is not None
    file = run.store / "second" / "value.json"
    file.parent.mkdir()
    first = next(a for a in run.record.artifacts if a.name == "evaluation_tuned")
    report = EvalReport.model_validate_json((Path(first.uri) / "value.json").read_text())
    (task,) = report.tasks
    (metric,) = task.metrics
    better = metric.model_copy(update={"estimate": sample_run.estimate(0.75, 0.04)})
    report = report.model_copy(update={"tasks": (task.model_copy(update={"metrics": (better,), **changes}),)})
    file.write_text(report.model_dump_json())
    mine = first.model_copy(update={"uri": str(file.parent), "sha256": file_digest(file)})
    artifacts = tuple(mine if a == first else a for a in run.record.artifacts)
    update = {"name": "second", "run_id": "2", "artifacts": artifacts,
              "started": "2026-11-22T00:00:00+00:00", "ended": "2026-11-22T00:01:00+00:00",
              "cpu_seconds": 12.5, "peak_mb": 900.0, "packages": {"torch": "2.13.1"}}  # fmt: skip
    record = sample_run.of_config(run.record.model_copy(update=update), config)
    save_run(ROOT, record, config)
    return record


def test_what_differs_between_runs(run: stored_run.StoredRun) -> None:
    assert run.record is not None
    first = run.record.model_copy(update={"packages": {"torch": "2.13.0", "numpy": "2"}})
    second = _second(run, "name: quickstart\ndedup: {threshold: 0.8}\ntrain: [{seed: 1}]\n")
    found = differences_of(ROOT, first, second)
    assert [(p.name, p.a, p.b) for p in found.config] == [("dedup.threshold", None, 0.8), ("train.0.seed", None, 1)]
    assert [(p.name, p.a, p.b) for p in found.packages] == [("numpy", "2", None), ("torch", "2.13.0", "2.13.1")]
    assert [(m.subject, m.metric, m.a and m.a.value, m.b and m.b.value, m.alike) for m in found.metrics] == [
        ("base", "rouge_l", 0.0, 0.0, True),
        ("tuned", "rouge_l", 1.0, 0.75, True),
    ]
    assert [(s.stage, s.rows_a, s.rows_b) for s in found.stages] == [
        ("ingest", 5, 5), ("dedup", 4, 4), ("scrub", 4, 4), ("screen", 3, 3),
    ]  # fmt: skip
    assert [(p.name, p.a, p.b) for p in found.cost] == [
        ("seconds", 221, 60), ("cpu_seconds", None, 12.5), ("peak_mb", None, 900),
    ]  # fmt: skip


def test_scores_of_other_rows_are_said_to_be(run: stored_run.StoredRun) -> None:
    second = _second(run, stored_run.CONFIG, data_digest="f" * 64)
    assert run.record is not None
    assert [m.alike for m in differences_of(ROOT, run.record, second).metrics] == [True, False]
    assert "other rows, or scored otherwise" in CliRunner().invoke(app, ["diff", run.record.name, "second"]).stdout


def test_the_command_says_rows_and_the_rest(run: stored_run.StoredRun) -> None:
    _second(run, "name: quickstart\ndedup: {threshold: 0.8}\n")
    assert run.record is not None
    said = json.loads(CliRunner().invoke(app, ["diff", run.record.name, "second", "--json"]).stdout)
    assert said["same"] and said["runs"]["config"] == [{"name": "dedup.threshold", "a": None, "b": 0.8}]
    assert said["runs"]["metrics"][1]["b"]["value"] == 0.75
    shown = CliRunner().invoke(app, ["diff", run.record.name, "second"]).stdout
    assert "the same rows in both" in shown and "dedup.threshold" in shown and "0.75 [0.71, 0.79]" in shown
    same = json.loads(CliRunner().invoke(app, ["diff", "second", "second", "--json"]).stdout)
    assert same["same"] and same["runs"] is None


def test_a_run_without_rows_is_compared_all_the_same(run: stored_run.StoredRun) -> None:
    second = _second(run, stored_run.CONFIG)
    kept = tuple(a for a in second.artifacts if a.type == "eval_report")
    save_run(ROOT, second.model_copy(update={"artifacts": kept}), stored_run.CONFIG)
    assert run.record is not None
    result = CliRunner().invoke(app, ["diff", run.record.name, "second"])
    assert result.exit_code == 0 and "no rows are compared: second made no dataset" in result.stdout
    assert "0.75 [0.71, 0.79]" in result.stdout
    said = json.loads(CliRunner().invoke(app, ["diff", run.record.name, "second", "--json"]).stdout)
    assert said["b"] == {"run": "second"} and "same" not in said


def test_files_that_differ_between_commits(run: stored_run.StoredRun, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    commits = []
    for number in range(2):
        (code / "changed.py").write_text(f"x = {number}\n")
        (code / "notes.md").write_text(f"{number}\n")
        (code / "same.py").write_text("y = 1\n")
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
            subprocess.run(["git", "-C", str(code), *_AS, *words], check=True)
        found = subprocess.run(
            ["git", "-C", str(code), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        commits.append(found.stdout.strip())
    assert run.record is not None
    first, second, *others = (
        run.record.model_copy(update={"commit": c}) for c in (f"{commits[0]}+changes", commits[1], None, "0" * 40)
    )
    assert differences_of(code, first, second).files == ["changed.py"]
    assert [differences_of(code, first, o).files for o in others] == [None, None], "no commit, and one that isn't here"


def test_settings_by_path() -> None:
    assert flat({"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}) == {
        "a.b.0": 1, "a.b.1.c": 2, "a.d": {}, "e": None,
    }  # fmt: skip
    assert flat({}) == {}

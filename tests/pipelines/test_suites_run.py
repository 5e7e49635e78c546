"""A run that asks a suite: its report, the gate's thresholds, the cache, the page, and an audit that grades it anew."""

import json
from pathlib import Path

import pytest
from support.towns import town_rows, write_run
from typer.testing import CliRunner

from ops.main import app
from ops.run import run
from ops.run_index import artifacts_of, find_run
from steps.contracts.evaluation import Decision, EvalReport

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_model) -> Path:
    folder = tmp_path_factory.mktemp("suites")
    places = [{"question": f"Is it {p}?", "label": p} for p in ("Oslo", "Porto", "Leeds")]
    (folder / "places.jsonl").write_text("\n".join(map(json.dumps, places)))
    (folder / "suite.yaml").write_text(
        "{name: own, version: '1', licence: Apache-2.0, tasks: [{name: places, kind: classification,"
        " file: places.jsonl, labels: [Oslo, Porto, Leeds], thresholds: {accuracy: 0.9}, max_new_tokens: 8}]}"
    )
    return write_run(
        folder, "asked", tiny_model.path, town_rows(),
        train={"max_steps": 2, "learning_rate": 0.02, "max_length": 256},
        evaluate={"suites": [str(folder / "suite.yaml")], "metrics": ["loss"]},
    )  # fmt: skip


def test_a_suite_is_asked_gated_shown_cached_and_audited(config: Path) -> None:
    assert run(config, root=ROOT) == 0
    record = find_run(ROOT, None)
    store = artifacts_of(ROOT, record)
    reports = [store.value(a, EvalReport) for a in record.of_type("eval_report")]
    assert len(reports) == 2 and {r.suites[0].name for r in reports} == {"own"}
    task = reports[0].tasks[-1]
    assert task.task == "own.places" and task.confusion is not None and task.n == 3
    (decision,) = (store.value(a, Decision) for a in record.of_type("decision"))
    (reason,) = (r for r in decision.reasons if r.check == "own.places: accuracy")
    assert not reason.passed and not decision.promote, "three questions can't show 0.9 at the lower bound"

    done = CliRunner().invoke(app, ["audit", "asked-model/1", "--verify", "--json"])
    verdicts = {f["what"]: f["state"] for f in json.loads(done.stdout)["verification"]["findings"]}
    graded = [r for what, r in verdicts.items() if what.startswith("answers of ")]
    assert graded == ["holds", "holds"] and verdicts["the gate's word follows from the evaluations"] == "holds"

    assert run(config, root=ROOT) == 0
    again = find_run(ROOT, None)
    assert {"evaluate_base_step", "evaluate_tuned_step"} <= set(again.cached_steps)
    questions = config.parent / "places.jsonl"
    questions.write_text(questions.read_text().replace("Is it Oslo?", "Is it in Oslo?"))
    assert run(config, root=ROOT) == 0
    other = find_run(ROOT, None)
    assert not {"evaluate_base_step", "evaluate_tuned_step"} & set(other.cached_steps), "other questions, other answers"
    assert "train_step" in other.cached_steps

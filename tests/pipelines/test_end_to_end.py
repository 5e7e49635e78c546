"""Sources to a registered model, on a local base small enough for a test, and back from the registry."""

import json
from pathlib import Path

import pytest
from support.tracking import tracking_at

from ops.run import run
from ops.run_index import artifacts_of, find_run, report_path
from steps.contracts.errors import InputNotFoundError
from steps.contracts.evaluation import Answers, Comparison
from steps.engines.exports.export import check_parity
from steps.engines.exports.registry import EXPORTS

NO_LIMIT = {"max_degenerate": None}  # what these tiny models say doesn't matter here
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model):
    """One end-to-end run that the gate promotes: any fall of the loss is enough here."""
    folder = tmp_path_factory.mktemp("e2e")
    things = ("lamp", "chair", "table", "clock", "mirror", "basket", "candle", "drawer", "shelf", "carpet")
    places = ("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon", "Gdansk", "Malmo", "Bergen")
    rows = [
        {"prompt": f"{place}, {i} weeks on: where does the {thing} of customer {i * j + 7} go?", "completion": place}
        for i, thing in enumerate(things)
        for j, place in enumerate(places)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "general.jsonl").write_text(
        "\n".join(json.dumps({"text": f"The {t} is in the room."}) for t in things * 3)
    )
    config = {
        "name": "e2e",
        "ingest": {"sources": [{"name": "rows", "path": str(folder / "rows.jsonl"), "licence": "CC0-1.0"}]},
        "dedup": {"near": False},
        "split": {"test": 0.3, "validation": 0.1},
        "skip": ["judge"],
        "scrub": {"demo_key": True},
        "base": {"model": str(tiny_model.path)},
        "train": {"max_steps": 12, "learning_rate": 0.02, "max_length": 256},
        "evaluate": {"controls": [{"name": "general", "kind": "perplexity", "path": str(folder / "general.jsonl")}]},
        "gate": {
            "metric": "loss",
            "min_n": 5,
            "min_control_n": 5,
            "max_perplexity_ratio": None,
            "max_degenerate": None,
        },
        "registry": {"name": "e2e-model"},
    }
    path = folder / "e2e.yaml"
    path.write_text(json.dumps(config))
    assert run(path, root=ROOT) == 0
    return path, find_run(ROOT, None)


def test_champion_is_registered_with_what_leads_back_to_its_rows(finished) -> None:
    _, record = finished
    registration = record.registration
    assert registration is not None
    assert registration.status == "champion"
    assert set(registration.aliases) == {"candidate", "champion"}
    curated = next(a for a in record.artifacts if a.name == "curated")
    tuned = next(a for a in record.artifacts if a.name == "tuned")
    tags = registration.tags
    assert tags["dataset_digest"] == curated.digest
    assert tags["weights_digest"] == tuned.digest
    assert tags["config_digest"] == record.config_digest
    assert tags["zenml_run"] == record.name
    page = report_path(ROOT, record.name).read_text()
    for text in ("e2e-model", record.name):
        assert text in page


@pytest.mark.slow
def test_registered_model_gives_the_evaluated_answers_in_a_fresh_process(finished, tmp_path) -> None:
    _, record = finished
    store = artifacts_of(ROOT, record)
    named = {a.name: a for a in record.artifacts}
    dataset = store.dataset(named["curated"])
    prompts = {r["record_id"]: r["messages"][:-1] for r in dataset.iter_rows("test")}
    answers: Answers = store.answers(named["answers_tuned"])
    import pyarrow.parquet as pq

    evaluated = {r["row_id"]: r["answer"] for r in pq.read_table(answers.path).to_pylist() if r["task"] == "held_out"}
    assert len(evaluated) >= 10
    ids = sorted(evaluated)
    asked = [[{k: v for k, v in m.items() if v is not None} for m in prompts[i]] for i in ids]
    with tracking_at(record.registration.tracking_uri):
        check_parity(EXPORTS["pyfunc"], "models:/e2e-model@champion", asked, [evaluated[i] for i in ids], tmp_path)


def test_base_and_tuned_were_measured_on_the_same_rows(finished) -> None:
    _, record = finished
    store = artifacts_of(ROOT, record)
    comparison = store.value(record.of_type("comparison")[0], Comparison)
    assert {d.task for d in comparison.differences} == {"held_out", "general"}
    assert all(d.reference.n == d.candidate.n == d.change.n for d in comparison.differences)


def test_model_control_plane_links_the_artifacts(finished) -> None:
    from zenml.client import Client

    version = Client().get_model_version("e2e-model", "latest")
    links = Client().list_model_version_artifact_links(model_version_id=version.id, size=100).items
    assert {"ingested", "curated", "base", "tuned", "comparison", "decision", "registration"} <= {
        link.artifact_version.name for link in links
    }


def test_second_run_is_all_cached_and_registers_nothing(finished) -> None:
    path, record = finished
    assert run(path, root=ROOT) == 0
    again = find_run(ROOT, None)
    assert again.executed_steps == ("start_step", "finish_step")
    assert again.registration == record.registration


@pytest.mark.slow
def test_finetune_takes_a_dataset_by_run_name_or_digest(finished, tmp_path: Path) -> None:
    path, record = finished
    config = json.loads(path.read_text())
    curated = next(a for a in record.artifacts if a.name == "curated")
    for key in ("ingest", "scrub", "split", "dedup", "skip"):
        del config[key]
    config |= {"name": "again", "pipeline": "finetune", "dataset": record.name}
    other = tmp_path / "finetune.yaml"
    other.write_text(json.dumps(config))
    assert run(other, root=ROOT) == 0
    tuned = find_run(ROOT, None)
    assert set(tuned.cached_steps) >= {"base_step", "train_step", "evaluate_base_step", "evaluate_tuned_step"}
    assert run(other, overrides=[f"dataset={curated.digest[:12]}"], root=ROOT) == 0
    with pytest.raises(InputNotFoundError, match="no run 'nowhere'"):
        run(other, overrides=["dataset=nowhere"], root=ROOT)


@pytest.mark.slow
def test_same_run_with_artifacts_in_s3_gives_the_same_weights_and_answers(
    finished, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, here = finished
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert run(path, infra="s3", root=ROOT) == 0
    there = find_run(ROOT, None)
    assert there.cached_steps == ()
    assert all(a.uri.startswith(s3) for a in there.artifacts)

    def digests(record) -> dict[str, str]:
        return {a.name: a.digest for a in record.artifacts if a.type in ("dataset", "model", "answers")}

    assert digests(there) == digests(here)
    assert {"curated", "tuned", "answers_tuned"} <= digests(there).keys()
    assert there.registration.status == "champion"

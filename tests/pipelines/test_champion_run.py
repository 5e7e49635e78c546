"""A candidate is held against the registered champion on the same rows before it takes its place."""

import json
from pathlib import Path

import pytest
from support.tiny_model import build_tiny_model
from support.towns import town_rows, write_run

from ops.run import run
from ops.run_index import artifacts_of, find_run
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.evaluation import Decision, EvalReport
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_model) -> Path:
    return write_run(
        tmp_path_factory.mktemp("champion"), "beaten", tiny_model.path, town_rows(),
        train={"max_steps": 4, "learning_rate": 0.02, "max_length": 256},
        gate={"metric": "loss", "min_n": 5, "max_degenerate": None, "min_gain_over_champion": 0},
    )  # fmt: skip


def after(config: Path, *overrides: str) -> tuple[RunRecord, Decision, EvalReport]:
    assert run(config, overrides=overrides, root=ROOT) == 0
    record = find_run(ROOT, None)
    store = artifacts_of(ROOT, record)
    (decision,) = (store.value(a, Decision) for a in record.of_type("decision"))
    reports = {a.name: a for a in record.of_type("eval_report")}
    return record, decision, store.value(reports["evaluation_champion"], EvalReport)


def test_the_champion_is_the_one_to_beat(config: Path) -> None:
    first, decision, measured = after(config)
    assert first.registration is not None and first.registration.status == "champion"
    assert any("there was no champion yet" in n for n in measured.notes)
    assert not [r for r in decision.reasons if "champion" in r.check]

    worse, decision, measured = after(config, "train.max_steps=1")
    assert measured.model_digest == first.registration.tags["weights_digest"]
    assert not any("no champion yet" in n for n in measured.notes)
    (reason,) = (r for r in decision.reasons if r.check == "over the champion: gain in loss")
    assert not reason.passed and not decision.promote
    assert worse.registration is not None and worse.registration.status == "rejected"

    # The champion's own weights again: nothing to beat, and no second version of them.
    again, decision, _ = after(config)
    assert again.registration == first.registration and decision.promote
    assert "train_step" in again.cached_steps

    better, decision, measured = after(config, "train.max_steps=12")
    assert measured.model_digest == first.registration.tags["weights_digest"]
    assert decision.promote, decision.reasons
    assert better.registration is not None and better.registration.status == "champion"
    assert better.registration.version == "3"


def test_a_champion_of_another_store_is_told_before_anything_is_trained(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/ml.db"
    client = MlflowClient(uri, registry_uri=uri)
    client.create_registered_model("beaten-model")
    tags = {"weights_digest": "ab" * 32, "zenml_run_id": "11111111-2222-3333-4444-555555555555"}
    client.create_model_version("beaten-model", "/nowhere", tags=tags)
    client.set_registered_model_alias("beaten-model", "champion", "1")
    with pytest.raises(InputNotFoundError, match="version 1, was made by a run that isn't in this ZenML store"):
        run(config, overrides=(f"registry.tracking_uri={uri}",), root=ROOT)
    assert find_run(ROOT, None).failed_step == "start_step"


def test_training_goes_on_from_a_registered_model_and_its_chain_is_told(config: Path) -> None:
    """The first run's adapter is merged; by alias and by version the same model, which is trained once."""
    first, _, _ = after(config)
    assert first.registration is not None
    registered = first.registration.tags["weights_digest"][:12]
    by_version = f"base.model=models:/beaten-model/{first.registration.version}"
    on, _, _ = after(config, by_version, "train.max_steps=3", "train.learning_rate=1e-3")
    assert on.registration is not None and on.registration.version != first.registration.version
    chain = on.registration.tags["started_from"].split(" > ")
    assert chain[1:2] == [f"tuned {registered}"]
    assert chain[2].startswith(f"models:/beaten-model/{first.registration.version} ")
    store = artifacts_of(ROOT, on)
    (begun,) = (store.value(a, EvalReport) for a in on.of_type("eval_report") if a.name == "evaluation_base")
    before = artifacts_of(ROOT, first)
    (ended,) = (before.value(a, EvalReport) for a in first.of_type("eval_report") if a.name == "evaluation_tuned")
    assert loss_of(begun) == pytest.approx(loss_of(ended), abs=1e-5)


def loss_of(report: EvalReport) -> float:
    (task,) = (t for t in report.tasks if t.task == "held_out")
    return next(m.estimate.value for m in task.metrics if m.name == "loss")


@pytest.mark.parametrize("which", ["models:/beaten-model/99", "models:/beaten-model@nobody", "models:/nothing/1"])
def test_a_registered_model_that_is_not_there_is_told_before_anything_is_trained(config: Path, which: str) -> None:
    with pytest.raises(InputNotFoundError, match=f"no such registered model: {which}"):
        run(config, overrides=(f"base.model={which}",), root=ROOT)
    assert find_run(ROOT, None).failed_step == "start_step"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with a model that somebody else logged there as a folder, and one that labels texts."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("theirs")
    uri = f"sqlite:///{folder}/ml.db"
    client = MlflowClient(uri, registry_uri=uri)
    for name in ("theirs", "labels"):
        build_tiny_model(folder / name / "model", seed=7)
        client.create_registered_model(name)
        client.create_model_version(name, str(folder / name))
    client.set_registered_model_alias("theirs", "ready", "1")
    described = json.loads((folder / "labels" / "model" / "config.json").read_text())
    described["architectures"] = ["LlamaForSequenceClassification"]
    (folder / "labels" / "model" / "config.json").write_text(json.dumps(described))
    return uri


def test_training_starts_from_a_model_that_others_registered(config: Path, theirs: str, tiny_model) -> None:
    overrides = (f"registry.tracking_uri={theirs}", "gate.min_gain_over_champion=null", "base.model=models:/theirs")
    with pytest.raises(ConfigError, match="say which version"):
        run(config, overrides=overrides, root=ROOT)
    by_alias = (*overrides[:2], "base.model=models:/theirs@ready")
    assert run(config, overrides=by_alias, root=ROOT) == 0
    record = find_run(ROOT, None)
    store = artifacts_of(ROOT, record)
    base, tuned = (next(store.model(a) for a in record.of_type("model") if a.name == n) for n in ("base", "tuned"))
    assert (base.name, base.base.source, base.base.name) == ("models:/theirs/1", "registered", "models:/theirs/1")
    assert base.digest == base.base.digest and set(base.files) == set(tiny_model.info.files)
    assert tuned.started_from == base.lineage
    assert record.registration is not None
    assert record.registration.tags["started_from"].startswith("models:/theirs/1 ")
    adapter = next(Path(str(a.uri).removeprefix("file://")) for a in record.of_type("model") if a.name == "tuned")
    (described,) = adapter.rglob("adapter_config.json")
    assert json.loads(described.read_text())["base_model_name_or_path"] == "models:/theirs/1"
    # The same version by its number is the same base.
    assert run(config, overrides=(*overrides[:2], "base.model=models:/theirs/1"), root=ROOT) == 0
    assert "train_step" in find_run(ROOT, None).cached_steps


def test_a_model_of_others_that_writes_nothing_is_told_before_anything_is_read(config: Path, theirs: str) -> None:
    overrides = (f"registry.tracking_uri={theirs}", "gate.min_gain_over_champion=null", "base.model=models:/labels/1")
    with pytest.raises(ConfigError, match="models:/labels/1 is no causal language model, but LlamaForSequenceClass"):
        run(config, overrides=overrides, root=ROOT)
    assert find_run(ROOT, None).failed_step == "start_step"

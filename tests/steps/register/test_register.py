import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from support.tracking import tracking_at
from support.tuned_models import adapted, full_weights

from steps.contracts.dataset import DatasetWriter
from steps.contracts.errors import IntegrityError, ServiceError
from steps.contracts.evaluation import Compared, Decision, Reason
from steps.contracts.models import ModelFolder, TemplateSettings
from steps.contracts.records import make_row, message
from steps.contracts.reports import StageReport
from steps.engines.scoring.answers import read_answers
from steps.engines.subjects.local_model import local_model
from steps.engines.tracking.service import PROBE
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.tasks import suite
from steps.gate.config import GateConfig
from steps.gate.gate import compare, decide
from steps.register import versions
from steps.register.cards import Candidate, DataSource, dataset_card, escape, model_card
from steps.register.config import RegisterConfig
from steps.register.register import _cut, register

ROOT = Path(__file__).parents[3]
HOSTILE = "<script>alert(1)</script> [click](http://x.example) | `rm` # @all\n## Forged heading"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = [
        make_row(
            kind="conversation", source="s", locator=f"line:{n}", raw=b"%d" % n,
            messages=[message("user", f"What is {n}? The sky?" + " and" * (n % 7)), message("assistant", f"blue {n}")],
        )
        for n in range(12)
    ]  # fmt: skip
    writer = DatasetWriter(folder / "v1", "ingest")
    writer.write_rows(rows)
    return writer.close().select(np.ones(12, bool), folder / "v2", "split", np.full(12, 2, np.int8))


def candidate_of(base, tuned, dataset, folder):
    config = EvaluateConfig(batch_size=5, metrics=("loss", "exact_match"))
    done = []
    for name, model in (("base", None), ("tuned", tuned)):
        with local_model(name, base, model, inference(config)) as subject:
            tasks = suite(dataset, config, folder)
            done.append(evaluate(subject, tasks, config, folder, folder / f"evaluated-{name}"))
    comparison = compare(done[0], done[1:])
    report = StageReport(
        stage="dedup", rows_in=20, kept=12, dropped=8, dropped_by={"exact": 8}, notes=(HOSTILE,), config_digest="c",
        seconds=1, cpu_seconds=1,
    )  # fmt: skip
    found = Candidate(
        base=base, base_location=str(base.path), model=tuned, comparison=comparison,
        evaluations=(done[0].report, done[1].report), reports=(report,), dataset=dataset.manifest,
        sources=(DataSource("faq", HOSTILE, None, 20),
                 DataSource("chat", "chat.jsonl", "CC-BY-4.0", access="public", consent="given")),
        training={"learning_rate": 2e-4}, lineage={"run_id": "run-7", "commit": "abc123", "config_digest": "cfg"},
    )  # fmt: skip
    return found, done[1].answers


@pytest.fixture(scope="module")
def measured(tiny_model, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    # A copy, so that a test may break it.
    shutil.copytree(tiny_model.path, folder / "base")
    base = ModelFolder(tiny_model.info, folder / "base")
    return candidate_of(base, adapted(base, folder / "adapter"), dataset, folder)


def decision(promote):
    reasons = (Reason(check="gain in loss", passed=promote, required="above 0", found="0.1"),)
    return Decision(
        promote=promote, reference="base", candidate="tuned", reasons=reasons, config_digest="g"
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def config(store, request):
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]
    return RegisterConfig(name=f"model-{name}", tracking_uri=store, experiment="tests")


def client(uri):
    import mlflow

    return mlflow.MlflowClient(uri, uri)


def answers_in_a_fresh_process(uri, model, answers, tmp_path, **model_config):
    """What the registered model answers when it is loaded by MLflow alone, outside the project."""
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps(answers))
    script = f"""
        import json, mlflow, pandas, sys
        mlflow.set_tracking_uri({uri!r})
        model = mlflow.pyfunc.load_model({model!r}, model_config={model_config!r})
        asked = json.load(open({str(asked)!r}))
        whole = model.predict(pandas.DataFrame({{"messages": asked}}))
        alone = [model.predict(pandas.DataFrame({{"messages": [m]}}))[0] for m in asked[:3]]
        plain = model.predict(pandas.DataFrame({{"prompt": [m[0]["content"] for m in asked]}}))
        short = model.predict(pandas.DataFrame({{"messages": asked}}), params={{"max_new_tokens": 1}})
        assert "steps" not in sys.modules
        print(json.dumps([whole, alone, plain, short]))
    """
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, cwd=tmp_path, env=env,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def questions(dataset):
    rows = sorted(dataset.iter_rows(), key=lambda r: r["record_id"])
    return [[{"role": m["role"], "content": m["content"]} for m in r["messages"][:-1]] for r in rows]


def check_served(uri, name, answers, dataset, tmp_path):
    expected = [a.answer for a in read_answers(answers)["held_out"]]
    assert len(expected) == 12 and len(set(expected)) > 3
    found = answers_in_a_fresh_process(uri, f"models:/{name}@champion", questions(dataset), tmp_path)
    whole, alone, plain, short = found
    assert whole == expected
    assert alone == expected[:3]
    assert plain == expected
    assert all(len(s) < len(e) for s, e in zip(short, expected, strict=True))


def logged_bytes(uri, model, tmp_path):
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(model, dst_path=str(tmp_path / "download")))
    finally:
        mlflow.set_tracking_uri(before)
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_champion_on_a_database_gives_the_evaluated_answers(measured, dataset, config, tmp_path):
    candidate, answers = measured
    done = register(candidate, decision(True), config, tmp_path)
    assert (done.status, done.aliases, done.version) == ("champion", ("candidate", "champion"), "1")
    check_served(config.tracking_uri, config.name, answers, dataset, tmp_path)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/ml.db",
        "--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert server.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.5)
        else:
            pytest.fail("the MLflow server did not start: " + (folder / "log").read_text()[-2000:])
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


@pytest.mark.slow
def test_a_champion_on_a_server_gives_the_evaluated_answers(measured, dataset, config, mlflow_server, tmp_path):
    candidate, answers = measured
    config = config.model_copy(update={"tracking_uri": mlflow_server})
    done = register(candidate, decision(True), config, tmp_path)
    assert done.tracking_uri == mlflow_server
    version = client(mlflow_server).get_model_version_by_alias(config.name, "champion")
    assert version.version == "1" and version.tags["commit"] == "abc123"
    check_served(mlflow_server, config.name, answers, dataset, tmp_path)


def test_tags_aliases_and_cards_tell_the_story(measured, config, tmp_path):
    candidate, _ = measured
    first = register(candidate, decision(True), config, tmp_path)
    refused = register(candidate, decision(False), config, tmp_path)
    manual = register(candidate, decision(True), config.model_copy(update={"promotion": "manual"}), tmp_path)
    second = register(candidate, decision(True).model_copy(update={"config_digest": "h"}), config, tmp_path)
    assert [r.status for r in (first, refused, manual, second)] == ["champion", "rejected", "candidate", "champion"]
    assert (refused.aliases, manual.aliases) == ((), ("candidate",))
    mlflow = client(config.tracking_uri)
    assert mlflow.get_registered_model(config.name).aliases == {"candidate": 4, "champion": 4}
    tags = mlflow.get_model_version(config.name, "2").tags
    assert tags["status"] == "rejected" and tags["gate_failed"] == "gain in loss"
    tags = mlflow.get_model_version(config.name, "4").tags
    assert tags["previous_champion"] == "1"
    assert tags["dataset_digest"] == candidate.dataset.digest
    assert tags["weights_digest"] == candidate.model.info.digest
    assert {"run_id", "commit", "config_digest", "base", "base_digest", "gate", "mlflow_run_id"} <= tags.keys()
    version = mlflow.get_model_version(config.name, "2")
    assert "Did not pass the gate" in version.description
    files = [f.path for f in mlflow.list_artifacts(second.run_id, "cards")]
    assert files == ["cards/dataset_card.md", "cards/model_card.md"]


def test_the_registered_model_says_what_it_is_and_a_persons_words_stay(measured, config, tmp_path):
    candidate, _ = measured
    settings = config.model_copy(update={"intended_use": "Answers *mails*."})
    register(candidate, decision(True), settings, tmp_path)
    mlflow = client(config.tracking_uri)
    said = mlflow.get_registered_model(config.name).description
    assert said.startswith("Answers \\*mails\\*.\n\nTuned from ") and "`@champion`" in said
    mlflow.update_registered_model(config.name, description="Ours.")
    register(candidate, decision(False), settings, tmp_path)
    assert mlflow.get_registered_model(config.name).description == "Ours."


def test_parameters_are_settings_and_no_list_of_files(measured, config, tmp_path):
    candidate, _ = measured
    done = register(candidate, decision(True), config, tmp_path)
    params = client(config.tracking_uri).get_run(done.run_id).data.params
    served = {"base_location", "batch_size", "batch_tokens", "num_threads", "device"}
    assert set(params) == served | {f"train.{name}" for name in candidate.training}
    assert {"model/artifacts/served.json", "model/MLmodel"} <= json.loads(done.tags["files"]).keys()


def test_a_run_that_took_its_weights_from_the_cache_carries_the_training(measured, config, tmp_path):
    import mlflow

    candidate, _ = measured
    weights = candidate.model.info.digest
    with tracking_at(config.tracking_uri):
        place = (tmp_path / "artifacts").as_uri()
        experiment = mlflow.create_experiment("of-the-training", artifact_location=place)
        other = mlflow.create_experiment("of-the-registration", artifact_location=place)
        for name, rate in (("first", 0.1), ("again", 0.2)):
            with mlflow.start_run(experiment_id=experiment, run_name=name) as trained:
                mlflow.log_params({"train.learning_rate": rate, "dataset_digest": "d", "base_location": "/elsewhere"})
                for step in range(3):
                    mlflow.log_metrics({"train_loss": 3.0 - step, "base/held_out/loss": 9.0}, step=step)
                mlflow.set_tags({"trained_weights": weights})
            if name == "first":
                first = trained.info.run_id
        with mlflow.start_run(experiment_id=other, run_name="from-cache") as later:
            done = register(candidate, decision(True), config, tmp_path)
        assert done.run_id == later.info.run_id
        found = mlflow.MlflowClient().get_run(done.run_id).data
        history = mlflow.MlflowClient().get_metric_history(done.run_id, "train_loss")
    assert (found.tags["trained_in"], found.tags["trained_in_run"]) == (first, "first")
    assert found.params["train.learning_rate"] == "0.1" and found.params["dataset_digest"] == "d"
    assert found.params["base_location"] == candidate.base_location
    assert [(m.step, m.value) for m in history] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert found.metrics["base/held_out/loss"] != 9.0


def test_only_the_adapter_is_stored(measured, config, tmp_path):
    candidate, _ = measured
    register(candidate, decision(True), config, tmp_path)
    files = logged_bytes(config.tracking_uri, f"models:/{config.name}/1", tmp_path)
    base_bytes = (candidate.base.path / "model.safetensors").stat().st_size
    weights = {n: s for n, s in files.items() if n.endswith(".safetensors")}
    assert list(weights) == ["artifacts/adapter/adapter_model.safetensors"]
    assert sum(weights.values()) < base_bytes / 2
    assert sum(files.values()) < base_bytes
    assert not [n for n in files if n.endswith((".pkl", ".bin", ".pt"))]
    assert "served.py" in files


@pytest.mark.slow
def test_full_weights_are_registered_and_served_without_the_base(measured, dataset, config, tmp_path):
    candidate, _ = measured
    full = full_weights(candidate.base, candidate.model, tmp_path / "full")
    whole, answers = candidate_of(candidate.base, full, dataset, tmp_path)
    register(replace(whole, base_location="/nowhere"), decision(True), config, tmp_path)
    check_served(config.tracking_uri, config.name, answers, dataset, tmp_path)


def load_here(config, **settings):
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(config.tracking_uri)
    try:
        return mlflow.pyfunc.load_model(f"models:/{config.name}@champion", model_config=settings)
    finally:
        mlflow.set_tracking_uri(before)


def test_a_moved_base_is_found_by_path_or_url_and_a_changed_one_is_refused(measured, config, tmp_path):
    candidate, _ = measured
    register(replace(candidate, base_location=str(tmp_path / "gone")), decision(True), config, tmp_path)
    with pytest.raises(FileNotFoundError, match="base_location"):
        load_here(config)
    for place in (str(candidate.base.path), candidate.base.path.as_uri()):
        assert load_here(config, base_location=place).predict(pd.DataFrame({"prompt": ["What is 1?"]}))[0]
    shutil.copytree(candidate.base.path, tmp_path / "changed")
    weights = tmp_path / "changed/model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(RuntimeError, match=r"model\.safetensors changed"):
        load_here(config, base_location=str(tmp_path / "changed"))


@pytest.mark.slow
def test_a_base_in_an_object_store_is_fetched_and_verified(measured, config, tmp_path, monkeypatch):
    moto = pytest.importorskip("moto.server")
    import fsspec

    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        candidate, answers = measured
        s3 = fsspec.filesystem("s3", skip_instance_cache=True)
        s3.mkdir("bases")
        s3.put(f"{candidate.base.path}/", "bases/run-1/files/", recursive=True)
        moved = replace(candidate, base_location="s3://bases/run-1/files")
        register(moved, decision(True), config, tmp_path)
        said = load_here(config).predict(pd.DataFrame({"prompt": ["What is 1? The sky? and"]}))
        assert said[0] in {a.answer for a in read_answers(answers)["held_out"]}
    finally:
        server.stop()


def test_a_changed_adapter_in_the_store_is_refused(measured, config, tmp_path):
    candidate, _ = measured
    register(candidate, decision(True), config, tmp_path)
    location = client(config.tracking_uri).get_model_version_download_uri(config.name, "1")
    found = list(Path(config.tracking_uri.removeprefix("sqlite:///")).parent.rglob("adapter_model.safetensors"))
    assert found, location
    for file in found:
        raw = bytearray(file.read_bytes())
        raw[-1] ^= 1
        file.write_bytes(raw)
    with pytest.raises(RuntimeError, match="adapter_model"):
        load_here(config)


def test_what_was_not_gated_is_not_registered(measured, config, tmp_path):
    candidate, _ = measured
    other = candidate.comparison.model_copy(update={"candidates": (Compared(name="tuned", digest="0" * 64),)})
    with pytest.raises(IntegrityError, match="compared the weights"):
        register(replace(candidate, comparison=other), decision(True), config, tmp_path)
    with pytest.raises(ValueError, match="without all checks"):
        register(candidate, decision(True).model_copy(update={"reasons": ()}), config, tmp_path)
    with pytest.raises(ValueError, match="without all checks"):
        register(candidate, decision(False).model_copy(update={"promote": True}), config, tmp_path)
    shutil.copytree(candidate.model.path, tmp_path / "touched")
    (tmp_path / "touched/adapter_config.json").write_text("{}")
    touched = ModelFolder(candidate.model.info, tmp_path / "touched")
    with pytest.raises(IntegrityError, match="adapter_config"):
        register(replace(candidate, model=touched), decision(True), config, tmp_path)
    assert not client(config.tracking_uri).search_registered_models(f"name = '{config.name}'")


def test_the_active_run_is_used_and_stays_active(measured, config, tmp_path):
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(config.tracking_uri)
    try:
        with mlflow.start_run() as run:
            done = register(measured[0], decision(True), config.model_copy(update={"tracking_uri": None}), tmp_path)
            assert done.run_id == run.info.run_id == mlflow.active_run().info.run_id
            assert done.tracking_uri == config.tracking_uri
    finally:
        mlflow.set_tracking_uri(before)


def test_settings_that_name_another_place_win_over_the_active_run(measured, config, tmp_path):
    import mlflow

    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(elsewhere)
    try:
        with mlflow.start_run() as run:
            done = register(measured[0], decision(True), config, tmp_path)
            assert mlflow.active_run().info.run_id == run.info.run_id
            assert mlflow.get_tracking_uri() == elsewhere
    finally:
        mlflow.set_tracking_uri(before)
    assert done.tracking_uri == config.tracking_uri
    own = client(config.tracking_uri).get_run(done.run_id)
    assert own.info.status == "FINISHED" and "mlflow.parentRunId" not in own.data.tags
    assert not client(elsewhere).search_registered_models()


class Killed(BaseException):
    """Ends a registration where a signal would."""


@pytest.mark.slow
def test_interrupted_registrations_are_completed_and_leave_one_version(measured, config, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    before = register(measured[0], decision(True).model_copy(update={"config_digest": "h"}), config, tmp_path)
    places = ("update_model_version", "set_model_version_tag", "set_registered_model_alias", "set_terminated")
    for place in places:
        with monkeypatch.context() as patch:

            def die(*_args, **_more):
                raise Killed

            patch.setattr(MlflowClient, place, die)
            with pytest.raises(Killed):
                register(measured[0], decision(True), config, tmp_path)
    done = register(measured[0], decision(True), config, tmp_path)
    mlflow = client(config.tracking_uri)
    assert (before.version, done.version) == ("1", "2")
    assert len(mlflow.search_model_versions(f"name='{config.name}'")) == 2
    version = mlflow.get_model_version(config.name, "2")
    assert "Passed the gate" in version.description and version.tags["previous_champion"] == "1"
    assert mlflow.get_registered_model(config.name).aliases == {"candidate": 2, "champion": 2}
    assert done.run_id == version.tags["mlflow_run_id"]


def test_the_younger_of_two_versions_made_in_a_race_is_removed(measured, config, tmp_path):
    import mlflow as module

    first = register(measured[0], decision(True), config, tmp_path)
    mlflow = client(config.tracking_uri)
    source = mlflow.get_model_version(config.name, "1").source
    before = module.get_tracking_uri()
    module.set_tracking_uri(config.tracking_uri)
    try:
        mlflow.create_model_version(config.name, source, tags=first.tags)
        assert versions.create(config.name, source, first.tags).version == 1
    finally:
        module.set_tracking_uri(before)
    assert [int(v.version) for v in mlflow.search_model_versions(f"name='{config.name}'")] == [1]


def test_a_server_that_is_down_is_told_within_seconds(measured, config, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    down = config.model_copy(update={"tracking_uri": f"http://bob:hunter2@127.0.0.1:{port}"})
    before = {k: v for k, v in os.environ.items() if k.startswith("MLFLOW")}
    start = time.monotonic()
    with pytest.raises(ServiceError, match="can't be reached") as caught:
        register(measured[0], decision(True), down, tmp_path)
    assert time.monotonic() - start < 8
    assert "hunter2" not in str(caught.value)
    assert {k: v for k, v in os.environ.items() if k.startswith("MLFLOW")} == before


def test_a_server_that_never_answers_is_given_up(measured, config, tmp_path, monkeypatch):
    monkeypatch.setitem(PROBE, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        deaf = config.model_copy(update={"tracking_uri": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        start = time.monotonic()
        with pytest.raises(ServiceError, match="can't be reached"):
            register(measured[0], decision(True), deaf, tmp_path)
        assert time.monotonic() - start < 10


def test_the_model_card_says_what_was_measured(measured, config):
    candidate, _ = measured
    loss = next(d for d in candidate.comparison.differences if d.metric == "loss")
    card = model_card(candidate, decision(True), config)
    assert f"{loss.reference.value:.4g} ({loss.reference.low:.4g} to {loss.reference.high:.4g})" in card
    assert f"{loss.candidate.value:.4g} ({loss.candidate.low:.4g} to {loss.candidate.high:.4g})" in card
    assert "| 12 |" in card and "**Passed the gate**" in card
    for text in ("abc123", "run-7", candidate.dataset.digest, candidate.model.info.digest, "learning\\_rate"):
        assert text in card
    (decoding,) = {e.decoding for e in candidate.evaluations if e.subject == "tuned"}
    assert decoding in card  # JSON of more than 300 characters, whole
    settings = TemplateSettings(config={"override": "mine.jinja"}, override="{{ 1 }}")
    other = ModelFolder(candidate.model.info.model_copy(update={"template": settings}), candidate.model.path)
    named = model_card(replace(candidate, model=other), decision(True), config)
    assert f"- template.override: `SHA-256 {hashlib.sha256(b'{{ 1 }}').hexdigest()}`" in named
    refused = model_card(candidate, decision(False), config)
    assert "Do not deploy" in refused and "**no**" in refused


def test_the_dataset_card_names_sources_licences_and_losses(measured, config):
    card = dataset_card(measured[0], config)
    assert "| chat | chat.jsonl | CC-BY-4.0 | public | given | not counted |" in card
    assert "| not stated | 20 |" in card and "No licence is stated for: faq" in card
    assert "| dedup | 20 | 0 | 12 | 8 | 0 | 0 | 0 | 0 |" in card
    assert "exact 8" in card


def test_hostile_text_stays_text_in_the_cards(measured, config):
    candidate = replace(measured[0], lineage={"note": HOSTILE + "```\n# x"}, training={HOSTILE: HOSTILE})
    settings = config.model_copy(update={"intended_use": HOSTILE, "limitations": (HOSTILE,), "licence": HOSTILE})
    for card in (model_card(candidate, decision(True), settings), dataset_card(candidate, settings)):
        body = card.split("---\n", 2)[-1] if card.startswith("---") else card
        code_free = "".join(p for i, p in enumerate(body.split("`")) if i % 2 == 0 or "\\" in p)
        assert "<script>" not in code_free and " [click]" not in code_free and "http://" not in code_free
        assert not [line for line in card.splitlines() if line.startswith("## Forged") or line.startswith("# x")]
        for table in (line for line in body.splitlines() if line.startswith("|")):
            assert table.replace("\\|", "").count("|") in (3, 5, 6, 7, 10), table


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<b>", "&lt;b&gt;"),
        ("x\n# y", r"x \# y"),
        ("- item", r"\- item"),
        ("1. item", r"\1. item"),
        ("a\u202eb", "a b"),
        ("exact_match", r"exact\_match"),
        ("x" * 400, "x" * 300 + "…"),
    ],
)
def test_escape(text, escaped):
    assert escape(text) == escaped


def test_a_long_card_is_cut_at_a_line_for_the_description():
    cut = _cut("---\na: b\n---\n# T\n" + "line of text\n" * 1_000)
    assert len(cut) <= 5_000 and cut.startswith("# T")
    assert "line of text\n\n(Cut here" in cut
    assert _cut("# short") == "# short"


@pytest.mark.parametrize(
    "settings",
    [{"name": "a/b"}, {"name": "a:b"}, {"name": ""}, {"name": "a", "tracking_uri": "https://bob:pw@host"}],
)
def test_unusable_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        RegisterConfig.model_validate(settings)


def test_a_real_decision_is_accepted(measured, config, tmp_path):
    made = decide(measured[0].comparison, GateConfig())
    assert not made.promote  # 12 rows are too few
    assert register(measured[0], made, config, tmp_path).status == "rejected"

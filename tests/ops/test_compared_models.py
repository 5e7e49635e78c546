"""`assay compare`: models of runs, registries and folders on the same rows, by the evaluation step's own code."""

import json
import shutil
from pathlib import Path

import pytest
from engines.llm.scripted_server import ScriptedServer, completion
from support import modelled_run
from support.stored_run import StoredRun
from support.tuned_models import full_weights
from typer.testing import CliRunner

from ops import measured
from ops.found_models import find_model
from ops.main import app
from steps.contracts.models import ModelFolder
from steps.engines.subjects.local_model import local_model
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.tasks import suite

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: ModelFolder) -> StoredRun:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return modelled_run.build(tmp_path / "work", tiny_model)


def invoke(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return done.exit_code, done.output


def told(*arguments: object) -> dict:
    status, out = invoke("compare", *arguments, "--json")
    assert status == 0, out
    return json.loads(out[out.index("{") :])


@pytest.mark.slow
def test_models_are_measured_as_the_evaluation_step_measures_them_and_once(
    run: StoredRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told("run:shop/base", "models:/shop/1", "run:shop")
    assert [e["reused"] for e in found["evaluations"]] == [False, False, True]
    assert "the same weights: models:/shop/1 and run:shop" in found["notes"]
    compared = found["comparison"]
    assert [c["name"] for c in compared["candidates"]] == ["models:/shop/1", "run:shop"]
    assert compared["reference"]["name"] == "run:shop/base" and found["candidates"] is not None

    config = EvaluateConfig.model_validate(modelled_run.SETTINGS)
    model = find_model(ROOT, "run:shop")
    dataset = modelled_run.split_rows(run, tmp_path / "again")
    with local_model("tuned", model.base, model.tuned, inference(config)) as subject:
        direct = evaluate(subject, suite(dataset, config, ROOT), config, ROOT, tmp_path / "direct").report
    losses = {m.name: m.estimate for t in direct.tasks for m in t.metrics}
    of_tuned = {d["metric"]: d["candidate"] for d in compared["differences"] if d["subject"] == "run:shop"}
    assert losses["loss"].model_dump() == of_tuned["loss"]

    def never(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(measured, "measure", never)
    again = told("run:shop/base", "models:/shop/1", "run:shop")
    assert all(e["reused"] for e in again["evaluations"])
    assert again["comparison"] == compared
    status, out = invoke("compare", "run:shop/base", "run:shop")
    assert status == 0 and "run:shop/base against run:shop" in out and "8 test rows of run shop-2026" in out


@pytest.mark.slow
def test_what_is_half_written_or_damaged_is_measured_anew(run: StoredRun, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shared = ("run:shop/base", "run:shop", "--answers", kept)
    first = [Path(e["folder"]) for e in told(*shared)["evaluations"]]
    assert {f.parent for f in first} == {kept}
    (first[0] / "manifest.json").unlink()
    answers = first[1] / "answers.parquet"
    answers.write_bytes(answers.read_bytes()[:-9])
    anew = told(*shared)
    assert [e["reused"] for e in anew["evaluations"]] == [False, False]


@pytest.mark.slow
def test_other_settings_are_another_question(run: StoredRun, tmp_path: Path) -> None:
    shared = ("run:shop/base", "run:shop", "--answers", tmp_path / "kept")
    first = [Path(e["folder"]) for e in told(*shared)["evaluations"]]
    config = tmp_path / "shop.yaml"
    config.write_text(
        "name: shop\ningest: {sources: [{name: a, path: a.jsonl}]}\nbase: {model: x/y}\nskip: [scrub]\n"
        "evaluate: {max_new_tokens: 5, metrics: [exact_match], device: cpu}\nregistry: {name: shop}\n"
    )
    other = told(*shared, "--config", config)
    assert [e["reused"] for e in other["evaluations"]] == [False, False]
    assert not {Path(e["folder"]) for e in other["evaluations"]} & set(first)


@pytest.mark.slow
def test_folders_of_weights_and_of_adapters_are_models_too(run: StoredRun, tmp_path: Path, tiny_model) -> None:
    model = find_model(ROOT, "run:shop")
    assert model.tuned is not None
    whole = full_weights(model.base, model.tuned, tmp_path / "whole").path
    lone = tmp_path / "lone"
    shutil.copytree(model.tuned.path, lone)
    (lone / "adapter_config.json").write_text(
        json.dumps(json.loads((lone / "adapter_config.json").read_text()) | {"base_model_name_or_path": "gone/away"})
    )
    status, out = invoke("compare", "run:shop", lone)
    assert status == 3 and "gone/away" in out and "--over" in out
    found = told("run:shop", whole, lone, "--over", "run:shop/base")
    changes = {(d["subject"], d["metric"]): d["change"]["value"] for d in found["comparison"]["differences"]}
    assert changes[str(lone), "loss"] == 0
    assert abs(changes[str(whole), "loss"]) < 1e-4


def test_rows_that_a_model_was_trained_on_are_not_asked(
    run: StoredRun, tmp_path: Path, tiny_model: ModelFolder
) -> None:
    # Its train rows are 8 to 15: the other run's test rows.
    modelled_run.build(tmp_path / "other", tiny_model, name="late-2026", first=8, registered=False)
    status, out = invoke("compare", "run:shop/base", "run:late")
    assert status == 3 and "trained on 8 of these 8 rows" in " ".join(out.split())


@pytest.mark.slow
def test_rows_that_a_model_was_trained_on_are_asked_where_that_is_meant(
    run: StoredRun, tmp_path: Path, tiny_model: ModelFolder
) -> None:
    modelled_run.build(tmp_path / "other", tiny_model, name="late-2026", first=8, registered=False)
    notes = told("run:shop/base", "run:late", "--allow-seen")["notes"]
    assert any("run:late was trained on 8 of these 8 rows" in n for n in notes)
    status, _ = invoke("compare", "run:shop/base", "run:late", "--run", "late")
    assert status == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("run:shop",), 2, "one model has nothing beside it"),
        (("run:shop", "run:shop"), 2, "named twice"),
        (("run:shop", "run:none"), 3, "no run 'none'"),
        (("run:shop", "run:shop/tunde"), 3, "there are base, tuned"),
        (("run:shop", "shop/2"), 3, "no run registered shop/2"),
        (("shop", "run:shop/base"), 3, "fits a run and a model"),
        (("run:shop", "models:/shop"), 3, "say which version"),
        (("run:shop", "./nowhere"), 3, "no such folder"),
        (("run:shop", "dataset:ab12"), 3, "names a dataset"),
        (("run:shop", "run:shop/base", "--set", "evaluate.max_rows=3"), 2, "name its config"),
    ],
)
def test_what_cannot_be_compared_is_said(run: StoredRun, arguments: tuple[str, ...], status: int, words: str) -> None:
    found, out = invoke("compare", *arguments)
    assert found == status and words in " ".join(out.split())


def test_changed_weights_are_refused(run: StoredRun) -> None:
    weights = next(run.store.glob("train_step/tuned/files/adapter_model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    status, out = invoke("compare", "run:shop/base", "run:shop")
    assert status == 7 and "adapter_model.safetensors" in out


@pytest.mark.slow
def test_a_suite_is_asked_of_models_without_any_rows(run: StoredRun, tmp_path: Path) -> None:
    sum_and_six = '{"question": "Two and two?", "answer": "4"}\n{"question": "Six?", "answer": "6"}\n'
    (tmp_path / "q.jsonl").write_text(sum_and_six)
    suite_file = tmp_path / "sums.yaml"
    tasks = "[{name: q, kind: numeric, file: q.jsonl, max_new_tokens: 4}]"
    suite_file.write_text(f"{{name: sums, version: '1', licence: Apache-2.0, tasks: {tasks}}}")
    found = told("run:shop/base", "run:shop", "--suite", suite_file)
    assert found["dataset_digest"] == "" and found["rows_of"] == str(suite_file)
    assert {(d["task"], d["change"]["n"]) for d in found["comparison"]["differences"]} == {("sums.q", 2)}
    assert all(e["reused"] for e in told("run:shop/base", "run:shop", "--suite", suite_file)["evaluations"])
    (tmp_path / "q.jsonl").write_text('{"question": "Two and two?", "answer": "4"}\n')
    assert not any(e["reused"] for e in told("run:shop/base", "run:shop", "--suite", suite_file)["evaluations"])
    both = told("run:shop/base", "run:shop", "--run", "shop", "--suite", suite_file)
    assert {d["task"] for d in both["comparison"]["differences"]} == {"held_out", "sums.q"}
    assert invoke("compare", "run:shop/base", "run:shop", "--suite", tmp_path / "none.yaml")[0] == 3


def test_models_behind_servers_are_asked_a_suite_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    (tmp_path / "q.jsonl").write_text("".join(
        json.dumps({"question": f"{n} and {n}?", "answer": str(2 * n)}) + "\n" for n in range(10)
    ))  # fmt: skip
    suite_file = tmp_path / "sums.yaml"
    tasks = "[{name: q, kind: numeric, file: q.jsonl}]"
    suite_file.write_text(f"{{name: sums, version: '1', licence: Apache-2.0, tasks: {tasks}}}")

    def script(_n: int, body: dict) -> object:
        asked = int(body["messages"][-1]["content"].split()[0])
        return completion(str(2 * asked) if body["model"] == "sums" or asked < 4 else "no idea")

    with ScriptedServer(script) as server:
        models = [f"{server.url}#{name}" for name in ("weak", "sums")]
        found = told(*models, "--suite", suite_file)
        asked = len(server.bodies)
        (change,) = [d for d in found["comparison"]["differences"] if d["metric"] == "numeric"]
        assert (change["change"]["value"], change["change"]["n"], asked) == (0.6, 10, 20)
        again = told(*models, "--suite", suite_file)
        assert all(e["reused"] for e in again["evaluations"]) and len(server.bodies) == asked
    assert [e["model"] for e in found["evaluations"]] == models
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    keyed = [f"{server.url}#{name}" for name in ("weak", "other")]
    for arguments, words in (
        (["http://127.0.0.1:1/v1", models[0]], "it doesn't say which model of the server"),
        ([models[0], models[0]], "named twice"),
        ([*keyed, "--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
    ):
        status, out = invoke("compare", *arguments, "--suite", suite_file)
        assert (status, words in out) == (2, True), out


def test_rows_that_were_not_scrubbed_go_to_no_server_elsewhere(run: StoredRun) -> None:
    status, out = invoke("compare", "run:shop/base", "http://models.example.com/v1#large")
    assert (status, "would be sent to another machine" in out) == (2, True), out


@pytest.mark.slow
def test_a_judge_says_whose_answers_it_prefers(run: StoredRun, tmp_path: Path) -> None:
    verdict = completion(json.dumps({"reason": "so", "better": "A"}))
    with ScriptedServer(lambda n, body: verdict) as server:
        config = tmp_path / "shop.yaml"
        config.write_text(
            "name: shop\ningest: {sources: [{name: a, path: a.jsonl}]}\nbase: {model: x/y}\nskip: [scrub]\n"
            "evaluate: {max_new_tokens: 5, metrics: [exact_match], device: cpu, win_rate: {max_rows: 3},\n"
            f"  judge: {{endpoint: {{base_url: '{server.url}', model: j}}}}}}\nregistry: {{name: shop}}\n"
        )
        shared = ("run:shop/base", "run:shop", "--answers", tmp_path / "kept", "--config", config)
        (duel,) = told(*shared)["win_rates"]["duels"]
        asked = len(server.bodies)
        status, out = invoke("compare", *shared)
        assert status == 0 and "Whose answers j prefers" in out and len(server.bodies) == asked
    assert (duel["subject"], duel["against"], duel["ties"]) == ("run:shop", "run:shop/base", 3)
    assert asked == 2 * duel["flips"]


@pytest.mark.slow
def test_a_judge_of_the_command_line_prefers_answers_to_a_suite(run: StoredRun, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(
        '{"question": "Two and two?", "answer": "4"}\n{"question": "Six?", "answer": "6"}\n'
    )
    suite_file, config = tmp_path / "sums.yaml", tmp_path / "judge.yaml"
    tasks = "[{name: q, kind: qa, file: q.jsonl, max_new_tokens: 4}]"
    suite_file.write_text(f"{{name: sums, version: '1', licence: Apache-2.0, tasks: {tasks}}}")
    shared = ("run:shop/base", "run:shop", "--suite", suite_file)
    assert "win_rates" not in told(*shared)
    with ScriptedServer(lambda n, body: completion(json.dumps({"reason": "so", "better": "A"}))) as server:
        served = told(*shared, "--judge", f"{server.url}#j")
        # Measured already: only the judge is asked.
        assert all(e["reused"] for e in served["evaluations"])
        (duel,) = served["win_rates"]["duels"]
        assert (duel["task"], duel["ties"], served["win_rates"]["judge"]) == ("sums.q", 2, "j")
        assert len(server.bodies) == 2 * duel["flips"]
        config.write_text(
            "name: shop\ningest: {sources: [{name: a, path: a.jsonl}]}\nbase: {model: x/y}\nskip: [scrub]\n"
            f"evaluate: {{judge: {{endpoint: {{base_url: '{server.url}', model: j}}}}, win_rate: {{max_rows: 1}}}}\n"
            "registry: {name: shop}\n"
        )
        (fewer,) = told(*shared, "--judge", config)["win_rates"]["duels"]
        assert fewer["ties"] == 1
    config.write_text(config.read_text().replace("evaluate:", "evaluate: {}\n# "))
    for judge, why in (
        (config, "this config has no evaluate.judge"), ("https://models.example.com/v1#j", "another machine"),
        ("http://127.0.0.1:1/v1", "which model of the server"), (tmp_path / "none.yaml", "no such configuration file"),
    ):  # fmt: skip
        status, out = invoke("compare", *shared, "--judge", judge)
        assert status != 0 and why in " ".join(out.split()), out

"""Training in phases, through the whole pipeline: killed in the second, resumed, evaluated, registered, served."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import outcomes
from support.tracking import tracking_at

from steps.engines.exports.export import check_parity
from steps.engines.exports.registry import EXPORTS

NO_LIMIT = {"max_degenerate": None}  # what these tiny models say doesn't matter here
ROOT = Path(__file__).resolve().parents[2]
COMMON = {"max_steps": 6, "save_steps": 2, "learning_rate": 0.02, "max_length": 256}
PHASES = [
    {"name": "broad", "weights": {"kind": "full"}, **COMMON},
    {"name": "narrow", "rows": {"sources": ["pairs"]}, **COMMON, "max_steps": 400},
    {"name": "last", "weights": {"kind": "lora", "r": 4}, **COMMON},
]


def assay(config: Path, state: Path, *more: str) -> subprocess.Popen[str]:
    env = outcomes.environment(state)
    command = [sys.executable, "-m", "ops.main", "run", str(config), "--json", *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def config_of(folder: Path, base: Path) -> Path:
    """Two sources of question and answer, phases over them, a gate that any fall of the loss passes."""
    for source, things in (("chats", ("lamp", "chair", "table")), ("pairs", ("clock", "mirror", "basket"))):
        rows = [
            {"prompt": f"{i} weeks on: where does the {thing} of customer {i * 7} go?", "completion": f"To {place}"}
            for thing in things
            for i, place in enumerate(("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon", "Gdansk", "Malmo") * 2)
        ]
        (folder / f"{source}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "name": "phases",
        "ingest": {"sources": [{"name": n, "path": str(folder / f"{n}.jsonl")} for n in ("chats", "pairs")]},
        "dedup": {"near": False},
        "split": {"test": 0.3, "validation": 0.1},
        "skip": ["judge", "leakcheck"],
        "scrub": {"demo_key": True},
        "base": {"model": str(base)},
        "train": PHASES,
        "evaluate": {"metrics": ["loss", "exact_match"]},
        "gate": {
            "metric": "loss",
            "min_n": 5,
            "min_control_n": 5,
            "max_perplexity_ratio": None,
            "max_degenerate": None,
        },
        "registry": {"name": "phased"},
    }
    path = folder / "phases.yaml"
    path.write_text(json.dumps(config))
    return path


def steps_saved(state: Path) -> int:
    """Steps of the newest checkpoint: above those of the first phase it is one of the second."""
    try:
        return max((int(p.name.split("-")[1]) for p in state.glob("checkpoints/*/*/checkpoint-*")), default=0)
    except FileNotFoundError:  # one is being removed
        return 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model):
    """(record of the run that went on after a kill in the second phase, what the killed one left on stderr)."""
    folder = tmp_path_factory.mktemp("phases")
    config, state = config_of(folder, tiny_model.path), folder / "state"
    killed = assay(config, state)
    deadline = time.monotonic() + 400
    while steps_saved(state) <= COMMON["max_steps"] and killed.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint of the second phase"
        time.sleep(0.05)
    assert killed.poll() is None, killed.communicate()[1][-2000:]
    os.killpg(killed.pid, signal.SIGKILL)
    _, said = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said[-2000:]
    again = assay(config, state)
    out, err = again.communicate(timeout=500)
    assert again.returncode == 0, err[-3000:]
    return json.loads(out), state


def artifact(record: dict, name: str) -> Path:
    return Path(next(a["uri"] for a in record["artifacts"] if a["name"] == name))


@pytest.mark.slow
def test_every_phase_is_a_step_of_its_own_and_finished_ones_are_not_run_again(finished) -> None:
    record, _ = finished
    assert "train_broad_step" in record["cached_steps"]
    for step in ("train_narrow_step", "train_last_step"):
        assert step in record["executed_steps"]
    measured = {s for s in (*record["cached_steps"], *record["executed_steps"]) if s.startswith("evaluate_")}
    assert measured == {f"evaluate_{subject}_step" for subject in ("base", "broad", "narrow", "last")}
    report = json.loads((artifact(record, "train_narrow_report") / "report.json").read_text())
    assert report["stage"] == "train_narrow"
    assert any(note.startswith("resumed at step ") for note in report["notes"])
    assert ["learning_rate", "0.02"] in next(t for t in report["tables"] if t["title"] == "Settings in force")["rows"]
    for name in ("train_broad_ledger", "train_narrow_ledger", "train_last_ledger"):
        assert (artifact(record, name) / "ledger.parquet").is_file()


@pytest.mark.slow
def test_the_chain_leads_from_the_registered_model_back_to_the_base(finished) -> None:
    record, _ = finished
    infos = {n: json.loads((artifact(record, n) / "model.json").read_text())
             for n in ("base", "tuned_broad", "tuned_narrow", "tuned_last")}  # fmt: skip
    last = infos["tuned_last"]
    assert [(a["name"], a["digest"]) for a in last["started_from"]] == [
        (name, infos[n]["digest"])
        for name, n in (("base", "base"), ("broad", "tuned_broad"), ("narrow", "tuned_narrow"))
    ]
    tags = record["registration"]["tags"]
    assert tags["weights_digest"] == last["digest"]
    assert tags["base_digest"] == infos["base"]["digest"]
    assert tags["started_from"].split(" > ")[1] == f"broad {infos['tuned_broad']['digest'][:12]}"
    comparison = json.loads((artifact(record, "comparison") / "value.json").read_text())
    assert [c["name"] for c in comparison["candidates"]] == ["broad", "narrow", "last"]
    assert record["registration"]["status"] == "champion"


@pytest.mark.slow
def test_the_registered_model_gives_the_answers_that_the_last_subject_was_measured_by(finished, tmp_path) -> None:
    record, _ = finished
    rows = pq.read_table(artifact(record, "answers_last") / "answers.parquet").to_pylist()
    evaluated = [r for r in rows if r["task"] == "held_out"]
    assert len(evaluated) >= 10
    questions = [r["prompt"].split("<|im_start|>user\n")[1].split("<|im_end|>")[0] for r in evaluated]
    asked = [[{"role": "user", "content": q}] for q in questions]
    with tracking_at(record["registration"]["tracking_uri"]):
        check_parity(EXPORTS["pyfunc"], "models:/phased@champion", asked, [r["answer"] for r in evaluated], tmp_path)


@pytest.mark.slow
def test_the_card_and_the_tracker_say_what_every_phase_was(finished) -> None:
    import mlflow

    record, _ = finished
    uri = record["registration"]["tracking_uri"]
    client = mlflow.MlflowClient(uri, uri)
    mlflow.set_tracking_uri(uri)
    card = mlflow.artifacts.load_text(f"runs:/{record['registration']['run_id']}/cards/model_card.md")
    for text in ("broad", "sft, full", "narrow: rows.sources", "with the adapters of narrow merged into them"):
        assert text in card, text
    runs = [r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])]
    kinds = [r.data.params["train.weights.kind"] for r in runs if "train.weights.kind" in r.data.params]
    assert sorted(kinds) == ["full", "lora", "lora", "lora"]  # the second phase ran twice
    assert sorted(r.info.run_name for r in runs if r.info.status == "KILLED")[-1] == "train_narrow"
    assert not [r.info.run_name for r in runs if r.info.status == "RUNNING"]

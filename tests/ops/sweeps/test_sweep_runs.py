"""Sweeps as they are run: trials are pipeline runs in processes of their own, tracked in a real MLflow."""

import csv
import json
import signal
import time
from pathlib import Path

import pytest
from support.processes import command, ended, killing_at, python

from steps.contracts.locks import is_held

ROOT = Path(__file__).parents[3]
RATES = ("sweep", "configs/sweeps/smoke_rate.yaml", "--set", "name=rates", "--set")
TWO = (*RATES, "search.parameters={train.learning_rate: {values: [1.0e-3, 1.0e-2]}}")


def runs_of(state):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{state}/artifacts/mlflow.db")
    experiment = client.get_experiment_by_name("train").experiment_id
    found = client.search_runs([experiment], "tags.sweep = 'rates'", order_by=["attributes.start_time ASC"])
    return client, [r for r in found if "trial" not in r.data.tags], [r for r in found if "trial" in r.data.tags]


def results(state):
    (file,) = (state / "sweeps").glob("rates-*/trials.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("left", ["a trial that goes on", "a trial that is done and wasn't noted"])
def test_a_killed_sweep_goes_on_and_trains_nothing_twice(tmp_path, left):
    state = tmp_path / "state"
    place = {"a trial that goes on": "sweep:_waited"}.get(left, "results:Log.add")
    status, said = ended(python(command(*TWO, before=killing_at(f"ops.sweeps.{place}", 2)), state))
    assert status == -signal.SIGKILL, said
    (first,) = results(state)
    client, (parent,), _ = runs_of(state)
    assert (parent.info.status, parent.data.metrics["trials_done"]) == ("RUNNING", 1)

    status, said = ended(python(command(*TWO, "--json"), state))
    assert status == 0, said
    board = json.loads(said[: said.rindex("}") + 1])
    again = results(state)
    assert again[0] == first
    assert [r["values"] for r in again] == [{"train.learning_rate": 1e-3}, {"train.learning_rate": 1e-2}]
    # What was left has trained, the run that stands in its place took that from the cache.
    assert again[1]["trained_in"] != again[1]["run"]

    client, (whole,), trials = runs_of(state)
    assert (whole.info.run_id, whole.info.status) == (parent.info.run_id, "FINISHED")
    assert [(r.data.tags["trial"], r.info.run_name, r.info.status) for r in trials] == [
        ("1", first["run"], "FINISHED"), ("2", again[1]["trained_in"], "FINISHED"),
    ]  # fmt: skip
    assert {r.data.tags["mlflow.parentRunId"] for r in trials} == {whole.info.run_id}
    assert [r.data.metrics["validation_loss"] for r in trials] == pytest.approx([r["loss"] for r in again], abs=1e-6)
    assert len({r.data.tags["trained_weights"] for r in trials}) == 2
    assert whole.data.params["sweep.strategy"] == "grid"
    best = min(again, key=lambda r: r["loss"])
    assert whole.data.tags["best.train.learning_rate"] == str(best["values"]["train.learning_rate"])
    assert whole.data.metrics["validation_loss"] == pytest.approx(best["loss"], abs=1e-6)

    files = {
        f.path: client.download_artifacts(whole.info.run_id, f.path) for f in client.list_artifacts(whole.info.run_id)
    }
    assert files.keys() == {"leaderboard.json", "leaderboard.csv", "board.html"}
    assert json.loads(Path(files["leaderboard.json"]).read_text()) == {k: v for k, v in board.items() if k != "page"}
    with Path(files["leaderboard.csv"]).open() as file:
        assert [row["trial"] for row in csv.DictReader(file)] == [str(t["number"]) for t in board["trials"]]


@pytest.mark.slow
def test_a_sweep_that_is_told_to_end_ends_its_trial_and_a_trial_that_fails_is_on_the_board(tmp_path):
    state = tmp_path / "state"
    # The first one's loss is nan in the end.
    wild = (*RATES, "search.parameters={train.learning_rate: {values: [1.0e+9, 1.0e-3]}}")
    process = python(command(*wild), state, ASSAY_PROGRESS="on")
    said = ""
    while "trial 2 of 2" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    assert "failed: error:" in said
    time.sleep(5)
    process.terminate()
    assert process.wait(120) == 143
    (lock,) = (state / "sweeps").glob("rates-*/.lock")
    assert not is_held(lock)
    _, (whole,), _ = runs_of(state)
    assert (whole.info.status, whole.data.metrics["trials_failed"]) == ("KILLED", 1)
    assert [r["loss"] for r in results(state)] == [None]

    status, said = ended(python(command(*wild, "--json"), state))
    assert status == 0, said
    board = json.loads(said[: said.rindex("}") + 1])
    assert [(t["number"], t["rank"], t["standing"]) for t in board["trials"]] == [
        (2, 1, "reference"),
        (1, None, "failed"),
    ]
    assert "error: train: eval_loss is nan at step 6" in board["trials"][1]["error"]
    _, (whole,), trials = runs_of(state)
    assert whole.info.status == "FINISHED"
    assert {(r.data.tags["trial"], r.info.status) for r in trials} >= {("1", "FAILED"), ("2", "FINISHED")}

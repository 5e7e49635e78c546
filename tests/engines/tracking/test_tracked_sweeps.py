"""A sweep as a whole in MLflow's database file and in Weights & Biases without its service."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from steps.engines.tracking.sweeps import Leaderboard, TrackedTrial, tracked_sweep

KEY = "rates-0123"
SETTINGS = {"sweep.strategy": "grid", "sweep.metric": "validation_loss", "search.train.seed": {"values": [1, 2]}}


@contextmanager
def tracking(path):
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{path}/m.db")
    try:
        yield mlflow.MlflowClient()
    finally:
        mlflow.set_tracking_uri(before)


def board(*trials):
    best = min(trials, key=lambda t: t.loss)
    rows = [[t.number, t.loss] for t in trials]
    text = "".join(f"{n},{loss}\n" for n, loss in rows)
    return Leaderboard(
        {"best_trial": str(best.number)}, {"validation_loss": best.loss}, ["trial", "loss"], rows,
        {"leaderboard.csv": text}, trials,
    )  # fmt: skip


def trained(client, experiment, name, tags):
    """What a trial's training step leaves."""
    run = client.create_run(experiment, run_name=name, tags=tags).info.run_id
    client.log_param(run, "train.learning_rate", 0.1)
    for step, loss in ((5, 3.0), (10, 2.0)):
        client.log_metric(run, "loss", loss, step=step)
    client.set_terminated(run)
    return run


def test_none_where_nothing_is_known_of_the_tracker():
    assert tracked_sweep("neptune", KEY, "rates", {}) is None


@pytest.mark.slow
def test_mlflow_has_one_parent_with_the_board_however_often_the_sweep_goes_on(tmp_path):
    with tracking(tmp_path) as client:
        experiment = client.create_experiment("train", artifact_location=(tmp_path / "files").as_uri())
        earlier = trained(client, experiment, "before", {})

        def go(*trials, whole):
            sweep = tracked_sweep("mlflow", KEY, "rates", {"experiment": experiment})
            sweep.begin(SETTINGS)
            tags = sweep.trial_begins(1)
            if len(trials) == 1:
                trained(client, experiment, "run-1", tags)
            sweep.record(board(*trials))
            sweep.end(whole=whole)
            return client.get_run(tags["mlflow.parentRunId"])

        first = TrackedTrial(1, "run-1", "run-1", {"train.seed": 1}, 2.5)
        killed = go(first, whole=False)
        assert killed.info.status == "KILLED"
        second = TrackedTrial(2, "run-2", "before", {"train.seed": 2}, 1.5)
        parent = go(first, second, whole=True)
        again = go(first, second, whole=True)

        assert (parent.info.run_id, again.info.run_id) == (killed.info.run_id,) * 2
        assert again.info.status == "FINISHED"
        assert again.info.run_name == "rates"
        assert again.data.params == {k: v if isinstance(v, str) else '{"values":[1,2]}' for k, v in SETTINGS.items()}
        assert (again.data.tags["best_trial"], again.data.metrics["validation_loss"]) == ("2", 1.5)
        file = client.download_artifacts(again.info.run_id, "leaderboard.csv", str(tmp_path))
        assert Path(file).read_text() == "1,2.5\n2,1.5\n"
        assert [m.value for m in client.get_metric_history(again.info.run_id, "validation_loss")] == [2.5, 1.5, 1.5]

        # As the UI is asked for them: by sweep, sorted by what they are compared by; the parent isn't among them.
        found = client.search_runs(
            [experiment], f"tags.sweep = 'rates' and tags.mlflow.parentRunId = '{parent.info.run_id}'",
            order_by=["metrics.validation_loss ASC"],
        )  # fmt: skip
        assert [(r.info.run_name, r.data.tags["trial"], r.data.metrics["validation_loss"]) for r in found] == [
            ("run-2", "2", 1.5), ("run-1", "1", 2.5),
        ]  # fmt: skip
        # What the cache answered for has the course of the run that trained.
        assert found[0].data.tags["trained_in"] == earlier
        assert found[0].data.params == {"train.learning_rate": "0.1"}
        assert [(m.step, m.value) for m in client.get_metric_history(found[0].info.run_id, "loss")] == [(5, 3), (10, 2)]
        assert len(client.search_runs([experiment])) == 4


def test_wandb_has_a_run_with_the_board_and_one_for_a_trial_from_the_cache(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    opened, init = [], wandb.init

    @contextmanager
    def remembering(**settings):
        with init(**settings) as run:
            yield run
            opened.append((run.id, dict(run.config), dict(run.summary)))

    monkeypatch.setattr(wandb, "init", remembering)
    sweep = tracked_sweep("wandb", KEY, "rates", {"project": "p", "folder": str(tmp_path)})
    sweep.begin(SETTINGS)
    assert sweep.trial_begins(2) == {"sweep": "rates", "sweep_id": KEY, "trial": "2"}
    sweep.record(
        board(TrackedTrial(1, "run-1", "run-1", {"s": 1}, 2.5), TrackedTrial(2, "run-2", "before", {"s": [2]}, 1.5))
    )
    sweep.end(whole=True)
    (first, before, _), (second, config, summary), (third, own, found) = opened
    assert (first, second, third) == (KEY, KEY, f"{KEY}-2")
    assert before["search.train.seed"] == json.dumps(SETTINGS["search.train.seed"], separators=(",", ":"))
    assert (config["best_trial"], summary["validation_loss"], summary["leaderboard"]["nrows"]) == ("2", 1.5, 2)
    assert own == {"s": "[2]", "sweep": "rates", "sweep_id": KEY, "trial": "2", "trained_in_run": "before"}
    assert found["validation_loss"] == 1.5

"""The same recorded with every tracker that is known: MLflow in a file, Weights & Biases without its service."""

import json

import pytest

from steps.engines.tracking.trackers import tracker_of


def test_a_tracker_that_nothing_is_known_of_is_none():
    assert tracker_of("neptune") is None


@pytest.mark.slow
def test_mlflow_has_parameters_tags_and_metrics_by_step_and_parts_as_nested_runs(tmp_path):
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/m.db")
    try:
        tracker = tracker_of("mlflow")
        with mlflow.start_run() as outer, tracker.below("part"):
            tracker.params({"train.weights": {"r": 8}, "train.seed": 1})
            tracker.tags({"kind": "own"})
            tracker.metrics(3, {"loss": 1.5})
            tracker.metrics(6, {"loss": 1.0})
            inner = mlflow.active_run().info.run_id
        client = mlflow.MlflowClient()
        run = client.get_run(inner)
        assert run.data.params == {"train.weights": '{"r":8}', "train.seed": "1"}
        assert run.data.tags["mlflow.parentRunId"] == outer.info.run_id
        assert run.data.tags["kind"] == "own"
        assert [(m.step, m.value) for m in client.get_metric_history(inner, "loss")] == [(3, 1.5), (6, 1.0)]
    finally:
        mlflow.set_tracking_uri(before)


def test_wandb_has_the_same_by_the_optimizer_step(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = tracker_of("wandb")
    with wandb.init(project="p", dir=str(tmp_path)) as run, tracker.below("part"):
        tracker.params({"train.weights": {"r": 8}, "train.seed": 1})
        tracker.tags({"kind": "own"})
        tracker.metrics(3, {"loss": 1.5})
        tracker.metrics(3, {"eval_loss": 2.5})
        found = dict(run.summary)
        config = dict(run.config)
    assert config == {"train.weights": json.dumps({"r": 8}, separators=(",", ":")), "train.seed": 1, "kind": "own"}
    assert (found["loss"], found["eval_loss"], found["optimizer_step"]) == (1.5, 2.5, 3)

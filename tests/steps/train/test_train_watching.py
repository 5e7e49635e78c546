"""Training watched: samples, early stopping, the best checkpoint; that none of it changes a weight it shouldn't."""

import pytest
from support.tiny_model import tiny_dataset, tiny_row

from steps.contracts.errors import TrainingDataError
from steps.engines.lm.generate import generate
from steps.engines.lm.load import load
from steps.train.config import TrainConfig
from steps.train.train import train
from steps.train.watching.journal import read_journal

BASE = {
    "learning_rate": 3e-3, "max_steps": 6, "per_device_train_batch_size": 4, "logging_steps": 2, "save_steps": 100,
    "max_length": 128, "weights": {"kind": "lora", "r": 4, "lora_dropout": 0.1},
}  # fmt: skip
# With this learning rate the validation loss of these rows falls at first and rises then (see the first assertions).
OVERFITTING = {
    **BASE, "learning_rate": 3e-2, "max_steps": 40, "eval_steps": 2, "save_total_limit": 1, "weights": {"kind": "full"},
    "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rows = [tiny_row(i, answer=f"{i * 7919 % 97} {i * 31 % 89}") for i in range(20)]
    return tiny_dataset(tmp_path_factory.mktemp("data"), rows, validation=8)


@pytest.fixture
def run(tmp_path, tiny_model):
    def go(dataset, settings, folder="1", on_metrics=None):
        config, place = TrainConfig.model_validate(settings), tmp_path / folder
        return train(
            tiny_model, dataset, config, place / "out", place / "cp", on_metrics, journal=place / "train.jsonl"
        )

    return go


def losses(result):
    return dict(zip(*next((s.x, s.y) for s in result.report.series if s.title == "Validation loss"), strict=True))


@pytest.mark.slow
def test_samples_are_kept_and_leave_no_trace_in_the_weights(run, tmp_path, tiny_model):
    dataset = tiny_dataset(tmp_path / "same", [tiny_row(i, answer="the lazy dog") for i in range(16)])
    settings = {**BASE, "weights": {"kind": "full"}, "learning_rate": 2e-2, "max_steps": 24}
    plain = run(dataset, settings)
    prompts = ["What colour is 3?", "Hi"]
    asked = run(dataset, {**settings, "sample_steps": 12, "sample_prompts": prompts, "sample_tokens": 9}, "2")
    assert asked.model.info.digest == plain.model.info.digest
    watched = read_journal(tmp_path / "2" / "train.jsonl")
    assert [(s["step"], s["prompt"]) for s in watched.samples] == [
        (step, prompt) for step in (0, 12, 24) for prompt in prompts
    ]
    texts = [f"<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n" for p in prompts]
    answers = generate(load(tiny_model, asked.model), texts, max_new_tokens=9, batch_size=2)
    assert [s["answer"] for s in watched.samples[4:]] == [a.text for a in answers]
    assert any(a.text for a in answers)


@pytest.mark.slow
def test_the_journal_has_what_was_logged_with_speed_memory_and_time_left(run, dataset, tmp_path):
    seen = []
    run(dataset, BASE, on_metrics=lambda step, values: seen.append((step, values)))
    watched = read_journal(tmp_path / "1" / "train.jsonl")
    assert (watched.stage, watched.total, watched.step, watched.ended["status"]) == ("train", 6, 6, "finished")
    assert [step for step, _ in watched.curve("loss")] == [2, 4, 6]
    for step, values in watched.metrics.items():
        assert values == {k: v for s, found in seen if s == step for k, v in found.items()}
    assert {"grad_norm", "learning_rate", "tokens_per_second", "memory_mb", "seconds_left"} <= watched.metrics[4].keys()
    assert watched.metrics[6]["seconds_left"] == 0


@pytest.mark.slow
def test_early_stopping_and_the_best_weights_are_those_of_a_run_that_ended_there(run, dataset):
    """The judges: the same training without any of it, and one that ends at the best step of itself."""
    course = losses(run(dataset, OVERFITTING, "all"))
    steps = sorted(s for s in course if s > 0)
    best = min(steps, key=lambda s: (course[s], s))
    assert steps[0] <= best < steps[-3]
    stopped = run(dataset, {**OVERFITTING, "early_stopping_patience": 3, "load_best_model_at_end": True}, "stopped")
    found = losses(stopped)
    lowest = next(s for s in sorted(found) if s > 0 and found[s] == min(v for k, v in found.items() if k > 0))
    assert found == {s: v for s, v in course.items() if s <= max(found)}
    assert max(found) == lowest + 3 * OVERFITTING["eval_steps"]
    assert (
        stopped.model.info.digest == run(dataset, {**OVERFITTING, "max_steps": int(lowest)}, "until").model.info.digest
    )
    assert stopped.report.counts["training"]["optimizer steps"] == max(found)
    assert f"the weights are those of step {int(lowest)}, which has the lowest validation loss" in stopped.report.notes


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [4, 8])
def test_a_stopped_run_that_was_interrupted_on_the_way_ends_alike(run, dataset, tmp_path, killed_at):
    settings = {**OVERFITTING, "early_stopping_patience": 3, "load_best_model_at_end": True, "save_steps": 3}
    whole = run(dataset, settings, "whole")

    def interrupt(step, values):
        if step >= killed_at and "loss" in values:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(dataset, settings, "resumed", interrupt)
    assert read_journal(tmp_path / "resumed" / "train.jsonl").ended["status"] == "interrupted"
    resumed = run(dataset, settings, "resumed")
    assert any(n.startswith("resumed at step") for n in resumed.report.notes)
    assert resumed.model.info.digest == whole.model.info.digest
    assert losses(resumed) == losses(whole)
    # Finished: the same once more trains nothing, and takes the same weights.
    again = run(dataset, settings, "resumed", lambda step, values: pytest.fail("trained") if "loss" in values else None)
    assert again.model.info.digest == whole.model.info.digest


def test_settings_that_need_validation_losses_are_refused_without_them():
    with pytest.raises(ValueError, match="load_best_model_at_end: set eval_steps"):
        TrainConfig.model_validate({"load_best_model_at_end": True})
    with pytest.raises(ValueError, match="sample_steps is set, but there are no sample_prompts"):
        TrainConfig.model_validate({"sample_steps": 3})


@pytest.mark.slow
def test_a_loss_that_goes_away_ends_training_and_the_journal_says_where(run, dataset, tmp_path):
    settings = {**BASE, "weights": {"kind": "full"}, "learning_rate": 5.0, "max_steps": 60, "logging_steps": 1,
                "max_grad_norm": 0, "lr_scheduler_type": "linear", "warmup_steps": 50}  # fmt: skip
    with pytest.raises(TrainingDataError, match=r"the loss went away: .* the lowest was .* at step"):
        run(dataset, settings)
    ended = read_journal(tmp_path / "1" / "train.jsonl").ended
    assert ended["status"] == "failed"
    assert 3 < ended["step"] < 60
    assert "the loss went away" in ended["error"]

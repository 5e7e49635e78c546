"""Twenty kills -9, at drawn steps and inside writes, over five kinds of training: the weights are those of a run that
nobody disturbed.
"""

import random
import signal

import pytest
from support.preferences import pairs_dataset
from support.resumed import killed_at, lay_out
from support.tiny_model import tiny_dataset, tiny_row

from steps.train.config import TrainConfig
from steps.train.train import train

SAVED, STEPS, KILLS = 3, 18, 4
BASE = {
    "learning_rate": 1e-2, "max_steps": STEPS, "per_device_train_batch_size": 2, "logging_steps": 1,
    "save_steps": SAVED, "save_total_limit": 2, "max_length": 128,
}  # fmt: skip
LORA = {"kind": "lora", "r": 4, "lora_dropout": 0.1}
KINDS = {
    "full": {"weights": {"kind": "full"}, "group_by_length": True, "eval_steps": 4},
    "lora": {"weights": LORA, "neftune_noise_alpha": 5.0, "gradient_accumulation_steps": 2},
    "qlora": {"weights": {**LORA, "kind": "qlora"}},
    "half": {"weights": {"kind": "half"}},
    "dpo": {"weights": LORA, "objective": {"kind": "dpo"}},
}


def drawn(kind):
    """Steps to die at, rising: inside the write of a checkpoint, or (negative) after an optimizer step between two."""
    chosen = random.Random(kind)
    steps = sorted(chosen.sample(range(SAVED + 1, STEPS), KILLS))
    return [step if step % SAVED == 0 else -step for step in steps]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_killed_again_and_again_ends_with_the_weights_of_an_undisturbed_one(tmp_path, tiny_model, kind):
    rows = [tiny_row(i) for i in range(24)]
    dataset = (
        pairs_dataset(tmp_path / "data", 24) if kind == "dpo" else tiny_dataset(tmp_path / "data", rows, validation=4)
    )
    config = TrainConfig.model_validate({**BASE, **KINDS[kind]})
    lay_out(tiny_model, tmp_path / "base")
    for step in drawn(kind):
        died = killed_at(tmp_path, config, step)
        assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    resumed = train(tiny_model, dataset, config, tmp_path / "resumed", tmp_path / "checkpoints")
    straight = train(tiny_model, dataset, config, tmp_path / "straight", tmp_path / "other")
    assert any("resumed at step" in note for note in resumed.report.notes)
    assert resumed.model.info.files == straight.model.info.files
    assert resumed.report.series == straight.report.series


def test_kills_are_of_both_kinds():
    steps = [step for kind in KINDS for step in drawn(kind)]
    assert len(steps) == 20
    assert any(step > 0 for step in steps) and any(step < 0 for step in steps)

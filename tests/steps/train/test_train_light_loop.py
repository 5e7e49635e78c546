"""The loop without transformers' walks over all modules trains the same."""

import json

import pytest
import torch
from support.tiny_model import tiny_dataset
from transformers import Trainer
from trl import SFTTrainer

from steps.train.config import TrainConfig
from steps.train.light_loop import LightLoop
from steps.train.train import train


@pytest.mark.slow
@pytest.mark.parametrize("weights", [{"kind": "lora", "lora_dropout": 0.1}, {"kind": "full"}])
def test_the_light_loop_computes_what_transformers_does(tmp_path, tiny_model, monkeypatch, weights):
    dataset = tiny_dataset(tmp_path / "data", validation=8)
    config = TrainConfig.model_validate({
        "weights": weights, "learning_rate": 3e-3, "max_steps": 6, "per_device_train_batch_size": 4, "eval_steps": 2,
        "gradient_accumulation_steps": 2, "max_grad_norm": 0.1, "max_length": 128, "logging_steps": 1,
    })  # fmt: skip
    light = train(tiny_model, dataset, config, tmp_path / "light", tmp_path / "one")
    monkeypatch.setattr(LightLoop, "training_step", SFTTrainer.training_step)
    monkeypatch.setattr(LightLoop, "floating_point_ops", Trainer.floating_point_ops)
    monkeypatch.setattr(LightLoop, "_clip_grad_norm", Trainer._clip_grad_norm)
    plain = train(tiny_model, dataset, config, tmp_path / "plain", tmp_path / "two")
    assert light.model.info.files == plain.model.info.files
    assert light.report.series == plain.report.series
    states = [next((tmp_path / n).glob("*/checkpoint-6/trainer_state.json")) for n in ("one", "two")]
    counted = [json.loads(file.read_text())["total_flos"] for file in states]
    assert counted[0] == counted[1] > 0


def test_a_wrapped_model_that_does_not_train_yet_is_made_to(monkeypatch):
    """As with DDP, which says of itself that it trains while the model in it is as it was loaded."""
    inner = torch.nn.Dropout(0.5).eval()
    wrapped = torch.nn.Sequential(inner)
    wrapped.training = True
    seen = []

    def training_step(self, model, inputs, num_items_in_batch=None):
        model.train()
        seen.append(inner.training)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    loop = LightLoop.__new__(LightLoop)
    loop.model = inner
    loop.training_step(wrapped, {})
    loop.training_step(wrapped, {})
    assert seen == [True, True]

"""What training refuses before it starts, how an end of memory reads, and what it leaves behind."""

import gc

import pytest
import torch
from support.live_tensors import live_bytes
from support.tiny_model import tiny_dataset

from steps.contracts.errors import ConfigError
from steps.engines.subjects.local_model import Inference, local_model
from steps.train.config import TrainConfig
from steps.train.objectives import sft_trainer
from steps.train.train import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("data"), validation=4)


def settings(**changes) -> TrainConfig:
    return TrainConfig.model_validate({"max_steps": 1, "max_length": 128, "device": "cpu", **changes})


@pytest.mark.slow
@pytest.mark.parametrize("weights", [pytest.param("full", marks=pytest.mark.slow), "lora"])
def test_nothing_of_a_model_outlives_its_training_or_its_evaluation(weights, dataset, tiny_model, tmp_path) -> None:
    gc.collect()
    before = live_bytes()
    gc.disable()
    try:
        tuned = train(
            tiny_model, dataset, settings(weights={"kind": weights}), tmp_path, tmp_path / "checkpoints"
        ).model
        assert live_bytes() <= before + 1_000, "a generator's state, a count"
        with local_model("tuned", tiny_model, tuned, Inference(device="cpu")) as subject:
            subject.losses(list(dataset.iter_rows("validation")))
            assert live_bytes() > before + 4 * tiny_model.info.parameters
        assert live_bytes() <= before + 1_000
    finally:
        gc.enable()


def test_rows_longer_than_the_models_context_are_refused_before_anything_is_read(dataset, tiny_model, tmp_path) -> None:
    with pytest.raises(ConfigError) as found:
        train(tiny_model, dataset, settings(max_length=513), tmp_path / "out", tmp_path / "checkpoints")
    assert found.value.what == "max_length is 513 tokens, the model's context is 512"
    assert (found.value.where, found.value.hint) == (
        "train.max_length", "set it to at most 512, or take a model whose config.json names a longer context"
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("pass_", ["validation", "training"])
def test_an_end_of_memory_says_in_which_pass_and_what_to_lower(
    pass_, dataset, tiny_model, tmp_path, monkeypatch
) -> None:
    def full(*_, **__):
        raise torch.OutOfMemoryError("no")

    name = "token_losses" if pass_ == "validation" else "SftTrainer.training_step"
    monkeypatch.setattr(f"{sft_trainer.__name__}.{name}", full)
    with pytest.raises(ConfigError) as found:
        least = settings(per_device_train_batch_size=1, per_device_eval_batch_size=1, gradient_checkpointing=True)
        train(tiny_model, dataset, least, tmp_path, tmp_path / "checkpoints")
    assert (found.value.what, found.value.hint) == {
        "validation": (
            "out of memory on cpu in the validation loss, at per_device_eval_batch_size 1",
            "set weights.kind: qlora, or lower max_length, take a smaller model, or a machine with more memory",
        ),
        "training": (
            "out of memory on cpu at per_device_train_batch_size 1, max_length 128",
            "set weights.kind: qlora, or lower max_length, take a smaller model, or a machine with more memory",
        ),
    }[pass_]

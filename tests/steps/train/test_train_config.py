import pytest
from pydantic import ValidationError
from support.tiny_model import tiny_dataset

from steps.contracts.errors import ConfigError
from steps.train.config import LoraOptions, TrainConfig
from steps.train.plan import make_plan
from steps.train.train import train


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "full", "lora": {}}, "lora options"),
        ({"max_steps": 5, "num_train_epochs": 1}, "max_steps and num_train_epochs"),
        ({"packing": "wrapped", "group_by_length": True}, "group_by_length"),
        ({"packing": "bfd", "per_device_train_batch_size": 2}, "gradient_accumulation_steps"),
        ({"method": "full", "dtype": "bfloat16"}, "loses small updates"),
        ({"lora": {"target_modules": ["q_proj", "lm_head"]}}, "lm_head can't have an adapter"),
        ({"learning_rat": 1.0}, "Extra inputs"),
        ({"max_length": 4}, "greater than or equal to 8"),
    ],
)
def test_contradictions_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(settings)


def test_every_setting_of_the_defaults_is_accepted_again():
    assert TrainConfig.model_validate_json(TrainConfig().model_dump_json()) == TrainConfig()
    assert TrainConfig().lora_options == LoraOptions()


def test_eval_steps_without_validation_rows_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match="no validation rows"):
        train(None, tiny_dataset(tmp_path), TrainConfig(eval_steps=5), tmp_path / "out", tmp_path / "checkpoints")


def test_auto_on_a_cpu_is_float32_without_checkpointing_and_the_plain_loss_for_small_vocabularies():
    plan = make_plan(TrainConfig(device="cpu"), vocab_size=2048)
    assert (plan.dtype, plan.bf16, plan.gradient_checkpointing, plan.loss_kernel) == ("float32", False, False, "plain")
    assert make_plan(TrainConfig(device="cpu"), vocab_size=151_936).loss_kernel == "fused"
    assert make_plan(TrainConfig(device="cpu", loss_kernel="fused"), vocab_size=2048).loss_kernel == "fused"


def test_cuda_without_a_gpu_is_refused():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="no GPU"):
        make_plan(TrainConfig(device="cuda"), vocab_size=2048)

import subprocess
import sys
import typing
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.tiny_model import tiny_dataset

from steps.contracts.errors import ConfigError
from steps.train.config import TrainConfig
from steps.train.objectives.registry import OBJECTIVES, ObjectiveOptions
from steps.train.objectives.sft import SftOptions
from steps.train.plan import make_plan, plan_for
from steps.train.train import train
from steps.train.trainer import training_arguments
from steps.train.weights.full import FullOptions
from steps.train.weights.lora import LoraOptions
from steps.train.weights.registry import WEIGHTS, WeightsOptions

ROOT = Path(__file__).parents[3]
ASKED = {"kind": "grpo", "rewards": [{"grader": "rouge_l"}]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"kind": "full", "r": 4}}, "Extra inputs"),
        ({"weights": {"kind": "loha"}}, "expected tags: 'lora', 'qlora'"),
        ({"objective": {"kind": "ppo"}}, "expected tags: 'sft', 'continued_pretraining'"),
        ({"max_steps": 5, "num_train_epochs": 1}, "max_steps and num_train_epochs"),
        ({"objective": {"packing": "wrapped"}, "group_by_length": True}, "group_by_length"),
        ({"objective": {"packing": "bfd"}, "per_device_train_batch_size": 2}, "gradient_accumulation_steps"),
        ({"weights": {"kind": "full"}, "dtype": "bfloat16"}, "loses small updates"),
        ({"weights": {"kind": "lora", "target_modules": ["q_proj", "lm_head"]}}, "lm_head can't have an adapter"),
        ({"learning_rat": 1.0}, "Extra inputs"),
        ({"max_length": 4}, "greater than or equal to 8"),
        ({"optim": "sgd", "adam_beta1": 0.8}, "adam_beta1 has no effect: optim sgd keeps no such mean"),
        ({"optim": "adafactor", "adam_beta2": 0.99}, "adam_beta2 has no effect: optim adafactor"),
        ({"new_tokens_from": "mean"}, "new_tokens_from has no effect: there are no new_tokens"),
        ({"early_stopping_threshold": 0.1}, "early_stopping_threshold has no effect: nothing stops early without"),
        ({"sample_tokens": 8}, "sample_tokens has no effect: nothing is sampled without sample_steps"),
        ({"objective": {"kind": "reward"}, "sample_steps": 2, "sample_prompts": ["Hi"]}, "a reward model writes no"),
        ({"unusable_rows": "fail", "max_unusable_share": 0.5}, "max_unusable_share has no effect"),
        ({"objective": ASKED, "overlong": "truncate"}, "overlong has no effect: grpo leaves prompts out"),
        ({"rows": {"split": "validation"}, "eval_steps": 5}, "eval_steps has no effect: there is no validation loss"),
        ({"rows": {"kinds": ["conversation"]}, "objective": {"preference_as": "chosen"}},
         "objective.preference_as has no effect: rows.kinds leaves preferences out"),
        ({"weights": {"kind": "qlora", "quantization": "int8", "double_quantization": False}},
         "weights.double_quantization has no effect: int8"),
        ({"objective": ASKED | {"epsilon": 0.3}}, "Extra inputs"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(settings)


@pytest.mark.parametrize(
    "settings",
    [{"optim": "lion_32bit", "learning_rate": 1e-5, "adam_beta1": 0.8}, {"optim": "sgd", "adam_beta1": 0.9},
     {"rows": {"kinds": ["preference"]}, "objective": {"preference_as": "chosen"}},
     {"new_tokens": ["<a>"], "new_tokens_from": "mean"}],
    ids=str,
)  # fmt: skip
def test_settings_that_have_an_effect_or_are_the_defaults_are_none_in_vain(settings):
    TrainConfig.model_validate(settings)


def test_every_setting_of_the_defaults_is_accepted_again():
    assert TrainConfig.model_validate_json(TrainConfig().model_dump_json()) == TrainConfig()
    full = TrainConfig.model_validate({"weights": {"kind": "full"}})
    assert TrainConfig.model_validate_json(full.model_dump_json()) == full
    assert TrainConfig().weights == LoraOptions()


def test_eval_steps_without_validation_rows_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match="no validation rows"):
        train(None, tiny_dataset(tmp_path), TrainConfig(eval_steps=5), tmp_path / "out", tmp_path / "checkpoints")


@pytest.mark.parametrize(
    ("settings", "gpu_bf16", "formats"),
    [({}, True, (True, False)), ({}, False, (False, True)), ({"fp16": True}, True, (False, True)),
     ({"fp16": False}, False, (False, False)), ({"bf16": False}, True, (False, False))],
    ids=str,
)  # fmt: skip
def test_a_gpu_without_bfloat16_of_its_own_computes_in_float16(settings, gpu_bf16, formats, tmp_path):
    plan = plan_for(TrainConfig.model_validate(settings), 2048, "cuda", gpu_bf16=gpu_bf16)
    assert (plan.bf16, plan.fp16) == formats
    told = training_arguments(TrainConfig(), plan, tmp_path)
    assert (told["bf16"], told["fp16"]) == formats


def test_float16_on_a_cpu_and_two_formats_at_once_are_refused():
    with pytest.raises(ConfigError, match="which is for CUDA GPUs"):
        make_plan(TrainConfig(device="cpu", fp16=True), vocab_size=2048)
    with pytest.raises(ValidationError, match="bf16 and fp16 clash"):
        TrainConfig(bf16=True, fp16=True)


def test_auto_on_a_cpu_is_float32_without_checkpointing_and_the_plain_loss_for_small_vocabularies():
    plan = make_plan(TrainConfig(device="cpu"), vocab_size=2048)
    assert (plan.dtype, plan.bf16, plan.gradient_checkpointing, plan.loss_kernel) == ("float32", False, False, "plain")
    assert make_plan(TrainConfig(device="cpu"), vocab_size=151_936).loss_kernel == "fused"
    assert (
        make_plan(TrainConfig(device="cpu", objective=SftOptions(loss_kernel="fused")), vocab_size=2048).loss_kernel
        == "fused"
    )


def test_cuda_without_a_gpu_is_refused():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="can't be used here"):
        make_plan(TrainConfig(device="cuda"), vocab_size=2048)


def test_the_learning_rate_is_by_weights_unless_one_is_named():
    wanted = {"partial": {"layers": "last 1"}}
    rates = {
        kind: TrainConfig.model_validate({"weights": {"kind": kind, **wanted.get(kind, {})}}).peak_learning_rate
        for kind in WEIGHTS
    }
    assert rates == {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5, "half": 2e-5, "partial": 2e-5}
    named = TrainConfig(learning_rate=3e-3, weights=FullOptions())
    assert named.peak_learning_rate == named.in_force()["learning_rate"] == 3e-3
    assert TrainConfig().in_force()["learning_rate"] == 2e-4
    assert make_plan(TrainConfig(device="cpu"), vocab_size=2048).learning_rate == 2e-4


def test_every_member_of_the_unions_is_registered():
    def kinds(union):
        options = typing.get_args(typing.get_args(union)[0]) if typing.get_args(union) else (union,)
        return {member.model_fields["kind"].default for member in options}

    assert kinds(WeightsOptions) == set(WEIGHTS)
    assert kinds(ObjectiveOptions) == set(OBJECTIVES)


def test_a_config_is_read_without_torch_and_every_setting_is_described():
    code = "import sys, steps.train.config; sys.exit(bool({'torch', 'peft', 'trl', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    schema = TrainConfig.model_json_schema()
    for model in (schema, *schema["$defs"].values()):
        assert [name for name, field in model.get("properties", {}).items() if not field.get("description")] == []

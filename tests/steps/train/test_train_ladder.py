"""What a run can do where memory is short: the order of the changes, and what they leave as it was."""

import pytest
from pydantic import ValidationError

from steps.train.config import TrainConfig
from steps.train.planning.ladder import changed_config, other_training, same_steps, smallest_that
from steps.train.settings import Plan

CPU = Plan("cpu", "float32", False, False, "plain", 2e-4)
GPU = Plan("cuda", "bfloat16", True, True, "fused", 2e-4)


def rungs(rows: int, passes: int, plan: Plan = GPU) -> list[str]:
    config = TrainConfig(per_device_train_batch_size=rows, gradient_accumulation_steps=passes)
    return [" ".join(r.arguments("train.0")) for r in same_steps(config, plan)]


def test_passes_become_smaller_first_and_only_such_as_make_the_same_step() -> None:
    key = "train.0.per_device_train_batch_size={} train.0.gradient_accumulation_steps={}".format
    assert rungs(8, 1) == [key(4, 2), key(2, 4), key(1, 8)]
    assert rungs(6, 1) == [key(3, 2), key(2, 3), key(1, 6)]
    assert rungs(4, 3) == [key(3, 4), key(2, 6), key(1, 12)]
    assert rungs(1, 8) == []


def test_then_activations_are_computed_again_with_the_passes_as_asked_first() -> None:
    assert [r.words for r in same_steps(TrainConfig(per_device_train_batch_size=2), CPU)] == [
        "per_device_train_batch_size: 1, gradient_accumulation_steps: 2",
        "gradient_checkpointing: true",
        "per_device_train_batch_size: 1, gradient_accumulation_steps: 2, gradient_checkpointing: true",
    ]


def test_a_loss_of_whole_batches_is_not_computed_in_smaller_passes() -> None:
    config = TrainConfig.model_validate({"objective": {"kind": "kto"}, "per_device_train_batch_size": 4})
    assert [r.words for r in same_steps(config, CPU)] == ["gradient_checkpointing: true"]
    assert list(same_steps(config, GPU)) == []


def test_no_rung_changes_the_rows_of_a_step_their_length_or_the_plan_besides() -> None:
    config = TrainConfig(per_device_train_batch_size=12, gradient_accumulation_steps=2, max_length=4096)
    found = list(same_steps(config, CPU))
    assert len(found) == 13  # 8, 6, 4, 3, 2, 1 rows; and 12 and these again
    for rung in found:
        asked = {"per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing"}
        assert rung.config.per_device_train_batch_size * rung.config.gradient_accumulation_steps == 24
        assert rung.config.model_copy(update={k: getattr(config, k) for k in asked}) == config
        assert rung.plan.gradient_checkpointing is bool(rung.changes.get("gradient_checkpointing", False))


def test_of_what_trains_otherwise_each_comes_with_as_little_as_it_takes() -> None:
    config = TrainConfig(weights={"kind": "full"}, per_device_train_batch_size=4)

    def fits(changed: TrainConfig, plan: Plan) -> bool:
        return changed.weights.kind == "lora" and changed.per_device_train_batch_size <= 2

    same, others = smallest_that(fits, config, GPU)
    assert same is None
    assert others[0].arguments() == (
        "train.weights.kind=lora", "train.per_device_train_batch_size=2", "train.gradient_accumulation_steps=2",
    )  # fmt: skip
    assert others[0].price == "trains lora instead of full; more and smaller passes per step"


def test_all_weights_then_an_adapter_then_one_over_quantized_weights() -> None:
    config = TrainConfig(weights={"kind": "full"})
    _, others = smallest_that(lambda *_: True, config, GPU)
    assert [r.words for r in others] == ["optim: adamw_8bit", "weights.kind: lora", "weights.kind: qlora"]
    _, others = smallest_that(lambda *_: True, TrainConfig(weights={"kind": "lora", "r": 64}), GPU)
    assert [r.words for r in others] == ["weights.kind: qlora"]
    assert others[0].config.weights.r == 64


def test_options_that_the_lighter_kind_does_not_have_are_left_out() -> None:
    config = TrainConfig(weights={"kind": "lora", "r": 64, "init_lora_weights": "pissa"})
    _, others = smallest_that(lambda *_: True, config, GPU)
    assert others[0].arguments("train.1") == ("train.1.weights={kind: qlora}",)
    assert others[0].config.weights.r == 16


def test_an_adapter_over_weights_in_float32_can_lie_over_weights_in_16_bits() -> None:
    plan = Plan("cuda", "float32", False, True, "fused", 2e-4)
    assert "dtype: bfloat16" not in [r.words for r in other_training(TrainConfig(), plan)], "it would be emulated"
    assert next(other_training(TrainConfig(), CPU)).words == "dtype: bfloat16"
    assert "dtype: bfloat16" not in [r.words for r in other_training(TrainConfig(), GPU)]


def test_changes_that_contradict_the_rest_are_refused() -> None:
    config = TrainConfig(objective={"kind": "sft", "packing": "bfd"}, per_device_train_batch_size=1)
    with pytest.raises(ValidationError, match="packing bfd needs"):
        changed_config(config, {"per_device_train_batch_size": 2})

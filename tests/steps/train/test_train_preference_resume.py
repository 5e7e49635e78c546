import pytest
from support.preferences import pairs_dataset
from support.resumed import check_resumed_after_a_kill

from steps.train.config import TrainConfig

LORA = {"kind": "lora", "lora_dropout": 0.1}
SETTINGS = {
    "dpo, lora": {"objective": {"kind": "dpo"}, "weights": LORA, "group_by_length": True},
    "dpo, full": {"objective": {"kind": "dpo", "sft_weight": 0.5}},
    "kto, lora": {"objective": {"kind": "kto"}, "weights": LORA},
    "kto, full": {"objective": {"kind": "kto"}},
    "orpo, full": {"objective": {"kind": "orpo"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_killed_while_saving_resumes_to_the_weights_of_an_undisturbed_one(tmp_path, tiny_model, name):
    config = TrainConfig.model_validate(
        {
            "weights": {"kind": "full"}, "learning_rate": 1e-3, "max_steps": 14, "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2, "save_steps": 4, "save_total_limit": 1, "logging_steps": 1,
            "max_length": 128, **SETTINGS[name],
        }
    )  # fmt: skip
    check_resumed_after_a_kill(tmp_path, tiny_model, pairs_dataset(tmp_path / "data"), config, 8)

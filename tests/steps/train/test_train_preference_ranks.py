import pytest
from support.preferences import pairs_dataset

from steps.train.config import TrainConfig
from steps.train.ranks.config import Ranks
from steps.train.train import train


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["dpo", "orpo"])
def test_two_ranks_have_the_losses_and_the_measures_of_one_process(tiny_model, tmp_path, objective):
    """48 pairs in batches of 4: no batch of a pass is smaller than the others."""
    config = TrainConfig.model_validate(
        {"objective": {"kind": objective}, "weights": {"kind": "full"}, "learning_rate": 3e-3, "max_steps": 14,
         "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 1, "max_length": 128,
         "device": "cpu"}
    )  # fmt: skip
    dataset = pairs_dataset(tmp_path / "data", 52, validation=4)
    one, both = (
        train(tiny_model, dataset, config, tmp_path / str(n), tmp_path / str(n) / "c", ranks=Ranks(processes=n)).report
        for n in (1, 2)
    )
    assert both.counts == one.counts
    for ours, alone in zip(both.series, one.series, strict=True):
        assert ours.y == pytest.approx(alone.y, rel=1e-4, abs=1e-5), ours.title

import pytest
from support.preferences import pairs_dataset
from support.resumed import ROOT, asked
from support.tiny_model import build_tiny_model, tiny_dataset

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


SHARED = {
    "weights": {"kind": "full"}, "learning_rate": 1e-2, "max_steps": 12, "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2, "logging_steps": 1, "max_length": 64, "device": "cpu",
    "lr_scheduler_type": "constant_with_warmup",
}  # fmt: skip
ANSWERS = {"max_completion_length": 12}
DRAWING = {
    "grpo": {"rewards": [{"function": "support.preferences:blanks"}], "num_generations": 4, "beta": 0.02, **ANSWERS},
    "rloo": {"rewards": [{"function": "support.preferences:blanks"}], "num_generations": 4, "beta": 0.02, **ANSWERS},
    "distill": {"divergence": 0.0, **ANSWERS},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DRAWING)
def test_two_ranks_that_draw_answers_learn_and_draw_the_same_again(tiny_model, tmp_path, monkeypatch, kind):
    """Each draws answers of its own, so that they are others than one process draws."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    more = {"teacher": {"model": str(build_tiny_model(tmp_path / "teacher", seed=5).path)}} if kind == "distill" else {}
    config = TrainConfig.model_validate({**SHARED, "objective": {"kind": kind, **DRAWING[kind], **more}})
    dataset = tiny_dataset(tmp_path / "data", validation=4)
    found = [
        train(
            tiny_model, dataset, config, tmp_path / n, tmp_path / n / "c", ranks=Ranks(processes=2), asked=asked(config)
        )
        for n in ("one", "two")
    ]
    assert found[0].model.info.files == found[1].model.info.files
    course = found[0].report.series[0].y
    assert (sum(course[-4:]) - sum(course[:4])) * (-1 if kind == "distill" else 1) > 0

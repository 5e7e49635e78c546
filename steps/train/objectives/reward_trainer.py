"""TRL's RewardTrainer over pairs that are encoded already, with exact measures on the validation pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from trl import RewardConfig, RewardTrainer

from steps.engines.lm.load import LoadedModel
from steps.engines.lm.scorer import as_scorer, scores
from steps.engines.scoring.wilson import wilson
from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.preference_measures import share_larger
from steps.train.objectives.preference_trainer import PAIR, AnswerTrainer
from steps.train.settings import Plan, TrainSettings
from steps.train.trainer import training_arguments

# Pairs whose tokens are in memory at once.
_CHUNK = 256
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rewarded:
    """Rewards and lengths (tokens, with the prompt) of both answers of pairs; shape (pairs,) each."""

    chosen: Floats
    rejected: Floats
    chosen_length: Floats
    rejected_length: Floats

    def at(self, places: Any) -> "Rewarded":
        """Those of some of the pairs."""
        return Rewarded(
            self.chosen[places], self.rejected[places], self.chosen_length[places], self.rejected_length[places]
        )


class PairCollator:
    """Chosen answers, then rejected ones, padded on the right by the id that the model looks for."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors of shape (2 x rows, longest)."""
        ids = [row[f"{name}input_ids"] for name in PAIR for row in rows]
        width = max(map(len, ids))
        return {
            "input_ids": torch.tensor([[*one, *[self.pad] * (width - len(one))] for one in ids]),
            "attention_mask": torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in ids]),
        }


class PairRewardTrainer(AnswerTrainer, RewardTrainer):
    """RewardTrainer that leaves encoded rows as they are."""

    center_rewards: float

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """They are encoded."""
        return dataset

    def counted(self, inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of a batch; what is trained is a number per answer."""
        return inputs["attention_mask"].sum(), torch.as_tensor(len(inputs["input_ids"]))

    def scored_validation(self) -> Rewarded:
        """Both answers of each validation pair."""
        was_training = self.model.training
        self.model.eval()
        loaded = LoadedModel(self.model, self.processing_class, str(self.args.device))
        found: dict[str, list[float]] = {name: [] for name in PAIR}
        lengths: dict[str, list[int]] = {name: [] for name in PAIR}
        try:
            for start in range(0, len(self.eval_dataset), _CHUNK):
                part = self.eval_dataset[start : start + _CHUNK]
                for name in PAIR:
                    ids = part[f"{name}input_ids"]
                    lengths[name] += map(len, ids)
                    with self.compute_loss_context_manager():
                        found[name] += scores(loaded, ids, batch_size=self.args.per_device_eval_batch_size)
        finally:
            self.model.train(was_training)
        return Rewarded(*(np.array(v, np.float64) for v in (*found.values(), *lengths.values())))

    def measures(self, found: Rewarded, places: Any) -> dict[str, float]:
        """The loss, and how often the chosen answer has the larger reward, with Wilson's interval (a tie counts as half
        a pair); beside it how often the longer answer is the chosen one, which is what a lazy model learns.
        """
        pairs = found.at(places)
        gap = pairs.chosen - pairs.rejected
        accuracy = share_larger(pairs.chosen, pairs.rejected)
        interval = wilson(math.floor(accuracy * len(gap) + 0.5), len(gap))
        assert interval is not None
        total = pairs.chosen + pairs.rejected
        return {
            "eval_loss": float((np.logaddexp(0, -gap) + self.center_rewards * total**2).mean()),
            "eval_accuracy": accuracy,
            "eval_accuracy_low": interval.low,
            "eval_accuracy_high": interval.high,
            "eval_margin": float(gap.mean()),
            "eval_mean_reward": float(total.mean() / 2),
            "eval_longer_accuracy": share_larger(pairs.chosen_length, pairs.rejected_length),
        }


def build_trainer(parts: TrainerParts, center_rewards: float) -> PairRewardTrainer:
    """A trainer over pairs (columns of `answer_forms.Pairs`) of the model's layers below a new head."""
    tokenizer, settings, peft_config = parts.tokenizer, parts.settings, parts.peft_config
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if peft_config is not None:
        peft_config.task_type, peft_config.modules_to_save = "SEQ_CLS", ["score"]
    trainer = PairRewardTrainer(
        **replace(parts, model=as_scorer(parts.model, pad, settings.seed)).named(),
        args=reward_config(settings, center_rewards, parts.plan, parts.checkpoints),
        data_collator=PairCollator(pad),
        train_dataset=parts.rows.train,
    )
    trainer.center_rewards = center_rewards
    parts.give_validation(trainer)
    return trainer


def reward_config(settings: TrainSettings, center_rewards: float, plan: Plan, checkpoints: Path) -> RewardConfig:
    """TRL's arguments for settings, a weight and a plan."""
    return RewardConfig(
        **training_arguments(settings, plan, checkpoints),
        center_rewards_coefficient=center_rewards or None,
        # Rows are within it already, and have columns that no model takes.
        max_length=None,
        remove_unused_columns=False,
    )

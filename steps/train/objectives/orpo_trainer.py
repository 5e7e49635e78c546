"""TRL's ORPOTrainer over pairs that are encoded already, with exact measures on the validation pairs."""

from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PreTrainedTokenizerBase
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.utils import disable_dropout_in_model

from steps.engines.template.render import IGNORED
from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.orpo_options import OrpoOptions
from steps.train.objectives.preference_measures import PairScores, orpo_measures
from steps.train.objectives.preference_trainer import PAIR, AnswerTrainer, padded
from steps.train.settings import Plan, TrainSettings
from steps.train.trainer import training_arguments


class OrpoTrainer(AnswerTrainer, ORPOTrainer):
    """ORPOTrainer that leaves encoded rows as they are, and trains the chosen answer without its prompt."""

    options: OrpoOptions

    def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:
        """Nothing: rows are encoded."""
        return {}

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
        """TRL's, with the likelihood of the chosen answers' tokens in the place of that of prompt and answer."""
        found = super().concatenated_forward(model, batch)
        tokens = (batch["chosen_labels"][:, 1:] != IGNORED).sum(-1)
        return (*found[:4], -(found[0] * tokens).sum() / tokens.sum(), *found[5:])

    def counted(self, inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and trained tokens of a batch."""
        tokens = torch.stack([inputs[f"{name}attention_mask"].sum() for name in PAIR]).sum()
        return tokens, torch.stack([(inputs[f"{name}labels"] != IGNORED).sum() for name in PAIR]).sum()

    def scored_validation(self) -> PairScores:
        """Both answers of each pair."""
        return self.scored_pairs(self.eval_dataset)

    def measures(self, found: PairScores, places: Any) -> dict[str, float]:
        """The loss and its two parts, and log-probabilities."""
        return orpo_measures(found.at(places), self.options.beta)


def pair_batch(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pairs as TRL's ORPOTrainer takes them: chosen and rejected answers apart; shape (pairs, longest) each."""
    batch = {}
    for name in PAIR:
        found = padded([(row[f"{name}input_ids"], row[f"{name}labels"]) for row in rows])
        batch.update({f"{name}{key}": values for key, values in found.items()})
    return batch


def build_trainer(parts: TrainerParts, options: OrpoOptions) -> OrpoTrainer:
    """A trainer over pairs (columns of `answer_forms.Pairs`). There is no reference model."""
    model, rows = parts.model, parts.rows
    # Of the model alone: an adapter's own dropout is what the config asks for.
    disable_dropout_in_model(model)
    trainer = OrpoTrainer(
        **parts.named(),
        args=orpo_config(parts.settings, options, parts.plan, parts.checkpoints, parts.tokenizer),
        data_collator=pair_batch,
        # TRL goes through these three times, and copies them.
        train_dataset=datasets.Dataset.from_list([{"prompt": "", "chosen": "", "rejected": ""}]),
    )
    trainer.options = options
    trainer.train_dataset = rows.train
    parts.give_validation(trainer)
    return trainer


def orpo_config(
    settings: TrainSettings, options: OrpoOptions, plan: Plan, checkpoints: Path, tokenizer: PreTrainedTokenizerBase
) -> ORPOConfig:
    """TRL's arguments for settings, options and a plan."""
    return ORPOConfig(
        **training_arguments(settings, plan, checkpoints),
        beta=options.beta,
        # Padding is masked.
        padding_value=tokenizer.pad_token_id or 0,
        disable_dropout=False,
        # Rows are within it already, and have columns that no model takes.
        max_length=settings.max_length,
        remove_unused_columns=False,
    )

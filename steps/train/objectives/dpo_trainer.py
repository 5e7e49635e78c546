"""TRL's DPOTrainer over pairs that are encoded already, with exact measures on the validation pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from trl import DPOConfig, DPOTrainer
from trl.trainer.utils import disable_dropout_in_model

from steps.engines.lm.load import core_of
from steps.train.objectives.dpo_options import DpoOptions
from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.preference_measures import (
    PairScores,
    negative_log_likelihood,
    pair_losses,
    pair_measures,
)
from steps.train.objectives.preference_trainer import (
    PAIR,
    AnswerTrainer,
    Referenced,
    adapter_can_be_taken_off,
    give_plain_head,
    kept_beside_checkpoints,
    masked,
)
from steps.train.settings import Plan, TrainSettings
from steps.train.trainer import training_arguments


class DpoTrainer(AnswerTrainer, DPOTrainer):
    """DPOTrainer that leaves encoded rows as they are, and whose reference is the model that training starts from."""

    options: DpoOptions
    reference: PairScores | None = None

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def scored_validation(self) -> PairScores:
        """Both answers of each pair."""
        return self.scored_pairs(self.eval_dataset)

    def measures(self, found: PairScores, places: Any) -> dict[str, float]:
        """The loss, rewards with their margins and accuracy, and log-probabilities."""
        assert self.reference is not None
        options, found, reference = self.options, found.at(places), self.reference.at(places)
        losses = pair_losses(found, reference, options.loss, options.beta, options.label_smoothing)
        loss = float(losses.mean()) + options.sft_weight * negative_log_likelihood(found.chosen)
        return {"eval_loss": loss, **pair_measures(found, reference, options.beta)}


def pair_batch(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pairs as TRL's DPOTrainer takes them: the chosen answers, then the rejected ones; shape (2 x pairs, longest)."""
    sequences = [(row[f"{name}input_ids"], row[f"{name}labels"]) for name in PAIR for row in rows]
    names = [name for name in ("ref_chosen_logps", "ref_rejected_logps") if name in rows[0]]
    return {**masked(sequences), **{name: torch.tensor([row[name] for row in rows]) for name in names}}


def build_trainer(parts: TrainerParts, options: DpoOptions) -> DpoTrainer:
    """A trainer over pairs (columns of `answer_forms.Pairs`).

    The reference model is the one that training starts from: without the adapter, where that adds nothing at first;
    else what it says of the pairs is computed before the first step.
    """
    model, rows, plan, checkpoints = parts.model, parts.rows, parts.plan, parts.checkpoints
    precomputes = not adapter_can_be_taken_off(parts.peft_config)
    # Of the model alone: an adapter's own dropout is what the config asks for.
    disable_dropout_in_model(model)
    trainer = DpoTrainer(
        **parts.named(),
        args=dpo_config(parts.settings, options, plan, checkpoints, precomputes),
        data_collator=pair_batch,
        train_dataset=rows.train,
    )
    trainer.options = options
    parts.give_validation(trainer)
    if plan.loss_kernel == "plain":
        give_plain_head(core_of(trainer.model))
    if rows.validation is not None:
        trainer.reference = trainer.scored_pairs(rows.validation)
    if precomputes:
        trainer.train_dataset = Referenced(
            rows.train, **kept_beside_checkpoints(checkpoints / "reference.npz", lambda: _logps(trainer, rows.train))
        )
    return trainer


def _logps(trainer: DpoTrainer, rows: Any) -> dict[str, Any]:
    found = trainer.scored_pairs(rows)
    return {
        "ref_chosen_logps": found.chosen.logps.astype(np.float32),
        "ref_rejected_logps": found.rejected.logps.astype(np.float32),
    }


def losses_of(options: DpoOptions) -> tuple[list[str], list[float]]:
    """TRL's names of the losses that are added up, and their weights."""
    # TRL smooths the sigmoid loss under this name alone.
    losses, weights = ["robust" if options.label_smoothing else str(options.loss)], [1.0]
    if options.sft_weight:
        losses, weights = [*losses, "sft"], [*weights, options.sft_weight]
    return losses, weights


def dpo_config(
    settings: TrainSettings, options: DpoOptions, plan: Plan, checkpoints: Path, precomputes: bool
) -> DPOConfig:
    """TRL's arguments for settings, options and a plan."""
    losses, weights = losses_of(options)
    return DPOConfig(
        **training_arguments(settings, plan, checkpoints),
        loss_type=losses,
        loss_weights=weights,
        beta=options.beta,
        label_smoothing=options.label_smoothing,
        precompute_ref_log_probs=precomputes,
        disable_dropout=False,
        # Rows are within max_length already, and have columns that no model takes.
        max_length=None,
        remove_unused_columns=False,
    )

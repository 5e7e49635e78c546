"""TRL's KTOTrainer over labelled answers that are encoded already, with exact measures on the validation rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch
from trl import KTOConfig, KTOTrainer
from trl.trainer.utils import disable_dropout_in_model

from steps.engines.lm.load import core_of
from steps.engines.template.render import IGNORED
from steps.train.objectives.kto_options import KtoOptions
from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.preference_measures import LabelledScores, kto_measures
from steps.train.objectives.preference_trainer import (
    AnswerTrainer,
    Referenced,
    adapter_can_be_taken_off,
    give_plain_head,
    kept_beside_checkpoints,
    masked,
)
from steps.train.settings import Plan, TrainSettings
from steps.train.trainer import training_arguments

_MISMATCHED = "KL_"


class KtoTrainer(AnswerTrainer, KTOTrainer):
    """KTOTrainer that leaves encoded rows as they are, and whose reference is the model that training starts from."""

    options: KtoOptions
    weights: Mapping[bool, float]
    validation: "Mismatched | None" = None
    reference: LabelledScores | None = None

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def scored_labelled(self, rows: "Mismatched") -> LabelledScores:
        """Answers, and those to other prompts, under the model as it is now."""
        own, mismatched = (self.scored(rows, prefix) for prefix in ("", _MISMATCHED))
        return LabelledScores(own, mismatched, np.asarray(rows["label"], bool))

    def scored_validation(self) -> LabelledScores:
        """Every answer."""
        assert self.validation is not None
        return self.scored_labelled(self.validation)

    def measures(self, found: LabelledScores, places: Any) -> dict[str, float]:
        """The loss, the divergence, rewards with their margin and accuracy."""
        assert self.reference is not None
        return kto_measures(found.at(places), self.reference.at(places), self.options.beta, self.weights)


class Mismatched(torch.utils.data.Dataset[dict[str, Any]]):
    """Encoded answers, each with its prompt before the answer of another row, by which KTO estimates how far the model
    has gone from its reference.
    """

    def __init__(self, rows: datasets.Dataset, batch: int, max_length: int) -> None:
        """`batch`: rows whose answers go round among themselves. What gets longer than `max_length` is cut."""
        self.rows, self.partners, self.max_length = rows, partners(len(rows), batch), max_length

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | slice | str) -> Any:
        """A row, a batch of them as lists, or a column of all."""
        if isinstance(key, str):
            return self.rows[key]
        if isinstance(key, slice):
            found = [self[i] for i in range(*key.indices(len(self)))]
            return {name: [row[name] for row in found] for name in found[0]}
        row, other = self.rows[key], self.rows[int(self.partners[key])]
        at, from_ = _answer_start(row), _answer_start(other)
        for name in ("input_ids", "labels"):
            row[f"{_MISMATCHED}{name}"] = [*row[name][:at], *other[name][from_:]][: self.max_length]
        return row


def partners(rows: int, batch: int) -> npt.NDArray[np.int64]:
    """Whose answer each row is given: that of the row before it in its batch, the first that of the last.

    Shape (rows,). A row that is alone in the last batch is given the one before all the same.
    """
    places = np.arange(rows)
    first = places // batch * batch
    last = np.minimum(first + batch, rows) - 1
    return np.where((places == first) & (first < last), last, (places - 1) % max(rows, 1))


def _answer_start(row: Mapping[str, Any]) -> int:
    return next(i for i, label in enumerate(row["labels"]) if label != IGNORED)


def labelled_batch(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Answers as TRL's KTOTrainer takes them; shape (rows, longest) each, and (rows,) of labels and references."""
    numbers = [name for name in ("ref_logps", "ref_KL_logps") if name in rows[0]]
    return {
        **masked([(row["input_ids"], row["labels"]) for row in rows]),
        **masked([(row[f"{_MISMATCHED}input_ids"], row[f"{_MISMATCHED}labels"]) for row in rows], _MISMATCHED),
        **{name: torch.tensor([row[name] for row in rows]) for name in ("label", *numbers)},
    }


def label_weights(options: KtoOptions, labels: npt.NDArray[np.bool_]) -> dict[bool, float]:
    """Weight of an answer's loss by its label; what is auto makes both labels weigh the same."""
    counts = {True: int(labels.sum()), False: int((~labels).sum())}
    given = {True: options.desirable_weight, False: options.undesirable_weight}
    return {label: _weight(given[label], given[not label], counts[label], counts[not label]) for label in counts}


def _weight(own: float | str, other: float | str, answers: int, others: int) -> float:
    if own != "auto":
        return float(own)
    if not answers or not others:
        return 1.0
    return max(1.0, others / answers) if other == "auto" else float(other) * others / answers


def build_trainer(parts: TrainerParts, options: KtoOptions) -> KtoTrainer:
    """A trainer over labelled answers (columns of `answer_forms.LabelledAnswers`), with the reference as in dpo.

    Rows are drawn into an order once, by the seed: batches stay what they are in every epoch, since the answers that go
    round in one are those that it trains.
    """
    model, rows, settings, plan, checkpoints = parts.model, parts.rows, parts.settings, parts.plan, parts.checkpoints
    precomputes = not adapter_can_be_taken_off(parts.peft_config)
    # Of the model alone: an adapter's own dropout is what the config asks for.
    disable_dropout_in_model(model)
    drawn = rows.train.select(np.random.default_rng(settings.seed).permutation(len(rows.train)))
    train_rows = Mismatched(drawn, settings.per_device_train_batch_size, settings.max_length)
    weights = label_weights(options, np.asarray(drawn["label"], bool))
    trainer = KtoTrainer(
        **parts.named(),
        args=kto_config(settings, options, weights, plan, checkpoints, precomputes),
        data_collator=labelled_batch,
        train_dataset=drawn,
    )
    trainer.options, trainer.weights = options, weights
    trainer.notes = (f"a wanted answer's loss weighs {weights[True]:.3g}, an unwanted one's {weights[False]:.3g}",)
    trainer.train_dataset = train_rows
    parts.give_validation(trainer)
    if plan.loss_kernel == "plain":
        give_plain_head(core_of(trainer.model))
    if rows.validation is not None:
        trainer.validation = Mismatched(rows.validation, len(rows.validation), settings.max_length)
        trainer.reference = trainer.scored_validation()
    if precomputes:
        trainer.train_dataset = Referenced(
            train_rows, **kept_beside_checkpoints(checkpoints / "reference.npz", lambda: _logps(trainer, train_rows))
        )
    return trainer


def _logps(trainer: KtoTrainer, rows: Mismatched) -> dict[str, Any]:
    found = trainer.scored_labelled(rows)
    return {
        "ref_logps": found.own.logps.astype(np.float32),
        "ref_KL_logps": found.mismatched.logps.astype(np.float32),
    }


def kto_config(
    settings: TrainSettings,
    options: KtoOptions,
    weights: Mapping[bool, float],
    plan: Plan,
    checkpoints: Path,
    precomputes: bool,
) -> KTOConfig:
    """TRL's arguments for settings, options and a plan."""
    return KTOConfig(
        **training_arguments(settings, plan, checkpoints) | {"train_sampling_strategy": "sequential"},
        beta=options.beta,
        desirable_weight=weights[True],
        undesirable_weight=weights[False],
        precompute_ref_log_probs=precomputes,
        disable_dropout=False,
        # Rows are within max_length already, and have columns that no model takes.
        max_length=None,
        remove_unused_columns=False,
    )

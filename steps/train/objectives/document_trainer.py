"""TRL's SFTTrainer over packs of documents, with the perplexity of held-out ones."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from steps.engines.lm.loss import IGNORED
from steps.engines.scoring.metrics import LARGEST_LOSS
from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.sft_trainer import SftTrainer, mean_loss, require_blind_packs, sft_config
from steps.train.packing import Packing, packed


class PackCollator:
    """Packs side by side, padded on the right; positions begin anew in each sequence, which hides it from the others.

    No attention mask goes with them: with one, or with a cache, models would build one dense mask, and sequences would
    see each other. What is padded is a sequence of its own.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, packs: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors of shape (packs, longest pack)."""
        width = max(len(p["input_ids"]) for p in packs)
        ids = [p["input_ids"] + [self.pad] * (width - len(p["input_ids"])) for p in packs]
        labels = [p["labels"] + [IGNORED] * (width - len(p["labels"])) for p in packs]
        positions = [
            torch.cat([torch.arange(n) for n in (*p["seq_lengths"], width - sum(p["seq_lengths"]))]) for p in packs
        ]
        return {
            "input_ids": torch.tensor(ids),
            "labels": torch.tensor(labels),
            "position_ids": torch.stack(positions),
            "tokens": torch.tensor(sum(len(p["input_ids"]) for p in packs)),
        }


class DocumentTrainer(SftTrainer):
    """SFTTrainer over packs. `evaluate()` gives `eval_loss`, nats per token of the held-out documents, each by itself,
    their `eval_perplexity`, and `eval_replay_loss` of the held-out rows of what is replayed.
    """

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; padding isn't counted."""
        tokens = inputs.pop("tokens")
        loss = super().training_step(model, inputs, num_items_in_batch)
        # It counted all there is.
        assert self.tokens_seen is not None
        self.tokens_seen += tokens - inputs["input_ids"].numel()
        return loss

    def _validation_losses(self) -> dict[str, float]:
        losses = self._row_losses()
        replayed = self.eval_dataset["replay"]
        of = {again: [one for one, r in zip(losses, replayed, strict=True) if r is again] for again in (False, True)}
        found = self._by_source(losses)
        if of[False]:
            mean = mean_loss(of[False])
            found |= {"eval_loss": mean, "eval_perplexity": math.exp(min(mean, LARGEST_LOSS))}
        if of[True]:
            found |= {"eval_replay_loss": mean_loss(of[True])}
        return found


def build_trainer(parts: TrainerParts, packing: Packing) -> DocumentTrainer:
    """A trainer over rows that are tokenised already (columns input_ids, labels, length, replay); they are packed here,
    into a file beside theirs (beside the checkpoints where they have none).
    """
    rows, settings, plan, checkpoints = parts.rows, parts.settings, parts.plan, parts.checkpoints
    if packing == "bfd":
        require_blind_packs(parts.model)
    mapped = rows.train.cache_files
    folder = Path(mapped[0]["filename"]).parent if mapped else checkpoints
    # TRL's constructor seeds torch before it makes the adapter.
    trainer = DocumentTrainer(
        **parts.named(),
        args=sft_config(settings, "none", plan, checkpoints),
        train_dataset=packed(rows.train, packing, settings.max_length, folder / "packs.arrow"),
        data_collator=PackCollator(parts.tokenizer.pad_token_id or 0),
    )
    trainer.plan = plan
    parts.give_validation(trainer)
    return trainer

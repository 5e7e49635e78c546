"""Supervised fine-tuning: what the assistant says is trained, with the marker that ends its turn."""

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from steps.contracts.records import Row
from steps.contracts.reports import Frozen
from steps.train.objectives.objective import Curve, LossKernel, Objective, TrainerParts
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    from steps.train.objectives.sft_trainer import SftTrainer

_NATS = "nats per trained token"
# Chosen: up to here the full logits of a CPU-sized batch are small, and the plain loss is measured to be faster.
_PLAIN_LOSS_VOCAB = 32_768
# bfd flattens a batch of packs into one sequence; without flash attention its cost grows with the square of
# batch × max_length (measured on a CPU, 512 tokens: 97 ms a step at batch 1, 1,951 ms at 8).
_BFD = "packing bfd needs per_device_train_batch_size 1; use gradient_accumulation_steps for larger steps"


def loss_kernel(wanted: Literal["auto", "fused", "plain"], device: str, vocab_size: int) -> LossKernel:
    """The one asked for; auto: plain on a CPU with a small vocabulary."""
    if wanted != "auto":
        return wanted
    return "plain" if device == "cpu" and vocab_size <= _PLAIN_LOSS_VOCAB else "fused"


class SftOptions(Frozen):
    """Supervised fine-tuning on the assistant's tokens, by TRL's SFTTrainer."""

    kind: Literal["sft"] = Field("sft", description="Supervised fine-tuning on the assistant's tokens.")
    preference_as: Literal["skip", "chosen"] = Field(
        "skip", description="Preference rows: leave them out, or train on the chosen answer."
    )
    packing: Literal["none", "bfd", "wrapped"] = Field(
        "none",
        description="bfd: whole rows share a sequence without seeing each other; wrapped: one stream, cut anywhere.",
    )
    loss_kernel: Literal["auto", "fused", "plain"] = Field(
        "auto",
        description="fused: TRL's chunked head, saves the logits' memory; plain: 1.6 to 1.85 times faster on a CPU with"
        " a vocabulary of 2,048. auto: plain on a CPU with at most 32,768 tokens, else fused.",
    )


class Sft(Objective):
    """Conversations, wanted answers, and preferences by their chosen answer; documents have no answer to train."""

    curves = (
        Curve("Training loss", _NATS, "loss"),
        Curve("Validation loss", _NATS, "eval_loss"),
        Curve("Learning rate", "learning rate", "learning_rate"),
        Curve("Gradient norm", "norm before clipping", "grad_norm"),
    )

    otherwise = MappingProxyType({"preference": "objective.preference_as: chosen trains on the chosen answer"})

    def __init__(self, options: SftOptions) -> None:
        self.options = options

    def clashes(self, settings: TrainSettings) -> list[str]:
        """What packing can't go with."""
        packing = self.options.packing
        found = []
        if packing != "none" and settings.group_by_length:
            found.append("packing makes rows of one length: group_by_length clashes")
        if packing == "bfd" and settings.per_device_train_batch_size > 1:
            found.append(_BFD)
        return found

    def refusal(self, row: Row) -> str | None:
        """Documents, unwanted answers, and preferences unless their chosen answer is trained."""
        if row["kind"] == "document":
            return "document"
        if row.get("label") is False:
            return "unwanted_answer"
        return "preference" if row["kind"] == "preference" and self.options.preference_as == "skip" else None

    def loss_kernel(self, device: str, vocab_size: int) -> LossKernel:
        """The one asked for; auto: plain on a CPU with a small vocabulary."""
        return loss_kernel(self.options.loss_kernel, device, vocab_size)

    def trainer(self, parts: TrainerParts) -> "SftTrainer":
        """TRL's SFTTrainer, with an exact validation loss."""
        from steps.train.objectives.sft_trainer import build_trainer

        return build_trainer(parts, self.options.packing)

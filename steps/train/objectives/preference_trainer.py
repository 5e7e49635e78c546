"""What the trainers of preferences share: batches of answers, exact measures on the validation rows, counted tokens."""

import functools
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from peft import LoraConfig
from transformers import Trainer
from trl.trainer.utils import FusedCausalLMOutput

from steps.contracts.storage import write_whole, writing
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.loss import token_losses
from steps.engines.template.render import IGNORED
from steps.train.light_loop import LightLoop
from steps.train.mixture import Origins, source_loss
from steps.train.objectives.preference_measures import PairScores, Scores
from steps.train.objectives.sft_trainer import EpochLengthSampler
from steps.train.ranks.batches import told_of_epochs
from steps.train.trainer import measuring

# Answers whose tokens are in memory at once.
_CHUNK = 256
PAIR = ("chosen_", "rejected_")


class AnswerTrainer(LightLoop):
    """Over one of TRL's trainers: what is measured doesn't depend on batches, and group_by_length not on the process.

    Attributes:
        tokens_seen, trained_seen: of all batches so far, without padding; None before the first.
        eval_origins: sources of the validation rows; with several, each has a loss of its own.
        notes: for the report.
    """

    control: Any
    processing_class: Any
    eval_origins: Origins | None = None
    notes: tuple[str, ...] = ()
    tokens_seen: torch.Tensor | None = None
    trained_seen: torch.Tensor | None = None

    def scored_validation(self) -> Any:
        """Scores of the validation rows under the model as it is now, with `at(places)`."""
        raise NotImplementedError

    def measures(self, found: Any, places: Any) -> dict[str, float]:
        """`eval_loss` and the like, from the scores of those validation rows alone."""
        raise NotImplementedError

    def counted(self, inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and trained tokens of a batch."""
        return inputs["attention_mask"].sum(), inputs["completion_mask"].sum()

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; tokens are counted on the device."""
        tokens, trained = self.counted(inputs)
        self.tokens_seen = tokens if self.tokens_seen is None else self.tokens_seen + tokens
        self.trained_seen = trained if self.trained_seen is None else self.trained_seen + trained
        return super().training_step(model, inputs, num_items_in_batch)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """What is measured on the validation rows; {} without any."""
        if self.eval_dataset is None:
            return {}
        with measuring(
            self, "the validation pass", where="train.per_device_eval_batch_size", hint="halve it, or lower max_length"
        ):
            metrics = self._measured()
        # Not TRL's own: it would take what was gathered of training batches for this.
        Trainer.log(self, metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measured(self) -> dict[str, float]:
        found, origins = self.scored_validation(), self.eval_origins
        metrics = self.measures(found, slice(None))
        if origins is not None and len(origins.names) > 1:
            for code, name in enumerate(origins.names):
                metrics[source_loss(name)] = self.measures(found, origins.codes == code)["eval_loss"]
        return metrics

    def scored(self, rows: Any, prefix: str = "") -> Scores:
        """Answers of rows under the model as it is now."""
        was_training = self.model.training
        self.model.eval()
        loaded = LoadedModel(self.model, self.processing_class, str(self.args.device))
        found: list[tuple[float, int]] = []
        try:
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                examples = list(zip(part[f"{prefix}input_ids"], part[f"{prefix}labels"], strict=True))
                with self.compute_loss_context_manager():
                    found += token_losses(loaded, examples, batch_size=self.args.per_device_eval_batch_size)
        finally:
            self.model.train(was_training)
        losses, tokens = np.array(found, np.float64).T
        return Scores(-losses, tokens)

    def scored_pairs(self, rows: Any) -> PairScores:
        """Both answers of pairs under the model as it is now."""
        chosen, rejected = (self.scored(rows, prefix) for prefix in PAIR)
        return PairScores(chosen, rejected)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args = self.args
        if args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return EpochLengthSampler(batch, list(self.train_dataset["length"]), args.seed)

    def get_train_dataloader(self) -> Any:
        """The batches of this rank."""
        return told_of_epochs(super().get_train_dataloader())


class Referenced(torch.utils.data.Dataset[dict[str, Any]]):
    """Encoded rows with numbers of each beside them, such as its log-probability under the reference model."""

    def __init__(self, rows: datasets.Dataset, **numbers: Any) -> None:
        """`numbers`: shape (rows,) each."""
        self.rows, self.numbers = rows, numbers

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | str) -> Any:
        """A row, or one of the encoded rows' columns."""
        if isinstance(key, str):
            return self.rows[key]
        return {**self.rows[key], **{name: float(values[key]) for name, values in self.numbers.items()}}


def adapter_can_be_taken_off(peft_config: Any) -> bool:
    """Whether the model without its adapter is what training starts from: an adapter that adds nothing at first."""
    return isinstance(peft_config, LoraConfig) and peft_config.init_lora_weights is True


def give_plain_head(core: Any) -> None:
    """Let a model that TRL gave its chunked head (`add_fused_lm_head`) answer from its own logits when that is asked.

    The same numbers, in less time where there is no kernel for the chunks, at the price of the logits' memory.
    """
    patched = core.forward

    @functools.wraps(type(core).forward)  # generate looks at the signature
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return patched(*args, **kwargs, **({} if labels is None else {"labels": labels}))
        return _said_of_labels(patched(*args, **kwargs), labels)

    core.forward = types.MethodType(forward, core)


def _said_of_labels(out: Any, labels: torch.Tensor) -> FusedCausalLMOutput:
    """What TRL's head gives of each labelled token, shape (rows, width - 1); 0 at the others."""
    labels = labels[:, 1:]
    mask = labels != IGNORED
    wanted, logits = labels[mask], out.logits[:, :-1][mask].float()
    logps = logits.log_softmax(-1)
    with torch.no_grad():
        entropy = -(logps.exp() * logps).sum(-1)
        beside = {"entropy": entropy, "mean_logits": logits.mean(-1), "is_top1": logits.argmax(-1) == wanted}
    found = {"log_probs": logps.gather(1, wanted[:, None])[:, 0], **beside}
    spread = {
        n: torch.zeros(mask.shape, dtype=v.dtype, device=v.device).masked_scatter(mask, v) for n, v in found.items()
    }
    return FusedCausalLMOutput(label_mask=mask, aux_loss=getattr(out, "aux_loss", None), **spread)


def kept_beside_checkpoints(file: Path, compute: Any) -> dict[str, Any]:
    """Named arrays from a file, or computed and written to it, whole. A resumed run doesn't compute them again."""
    if file.is_file():
        with np.load(file) as stored:
            return dict(stored)
    arrays: dict[str, Any] = compute()
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, _npz(arrays))
    return arrays


def _npz(arrays: dict[str, Any]) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def padded(sequences: Sequence[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    """A batch of (input_ids, labels): input_ids, attention_mask and labels, padded on the right; shape (rows, longest).

    Padding is masked, so that its id doesn't matter.
    """
    width = max(len(ids) for ids, _ in sequences)
    return {
        "input_ids": torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in sequences]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in sequences]),
        "labels": torch.tensor([[*labels, *[IGNORED] * (width - len(labels))] for _, labels in sequences]),
    }


def masked(sequences: Sequence[tuple[list[int], list[int]]], prefix: str = "") -> dict[str, torch.Tensor]:
    """The same with TRL's completion_mask in the place of labels: 1 at the tokens of the answer."""
    batch = padded(sequences)
    batch["completion_mask"] = (batch.pop("labels") != IGNORED).long()
    return {f"{prefix}{name}": values for name, values in batch.items()}

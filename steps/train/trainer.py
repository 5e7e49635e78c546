"""TRL's SFTTrainer with an exact validation loss, an optional plain loss, token counts and marked checkpoints."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices
from trl import SFTConfig, SFTTrainer

from steps.contracts.errors import ConfigError, TrainingDataError
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.loss import token_losses
from steps.engines.progress.progress import Progress
from steps.train.checkpoints import keep_newest, mark_complete
from steps.train.config import TrainConfig
from steps.train.plan import Plan

OnMetrics = Callable[[int, dict[str, float]], None]
# Rows of the validation split in memory at once.
_EVAL_CHUNK = 256


class EpochLengthSampler(LengthGroupedSampler):
    """Length-grouped batches whose order depends on (seed, epoch) only.

    transformers' own draws from the global generator, so that a resumed run sees other batches.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before each pass over the rows."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


class AssayTrainer(SFTTrainer):
    """SFTTrainer whose validation loss is the mean over all trained tokens, whatever the batch size.

    transformers averages batch means, so that its validation loss moves with the batch size and the row order.
    """

    plan: Plan
    control: Any
    tokens_seen: torch.Tensor | None = None
    trained_seen: torch.Tensor | None = None

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss over trained tokens, by TRL's fused head or by the model's own logits (plan.loss_kernel)."""
        if self.plan.loss_kernel == "fused":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # With a cache the model would build one dense mask, and packed rows would see each other.
        inputs["use_cache"] = False
        return Trainer.compute_loss(
            self, model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        # The argument is the same rows without the columns that the model doesn't take.
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochLengthSampler(batch, list(self.train_dataset["length"]), self.args.seed)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; tokens (without padding) and trained tokens are counted on the device."""
        mask = inputs.get("attention_mask")
        tokens = mask.sum() if mask is not None else torch.as_tensor(inputs["input_ids"].numel())
        trained = (inputs["labels"] != -100).sum()
        self.tokens_seen = tokens if self.tokens_seen is None else self.tokens_seen + tokens
        self.trained_seen = trained if self.trained_seen is None else self.trained_seen + trained
        return super().training_step(model, inputs, num_items_in_batch)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean negative log-likelihood (nats) per trained token of the validation rows, as `eval_loss`."""
        if self.eval_dataset is None:
            return {}
        was_training = self.model.training
        self.model.eval()
        try:
            loaded = LoadedModel(self.model, self.processing_class, str(self.args.device))
            total, count = 0.0, 0
            for start in range(0, len(self.eval_dataset), _EVAL_CHUNK):
                rows = self.eval_dataset[start : start + _EVAL_CHUNK]
                examples = list(zip(rows["input_ids"], rows["labels"], strict=True))
                with self.compute_loss_context_manager():
                    losses = token_losses(loaded, examples, batch_size=self.args.per_device_eval_batch_size)
                total += math.fsum(loss for loss, _ in losses)
                count += sum(n for _, n in losses)
        finally:
            self.model.train(was_training)
        metrics = {"eval_loss": total / max(count, 1)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Recorder(TrainerCallback):
    """Forwards metrics, shows progress, marks checkpoints, and stops at a loss that isn't a number."""

    def __init__(self, config: TrainConfig, progress: Progress, on_metrics: OnMetrics | None, done: int = 0) -> None:
        self.config, self.progress, self.on_metrics, self.done = config, progress, on_metrics, done

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One optimizer step is done; ask for a validation loss every eval_steps."""
        self.progress.total = state.max_steps - self.done
        self.progress.advance()
        if self.config.eval_steps and state.global_step % self.config.eval_steps == 0:
            control.should_evaluate = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Forward numbers; a loss that is NaN or infinite ends the run.

        Raises:
            TrainingDataError: the loss is not a finite number.
        """
        numbers = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float)}
        for name in ("loss", "eval_loss", "grad_norm"):
            if not math.isfinite(numbers.get(name, 0.0)):
                raise TrainingDataError(
                    f"{name} is {numbers[name]} at step {state.global_step}",
                    where="train",
                    hint="lower learning_rate, raise warmup_steps, or set max_grad_norm to 1",
                )
        if self.on_metrics:
            self.on_metrics(int(state.global_step), numbers)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A checkpoint's files are written: mark it whole, then drop the oldest."""
        folder = Path(args.output_dir)
        mark_complete(folder / f"checkpoint-{state.global_step}")
        keep_newest(folder, self.config.save_total_limit)


def build_trainer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    train_rows: Any,
    eval_rows: Any,
    config: TrainConfig,
    plan: Plan,
    checkpoints: Path,
    recorder: Recorder,
) -> AssayTrainer:
    """A trainer over rows that are tokenised already (columns input_ids, labels, length)."""
    # TRL's constructor seeds torch before it makes the adapter.
    trainer = AssayTrainer(
        model=model,
        args=sft_config(config, plan, checkpoints),
        train_dataset=train_rows,
        processing_class=tokenizer,
        peft_config=lora_config(config) if config.method == "lora" else None,
        callbacks=[recorder],
    )
    trainer.plan = plan
    trainer.eval_dataset = eval_rows
    trainer.remove_callback(PrinterCallback)
    return trainer


def sft_config(config: TrainConfig, plan: Plan, checkpoints: Path) -> SFTConfig:
    """TRL's arguments for a config and a plan."""
    packing = config.packing != "none"
    return SFTConfig(
        output_dir=str(checkpoints),
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        num_train_epochs=config.num_train_epochs or 1.0,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.per_device_train_batch_size,
        per_device_eval_batch_size=config.per_device_eval_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        optim=config.optim,
        weight_decay=config.weight_decay,
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        max_grad_norm=config.max_grad_norm,
        neftune_noise_alpha=config.neftune_noise_alpha,
        packing=packing,
        packing_strategy=config.packing if packing else "bfd",
        eval_packing=False,
        shuffle_dataset=packing,
        # Rows are within max_length already; None keeps TRL from copying them.
        max_length=config.max_length if packing else None,
        train_sampling_strategy="group_by_length" if config.group_by_length else "random",
        length_column_name="length",
        # Evaluation is AssayTrainer.evaluate over rows that are set after construction.
        eval_strategy="no",
        logging_steps=config.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.save_steps,
        # Rotation is Recorder's: transformers would drop the old checkpoint before the new one is marked.
        save_total_limit=None,
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=plan.device == "cpu",
        bf16=plan.bf16,
        gradient_checkpointing=plan.gradient_checkpointing,
        dataloader_pin_memory=plan.device != "cpu",
        report_to="none",
        disable_tqdm=True,
    )


def lora_config(config: TrainConfig) -> LoraConfig:
    """peft's LoRA configuration."""
    options = config.lora_options
    targets = options.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=options.r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=options.use_rslora,
        use_dora=options.use_dora,
    )


@contextmanager
def explained(config: TrainConfig, plan: Plan) -> Iterator[None]:
    """Turn torch's out-of-memory error into a ConfigError that says what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as e:
        raise ConfigError(
            f"out of memory on {plan.device} at per_device_train_batch_size {config.per_device_train_batch_size},"
            f" max_length {config.max_length}",
            where="train",
            hint="halve per_device_train_batch_size and double gradient_accumulation_steps"
            + ("" if plan.gradient_checkpointing else ", or set gradient_checkpointing: true"),
        ) from e


@contextmanager
def torch_settings(num_threads: int) -> Iterator[None]:
    """Set torch's threads, and silence transformers' and datasets' own bars; what was set before comes back."""
    import datasets

    threads = torch.get_num_threads()
    verbosity = transformers.logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    torch.set_num_threads(num_threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            # transformers 5 warns about gradient_checkpointing, which TRL 1.16 sets itself.
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            yield
    finally:
        torch.set_num_threads(threads)
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
        if not bars:
            datasets.enable_progress_bars()

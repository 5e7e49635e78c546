"""What every trainer of this stage does: metrics, progress, marked checkpoints, errors that say the way out."""

import math
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers import TrainerCallback

from steps.contracts.errors import TrainingDataError
from steps.engines.lm.memory import memory_explained
from steps.engines.lm.quantized import number_of
from steps.engines.lm.threads import torch_threads
from steps.engines.progress.progress import Progress, say
from steps.train.checkpoints import keep_newest, mark_complete
from steps.train.settings import OnMetrics, Plan, TrainSettings
from steps.train.watching.course import kept_step


class Recorder(TrainerCallback):
    """Forwards metrics, shows progress, marks checkpoints, and stops at a loss that isn't a number."""

    def __init__(self, config: TrainSettings, progress: Progress, on_metrics: OnMetrics | None, done: int = 0) -> None:
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
        wait_for_all(args.world_size)
        if args.process_index == 0:
            mark_complete(folder / f"checkpoint-{state.global_step}")
            keep_newest(folder, self.config.save_total_limit, kept_step(state.log_history, self.config))


def training_arguments(settings: TrainSettings, plan: Plan, checkpoints: Path) -> dict[str, Any]:
    """transformers' TrainingArguments for settings and a plan, the same for every objective."""
    return {
        "output_dir": str(checkpoints),
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": settings.lr_scheduler_type,
        "warmup_steps": settings.warmup_steps,
        "num_train_epochs": settings.num_train_epochs or 1.0,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.per_device_train_batch_size,
        "per_device_eval_batch_size": settings.per_device_eval_batch_size,
        # All ranks together see the batch that the config names.
        "gradient_accumulation_steps": settings.gradient_accumulation_steps // plan.processes,
        "optim": settings.optim,
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.adam_beta1,
        "adam_beta2": settings.adam_beta2,
        "max_grad_norm": settings.max_grad_norm,
        "neftune_noise_alpha": settings.neftune_noise_alpha,
        "train_sampling_strategy": "group_by_length" if settings.group_by_length else "random",
        "length_column_name": "length",
        # The trainers evaluate when Recorder asks for it, over rows that are set after construction.
        "eval_strategy": "no",
        "logging_steps": settings.logging_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        # Rotation is Recorder's: transformers would drop the old checkpoint before the new one is marked.
        "save_total_limit": None,
        "seed": settings.seed,
        "data_seed": settings.seed,
        # accelerate takes a CPU for one without DeepSpeed, which computes in 16 bits by itself.
        "use_cpu": plan.device == "cpu" and not plan.zero_stage,
        "bf16": plan.bf16 and not plan.zero_stage,
        "fp16": plan.fp16,
        "gradient_checkpointing": plan.gradient_checkpointing,
        "use_liger_kernel": settings.use_liger_kernel,
        "torch_compile": settings.torch_compile,
        "dataloader_pin_memory": plan.device == "cuda",
        "report_to": "none",
        "disable_tqdm": True,
        "deepspeed": zero_config(plan) if plan.zero_stage else None,
        # Made by `ranks/zero.py`: transformers would take this rank for one that is alone.
        **({"accelerator_config": {"use_configured_state": True}} if plan.zero_stage and plan.device == "cpu" else {}),
    }


def zero_config(plan: Plan) -> dict[str, Any]:
    """DeepSpeed's configuration; transformers fills in what is "auto" by the arguments beside it.

    Weights stay in float32, and torch's autocast computes in bfloat16: DeepSpeed's own mode would round them.
    """
    zero: dict[str, Any] = {"stage": plan.zero_stage, "contiguous_gradients": True}
    if plan.zero_stage == 3:
        # By the width of the model: what is smaller stays whole on every rank.
        zero |= {"stage3_param_persistence_threshold": "auto", "stage3_prefetch_bucket_size": "auto"}
    if plan.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": plan.device == "cuda"}
    if plan.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": plan.device == "cuda"}
    return {
        "zero_optimization": zero,
        "torch_autocast": {"enabled": plan.bf16, "dtype": "bfloat16"},
        "gradient_clipping": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        # The optimizer is the config's, torch's AdamW, wherever its state lies.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def wait_for_all(ranks: int) -> None:
    """Return when all ranks have come here."""
    if ranks > 1:
        import torch.distributed

        torch.distributed.barrier()


def seed_rank(args: Any) -> None:
    """Let ranks but the first draw noise of their own (dropout, NEFTune), by the seed."""
    import torch

    if args.process_index > 0:
        torch.manual_seed(args.seed + args.process_index)


def summed(count: Any, args: Any) -> int:
    """The sum over all ranks of a count that each has on its device (None: 0). `args`: the trainer's."""
    import torch

    total = torch.as_tensor(0 if count is None else count).clone().to(args.device)
    if args.world_size > 1:
        torch.distributed.all_reduce(total)
    return int(total.item())


@contextmanager
def own_config(model: Any) -> Iterator[None]:
    """What trainers change of a model's configuration for training alone is undone: it would be saved with the model.

    No answer would use a cache, and a mixture of experts would sum up the loss that balances them, over which
    transformers fails where there is a cache.
    """
    configs = [model.config, model.config.get_text_config()]
    names = ("use_cache", "output_router_logits", "router_aux_loss_coef")
    before = [(c, n, getattr(c, n)) for c in configs for n in names if hasattr(c, n)]
    try:
        yield
    finally:
        for config, name, value in before:
            setattr(config, name, value)


def say_trained(model: Any) -> None:
    """Tell the terminal how many of a model's weights are trained."""
    every = sum(number_of(p) for p in model.parameters())
    trained = sum(number_of(p) for p in model.parameters() if p.requires_grad)
    say(f"train: {trained:,} of {every:,} weights are trained ({trained / every:.2%})")


def explained(config: TrainSettings, plan: Plan) -> AbstractContextManager[None]:
    """Turn torch's out-of-memory errors into a ConfigError that says what to lower."""
    return memory_explained(
        f"on {plan.device} at per_device_train_batch_size {config.per_device_train_batch_size},"
        f" max_length {config.max_length}",
        where="train",
        hint="halve per_device_train_batch_size and double gradient_accumulation_steps"
        + ("" if plan.gradient_checkpointing else ", or set gradient_checkpointing: true"),
    )


@contextmanager
def torch_settings(num_threads: int) -> Iterator[None]:
    """Set torch's threads, and silence transformers' and datasets' own bars; what was set before comes back."""
    import datasets

    verbosity = transformers.logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with torch_threads(num_threads), warnings.catch_warnings():
            # transformers 5 warns about gradient_checkpointing, which TRL 1.16 sets itself.
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
        if not bars:
            datasets.enable_progress_bars()


@contextmanager
def measuring(trainer: Any, what: str, *, where: str, hint: str) -> Iterator[None]:
    """The model measures and doesn't train; an end of memory says in which pass, and what to lower."""
    was_training, rows = trainer.model.training, trainer.args.per_device_eval_batch_size
    trainer.model.eval()
    try:
        with memory_explained(
            f"on {trainer.args.device} in {what}, at per_device_eval_batch_size {rows}", where=where, hint=hint
        ):
            yield
    finally:
        trainer.model.train(was_training)

"""What "auto" settings mean on this machine."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import ValidationError

from steps.contracts.errors import ConfigError, MissingDependencyError
from steps.engines.lm.context import context_length
from steps.engines.lm.device import has_bf16, resolve_device
from steps.engines.lm.quantized import require_bitsandbytes
from steps.engines.progress.progress import say
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.ranks.config import Ranks, Zero
from steps.train.settings import Plan, TrainingDevice
from steps.train.weights.registry import weights_of

# What sharding the weights doesn't go with, and what it needs (`ranks/sharded.py`).
_NOT_SHARDED, _SHARDED_OPTIMIZER = "qlora", "adamw_torch"
# Chosen: so many larger batches are tried for one that the objective takes.
_MOST_TRIED = 64
# What DeepSpeed trains: the others load a second model, or answer, which ZeRO wants done in ways of its own.
_OF_ZERO, _WEIGHTS_OF_ZERO = ("sft", "continued_pretraining"), ("full", "lora")
# Packages of attention that isn't torch's own.
_FLASH = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}


def make_plan(config: TrainConfig, vocab_size: int, ranks: Ranks | None = None) -> Plan:
    """Resolve every "auto", and the learning rate. `ranks`: processes that train together; None: one.

    Raises:
        ConfigError: the config asks for a device, a number format or a library that this machine doesn't have.
    """
    if config.wants_bitsandbytes:
        require_bitsandbytes(config.wants_bitsandbytes)
    ranks = ranks or Ranks()
    require_shared(config, ranks)
    require_zero(ranks)
    device = _device(config.device, ranks)
    gpu_bf16 = device == "cuda" and has_bf16()
    plan = plan_for(config, vocab_size, device, gpu_bf16=gpu_bf16)
    _require_kernels(config, plan)
    return shared(plan, ranks)


def _require_kernels(config: TrainConfig, plan: Plan) -> None:
    """Refuse kernels that aren't here.

    Raises:
        ConfigError: no GPU, flash attention in 32 bits, or no such package.
    """
    require_kernels_go(config, plan)
    for name, package in _kernels(config).items():
        if find_spec(package) is None:
            raise ConfigError(
                f"{name} needs the package {package}", where="train",
                hint=f"pip install {package.replace('_', '-')}, in a build for this torch and this card",
            )  # fmt: skip


def _kernels(config: TrainConfig) -> dict[str, str]:
    """Settings that want kernels, and the packages that have them."""
    found = {f"attention: {config.attention}": _FLASH[config.attention]} if config.attention in _FLASH else {}
    return found | ({"use_liger_kernel": "liger_kernel"} if config.use_liger_kernel else {})


def names_machine(config: TrainConfig) -> bool:
    """Whether a setting asks for what not every machine has; `make_plan` looks whether this one has it."""
    return config.device not in ("auto", "cpu") or config.fp16 is True or bool(_kernels(config))


def require_kernels_go(config: TrainConfig, plan: Plan) -> None:
    """Refuse kernels that don't go with the device or the number format, wherever they are installed.

    Raises:
        ConfigError: no GPU, or flash attention in 32 bits.
    """
    for name in _kernels(config):
        if plan.device != "cuda":
            raise ConfigError(f"{name} is for CUDA GPUs", where="train", hint="leave it out, or run where there is one")
    if config.attention in _FLASH and not (plan.bf16 or plan.fp16 or plan.dtype == "bfloat16"):
        raise ConfigError("flash attention computes in 16 bits", where="train.attention", hint="set bf16: true")


def require_context(described: Mapping[str, Any], config: TrainConfig) -> None:
    """Refuse rows that are longer than the model can look at: beyond its positions it predicts nonsense.

    Args:
        described: the model's config.json.

    Raises:
        ConfigError: max_length is beyond it.
    """
    context = context_length(described)
    if context is not None and config.max_length > context:
        raise ConfigError(
            f"max_length is {config.max_length} tokens, the model's context is {context}",
            where="train.max_length",
            hint=f"set it to at most {context}, or take a model whose config.json names a longer context",
        )


def require_shared(config: TrainConfig, ranks: Ranks, place: str | None = None) -> None:
    """Refuse what these processes can't train together. `place`: of the phase in the config, such as train.0, where the
    way out is to be told as `--set`.

    Raises:
        ConfigError: the strategy doesn't go with the weights or the optimizer, or the batch can't be shared.
    """
    if ranks.strategy == "fsdp2" and config.weights.kind == _NOT_SHARDED:
        raise ConfigError(
            "training.strategy fsdp2 doesn't shard quantized weights", where="train.weights",
            hint="set strategy: ddp in the infra file, or weights: {kind: lora}",
        )  # fmt: skip
    if ranks.strategy == "fsdp2" and not config.optim.startswith(_SHARDED_OPTIMIZER):
        raise ConfigError(
            f"training.strategy fsdp2 shards the state of AdamW, and optim is {config.optim}", where="train.optim",
            hint="set optim: adamw_torch_fused, or strategy: ddp in the infra file",
        )  # fmt: skip
    if ranks.strategy == "deepspeed":
        _require_goes_with_zero(config)
    _require_shares(config, ranks, place)


def _require_goes_with_zero(config: TrainConfig) -> None:
    """Refuse what DeepSpeed doesn't train as the others do.

    Raises:
        ConfigError: the objective, the weights or the optimizer.
    """
    another = "or strategy: ddp or fsdp2 in the infra file"
    if config.objective.kind not in _OF_ZERO:
        raise ConfigError(
            f"training.strategy deepspeed trains {' and '.join(_OF_ZERO)}, not {config.objective.kind}",
            where="train.objective", hint="set strategy: ddp or fsdp2 in the infra file",
        )  # fmt: skip
    if config.weights.kind not in _WEIGHTS_OF_ZERO:
        raise ConfigError(
            f"training.strategy deepspeed trains weights: {' or '.join(_WEIGHTS_OF_ZERO)}, not {config.weights.kind}",
            where="train.weights", hint=f"take one of these, {another}",
        )  # fmt: skip
    if not config.optim.startswith(_SHARDED_OPTIMIZER):
        raise ConfigError(
            f"training.strategy deepspeed shards the state of AdamW, and optim is {config.optim}", where="train.optim",
            hint=f"set optim: adamw_torch_fused, {another}",
        )  # fmt: skip


def require_zero(ranks: Ranks) -> None:
    """Refuse DeepSpeed where it isn't installed.

    Raises:
        MissingDependencyError: it isn't.
    """
    if ranks.strategy == "deepspeed" and find_spec("deepspeed") is None:
        raise MissingDependencyError(
            "training.strategy deepspeed needs DeepSpeed, which isn't installed", where="train",
            hint="DS_BUILD_OPS=0 pip install -c constraints.txt '.[deepspeed]', or strategy: fsdp2 in the infra file",
        )  # fmt: skip


def can_shard(config: TrainConfig) -> bool:
    """Whether processes can each hold a share of the weights."""
    return config.weights.kind != _NOT_SHARDED and config.optim.startswith(_SHARDED_OPTIMIZER)


def shared(plan: Plan, ranks: Ranks) -> Plan:
    """The plan of one of several processes.

    Raises:
        ConfigError: the strategy doesn't go with the number format.
    """
    if ranks.strategy == "fsdp2" and plan.fp16:
        raise ConfigError(
            "training.strategy fsdp2 doesn't scale the loss of float16", where="train.fp16",
            hint="set strategy: ddp in the infra file, or fp16: false",
        )  # fmt: skip
    shards = ranks.world > 1 or ranks.strategy == "deepspeed"
    plan = replace(plan, processes=ranks.world, strategy=ranks.strategy if shards else "none", nodes=ranks.nodes)
    if ranks.strategy != "deepspeed":
        return plan
    if plan.fp16 or plan.dtype != "float32" or plan.device == "mps":
        what = "with fp16" if plan.fp16 else f"in {plan.dtype}" if plan.device != "mps" else "on a Mac's GPU"
        raise ConfigError(
            f"training.strategy deepspeed keeps weights in float32, with bf16 or without, not {what}",
            where="train.dtype", hint="set dtype: float32 and fp16: false, or strategy: ddp or fsdp2 in the infra file",
        )  # fmt: skip
    zero = ranks.zero or Zero()
    return replace(plan, zero_stage=zero.stage, offload=zero.offload)


def plan_for(config: TrainConfig, vocab_size: int, device: TrainingDevice, *, gpu_bf16: bool) -> Plan:
    """The same for a device that needn't be here. `gpu_bf16`: a GPU that has bfloat16.

    Raises:
        ConfigError: the config asks for a number format that the device doesn't have.
    """
    if config.bf16 is True and device == "cuda" and not gpu_bf16:
        raise ConfigError("bf16 is true, but this GPU has no bfloat16", hint="set bf16: auto or false")
    if config.fp16 is True and device != "cuda":
        raise ConfigError("fp16 is true, which is for CUDA GPUs", where="train.fp16", hint="set fp16: auto or false")
    bf16 = gpu_bf16 if config.bf16 == "auto" else config.bf16
    fp16 = device == "cuda" and not (bf16 or gpu_bf16) if config.fp16 == "auto" else config.fp16
    dtype = config.dtype if config.dtype != "auto" else weights_of(config.weights).dtype(gpu_bf16)
    checkpointing = config.gradient_checkpointing
    return Plan(
        device=device,
        dtype=dtype,
        bf16=bf16 and not fp16,
        fp16=fp16,
        gradient_checkpointing=device == "cuda" if checkpointing == "auto" else checkpointing,
        loss_kernel=objective_of(config.objective).loss_kernel(device, vocab_size),
        learning_rate=config.peak_learning_rate,
    )


def sees_other_gpus(plan: Plan) -> bool:
    """Whether this process sees more GPUs than train: transformers would spread each batch over all of them."""
    import torch

    return plan.device == "cuda" and torch.cuda.device_count() > plan.processes


def _require_shares(config: TrainConfig, ranks: Ranks, place: str | None) -> None:
    """Refuse batches that the ranks can't share: together they see the batch of the config, whatever their number.

    Raises:
        ConfigError: gradient_accumulation_steps isn't a multiple of the processes.
    """
    passes, world = config.gradient_accumulation_steps, ranks.world
    if passes % world == 0:
        return
    batch, changed = _batch(config), _shareable(config, world)
    hint = f"a batch of {batch} rows can be shared by {_divisors(batch)} processes"
    if changed is not None:
        same = _batch(changed) == batch
        told = "the same batch" if same else f"instead of a batch of {batch} rows one"
        hint = f"{told} of {_batch(changed)} rows: {_spelled(config, changed, place)}"
        hint += "" if same else f"; a batch of {batch} rows can be shared by {_divisors(batch)} processes"
    raise ConfigError(
        f"{world} processes share {passes} forward passes per optimizer step, which {world} doesn't divide",
        where="train.gradient_accumulation_steps", hint=hint,
    )  # fmt: skip


def _batch(config: TrainConfig) -> int:
    return config.per_device_train_batch_size * config.gradient_accumulation_steps


def _shareable(config: TrainConfig, world: int) -> TrainConfig | None:
    """The settings with the nearest batch that so many processes can share: the same one in smaller passes, else the
    next larger one; None: there is none near.
    """
    rows, batch = config.per_device_train_batch_size, _batch(config)
    whole = objective_of(config.objective).batches_are_whole
    smaller = [] if whole else [r for r in range(rows - 1, 0, -1) if batch % (r * world) == 0]
    passes = -(-config.gradient_accumulation_steps // world) * world
    found = [(r, batch // r) for r in smaller] + [(rows, passes + n * world) for n in range(_MOST_TRIED)]
    for size, accumulated in found:
        changes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulated}
        try:
            return type(config).model_validate(config.model_dump() | changes)
        except ValidationError:  # what the objective wants of batches
            continue
    return None


def _spelled(config: TrainConfig, changed: TrainConfig, place: str | None) -> str:
    names = ("per_device_train_batch_size", "gradient_accumulation_steps")
    values = {n: getattr(changed, n) for n in names if getattr(changed, n) != getattr(config, n)}
    if place is None:
        return " and ".join(f"{name}: {value}" for name, value in values.items())
    return " ".join(f"--set {place}.{name}={value}" for name, value in values.items())


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, min(number, 64) + 1) if number % n == 0)


def _device(wanted: Literal["auto", "cpu", "cuda", "mps"], ranks: Ranks) -> TrainingDevice:
    """The device of each rank.

    Raises:
        ConfigError: there are fewer GPUs than processes.
    """
    import torch

    found_device = resolve_device(wanted, "train")
    if found_device == "cpu":
        return "cpu"
    if found_device == "mps":
        if ranks.world > 1:
            raise ConfigError(
                "a Mac has one GPU",
                where="training.processes",
                hint="leave it out of the infra file, or set device: cpu",
            )
        return "mps"
    found = torch.cuda.device_count()
    if found < ranks.processes:
        raise ConfigError(
            f"{ranks.processes} processes train, one per GPU, and torch sees {found}", where="training.processes",
            hint=f"set it to at most {found} in the infra file, or run where there are more",
        )  # fmt: skip
    if found > ranks.processes:
        say(
            f"train uses {ranks.processes} of {found} GPUs; to use all: steps: {{train_step: {{training: {{processes:"
            f" {found}}}}}}} in the infra file"
        )
    return "cuda"

"""What "auto" settings mean on this machine."""

from typing import Literal

from steps.contracts.errors import ConfigError
from steps.engines.lm.device import resolve_device
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.settings import Plan
from steps.train.weights.registry import weights_of


def make_plan(config: TrainConfig, vocab_size: int) -> Plan:
    """Resolve every "auto", and the learning rate.

    Raises:
        ConfigError: the config asks for a device or a number format that this machine doesn't have.
    """
    import torch

    device = _device(config.device)
    gpu_bf16 = device == "cuda" and torch.cuda.is_bf16_supported()
    return plan_for(config, vocab_size, device, gpu_bf16=gpu_bf16)


def plan_for(config: TrainConfig, vocab_size: int, device: Literal["cpu", "cuda"], *, gpu_bf16: bool) -> Plan:
    """The same for a device that needn't be here. `gpu_bf16`: a GPU that has bfloat16.

    Raises:
        ConfigError: the config asks for a number format that the device doesn't have.
    """
    if config.bf16 is True and device == "cuda" and not gpu_bf16:
        raise ConfigError("bf16 is true, but this GPU has no bfloat16", hint="set bf16: auto or false")
    dtype = config.dtype if config.dtype != "auto" else weights_of(config.weights).dtype(gpu_bf16)
    checkpointing = config.gradient_checkpointing
    return Plan(
        device=device,
        dtype=dtype,
        bf16=gpu_bf16 if config.bf16 == "auto" else config.bf16,
        gradient_checkpointing=device == "cuda" if checkpointing == "auto" else checkpointing,
        loss_kernel=objective_of(config.objective).loss_kernel(device, vocab_size),
        learning_rate=config.peak_learning_rate,
    )


def _device(wanted: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    import torch

    if resolve_device(wanted, "train") == "cpu":
        return "cpu"
    if torch.cuda.device_count() > 1:
        raise ConfigError(
            f"torch sees {torch.cuda.device_count()} GPUs; this stage trains on one",
            hint="make one visible: CUDA_VISIBLE_DEVICES=0",
        )
    return "cuda"

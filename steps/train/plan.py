"""What "auto" settings mean on this machine."""

from dataclasses import dataclass
from typing import Literal

from steps.contracts.errors import ConfigError
from steps.train.config import TrainConfig

# Chosen: up to here the full logits of a CPU-sized batch are small, and the plain loss is measured to be faster.
_PLAIN_LOSS_VOCAB = 32_768


@dataclass(frozen=True)
class Plan:
    """Settings in force, none of them "auto"."""

    device: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]
    bf16: bool
    gradient_checkpointing: bool
    loss_kernel: Literal["fused", "plain"]


def make_plan(config: TrainConfig, vocab_size: int) -> Plan:
    """Resolve every "auto".

    Raises:
        ConfigError: the config asks for a device or a number format that this machine doesn't have.
    """
    import torch

    device = _device(config.device)
    gpu_bf16 = device == "cuda" and torch.cuda.is_bf16_supported()
    if config.bf16 is True and device == "cuda" and not gpu_bf16:
        raise ConfigError("bf16 is true, but this GPU has no bfloat16", hint="set bf16: auto or false")
    small = device == "cuda" and config.method == "lora" and gpu_bf16
    dtype = config.dtype if config.dtype != "auto" else ("bfloat16" if small else "float32")
    checkpointing = config.gradient_checkpointing
    plain = device == "cpu" and vocab_size <= _PLAIN_LOSS_VOCAB
    return Plan(
        device=device,
        dtype=dtype,
        bf16=gpu_bf16 if config.bf16 == "auto" else config.bf16,
        gradient_checkpointing=device == "cuda" if checkpointing == "auto" else checkpointing,
        loss_kernel=config.loss_kernel if config.loss_kernel != "auto" else ("plain" if plain else "fused"),
    )


def _device(wanted: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    import torch

    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError("device is cuda, but torch sees no GPU here", hint="use device: auto or cpu")
    if torch.cuda.device_count() > 1:
        raise ConfigError(
            f"torch sees {torch.cuda.device_count()} GPUs; this stage trains on one",
            hint="make one visible: CUDA_VISIBLE_DEVICES=0",
        )
    return "cuda"

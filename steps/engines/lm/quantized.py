"""bitsandbytes: weights of 4 and 8 bits, optimizers of 8 bits. It is an extra."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from steps.contracts.errors import ConfigError

HOW_TO_GET_IT = "pip install 'assay[bitsandbytes]'"


@dataclass(frozen=True)
class Quantization:
    """How the weights of linear layers are held while an adapter beside them is trained.

    Attributes:
        kind: nf4 and fp4 take 4 bits (QLoRA, arXiv 2305.14314), int8 eight (arXiv 2208.07339).
        double: the scales of blocks are quantized as well (nf4, fp4).
    """

    kind: Literal["nf4", "fp4", "int8"]
    double: bool

    def config(self, dtype: str) -> Any:
        """transformers' description of it. `dtype`: in which layers compute.

        Raises:
            ConfigError: bitsandbytes isn't installed.
        """
        import torch
        from transformers import BitsAndBytesConfig

        require_bitsandbytes(f"quantization {self.kind}")
        if self.kind == "int8":
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.kind,
            bnb_4bit_use_double_quant=self.double,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )


def keep_exact(model: Any) -> None:
    """Keep bitsandbytes from rewriting weights of 4 bits for some processors in the first pass without gradients: it
    rounds their scales to bfloat16, so that what is trained would depend on when a model is first evaluated.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def without_missing_kernel() -> None:
    """Let bitsandbytes, which peft and transformers import wherever it is installed, not warn that a package of faster
    CPU kernels is absent: nothing here uses them. Whatever else it says is said.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_of_something_else)


def _of_something_else(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Failed to load CPU gemm_4bit_forward")


def has_bitsandbytes() -> bool:
    """Whether it is installed here. It isn't imported, which takes a second and prints."""
    return find_spec("bitsandbytes") is not None


def require_bitsandbytes(what: str) -> None:
    """Refuse what needs it where it is absent.

    Raises:
        ConfigError: it isn't installed.
    """
    if not has_bitsandbytes():
        raise ConfigError(f"{what} needs bitsandbytes, which isn't installed", where="train", hint=HOW_TO_GET_IT)
    without_missing_kernel()


def number_of(weight: Any) -> int:
    """Weights in a parameter: one of 4 bits has two in each of its bytes."""
    state = getattr(weight, "quant_state", None)
    return int(weight.numel() if state is None else state.shape.numel())

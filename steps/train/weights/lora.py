"""LoRA (Hu et al. 2021, arXiv 2106.09685): the weights stay, low-rank updates beside them are trained."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from steps.contracts.errors import ConfigError
from steps.contracts.models import ModelInfo
from steps.contracts.reports import Frozen
from steps.train.weights.kind import Dtype, WeightsKind


class LoraOptions(Frozen):
    """A LoRA adapter, named as in peft's LoraConfig."""

    kind: Literal["lora"] = Field("lora", description="Train a LoRA adapter (arXiv 2106.09685).")
    r: int = Field(16, ge=1, description="Rank. 16: TRL's and peft's usual choice for SFT.")
    lora_alpha: int = Field(32, ge=1, description="Scale of the update: alpha / r. Twice the rank by convention.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Share of adapter inputs set to 0 while training.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description='"all-linear" (every linear layer but the head; QLoRA paper, 4) or layer names.'
    )
    use_rslora: bool = Field(False, description="Scale by alpha / sqrt(r) instead (arXiv 2312.03732).")
    use_dora: bool = Field(False, description="Train magnitude and direction apart (DoRA, arXiv 2402.09353); slower.")

    @field_validator("target_modules")
    @classmethod
    def _not_the_head(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if "lm_head" in value:
            raise ValueError("lm_head can't have an adapter: the loss reads its weights directly (remove it)")
        return value


class Lora(WeightsKind):
    """An adapter in float32 over weights that stay; they may be held in 16 bits."""

    # QLoRA paper (arXiv 2305.14314), table 9.
    learning_rate = 2e-4
    stored_as = "adapter"

    def __init__(self, options: LoraOptions) -> None:
        self.options = options

    def dtype(self, gpu_bf16: bool) -> Dtype:
        """The weights that stay lose nothing in bfloat16."""
        return "bfloat16" if gpu_bf16 else "float32"

    def peft_config(self) -> Any:
        """peft's LoraConfig."""
        from peft import LoraConfig

        options, targets = self.options, self.options.target_modules
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=options.r,
            lora_alpha=options.lora_alpha,
            lora_dropout=options.lora_dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            use_rslora=options.use_rslora,
            use_dora=options.use_dora,
        )

    def attached(self, model: Any) -> Any:
        """The model with an untrained adapter.

        Raises:
            ConfigError: target_modules match no layer.
        """
        from peft import get_peft_model

        try:
            return get_peft_model(model, self.peft_config())
        except ValueError as e:
            layers = sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if "Linear" in type(m).__name__})
            raise ConfigError(
                f"weights.target_modules {self.options.target_modules} names no layer of the model",
                hint=f"use all-linear, or some of {', '.join(n for n in layers if n != 'lm_head')}",
            ) from e

    def core(self, model: Any) -> Any:
        """The model under the adapter."""
        return model.get_base_model()

    def finish(self, folder: Path, over: ModelInfo) -> None:
        """Name the model below instead of its path, and sort what peft writes in the order of a set."""
        file = folder / "adapter_config.json"
        content = json.loads(file.read_text())
        content["base_model_name_or_path"] = _portable_name(over)
        content["revision"] = None if over.started_from else over.base.revision
        content = {k: sorted(v) if k == "target_modules" and isinstance(v, list) else v for k, v in content.items()}
        file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

    @property
    def copies_inputs(self) -> bool:
        """Dropout draws a mask of its own for every layer."""
        return self.options.lora_dropout > 0


def _portable_name(model: ModelInfo) -> str:
    """A model without the path on this machine: the base's own name, else where its weights come from, by digest."""
    if model.started_from:
        return f"trained:{model.digest}"
    return f"scratch:{model.base.digest}" if model.base.source == "scratch" else model.base.name

"""LoRA (Hu et al. 2021, arXiv 2106.09685): the weights stay, low-rank updates beside them are trained."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from steps.contracts.errors import ConfigError
from steps.contracts.models import ModelInfo
from steps.contracts.reports import Frozen
from steps.train.weights.kind import Dtype, WeightsKind

# Axes of a tensor that holds the weights of all experts.
_EXPERT_AXES = 3
# Chosen: a router's share is far below.
_NOTED = 0.01


class LoraOptions(Frozen):
    """A LoRA adapter, named as in peft's LoraConfig."""

    kind: Literal["lora"] = Field("lora", description="Train a LoRA adapter (arXiv 2106.09685).")
    r: int = Field(16, ge=1, description="Rank. 16: TRL's and peft's usual choice for SFT.")
    lora_alpha: int = Field(32, ge=1, description="Scale of the update: alpha / r. Twice the rank by convention.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Share of adapter inputs set to 0 while training.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description='"all-linear" (every linear layer but the head; QLoRA paper, 4) or layer names.'
    )
    target_parameters: tuple[str, ...] | None = Field(
        None,
        description="Weights of experts that are no linear layers but one tensor, such as experts.down_proj. None: all"
        " of them where target_modules is all-linear, else none.",
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

    def peft_config(self, model: Any) -> Any:
        """peft's LoraConfig.

        Raises:
            ConfigError: the options don't go with a mixture of experts.
        """
        from peft import LoraConfig

        options = self.options
        experts, targets = self._experts(model), self._layers(model)
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=options.r,
            lora_alpha=options.lora_alpha,
            lora_dropout=options.lora_dropout,
            target_modules=targets,
            target_parameters=experts or None,
            use_rslora=options.use_rslora,
            use_dora=options.use_dora,
        )

    def attached(self, model: Any) -> Any:
        """The model with an untrained adapter.

        Raises:
            ConfigError: target_modules match no layer, or the options don't go with a mixture of experts.
        """
        from peft import get_peft_model

        peft_config = self.peft_config(model)
        try:
            return get_peft_model(model, peft_config)
        except ValueError as e:
            layers = sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if "Linear" in type(m).__name__})
            raise ConfigError(
                f"weights.target_modules {self.options.target_modules} names no layer of the model",
                hint=f"use all-linear, or some of {', '.join(n for n in layers if n != 'lm_head')}",
            ) from e

    def _layers(self, model: Any) -> str | list[str]:
        """What peft is told as target_modules. All-linear is spelled out for mixtures of experts (peft adds experts and
        routers of some architectures by itself, and none of others), and for models that see (of which the text is
        trained alone).
        """
        import torch

        targets = self.options.target_modules
        if targets != "all-linear":
            return list(targets)
        config = model.config
        if config.get_text_config() is config and not expert_weights(model):
            return targets
        decoder, head = model.get_decoder(), model.get_output_embeddings()
        at = next(f"{n}." if n else "" for n, m in model.named_modules() if m is decoder)
        linear = [n for n, m in decoder.named_modules() if isinstance(m, torch.nn.Linear) and m is not head]
        return sorted(at + n for n in linear)

    def _experts(self, model: Any) -> list[str]:
        """Names of the weights of experts that are trained."""
        options, found = self.options, expert_weights(model)
        wanted = options.target_parameters
        if wanted is None:
            wanted = tuple(found) if options.target_modules == "all-linear" else ()
        if unknown := [n for n in wanted if n not in found]:
            raise ConfigError(
                f"weights.target_parameters: the model has no experts' weights called {unknown[0]}",
                where="train.weights", hint=f"it has {', '.join(found) or 'none'}",
            )  # fmt: skip
        unfit = [n for n in ("lora_dropout", "use_dora") if getattr(options, n)]
        if wanted and unfit:
            raise ConfigError(
                f"weights.{unfit[0]} doesn't go with adapters on experts ({', '.join(wanted)})",
                where="train.weights", hint=f"leave {unfit[0]} out, or set target_parameters: [] and train no expert",
            )  # fmt: skip
        return list(wanted)

    def left_out(self, model: Any) -> list[str]:
        """Layers that all-linear promises, and which have no adapter."""
        if self.options.target_modules != "all-linear":
            return []
        untouched, whole = _without_adapter(self.core(model))
        share = sum(untouched.values()) / whole
        if share < _NOTED:
            return []
        return [f"no adapter lies on {', '.join(sorted(untouched))}, {share:.0%} of the model's weights"]

    def core(self, model: Any) -> Any:
        """The model under the adapter."""
        return model.get_base_model()

    def finish(self, folder: Path, over: ModelInfo) -> None:
        """Name the model below instead of its path, and sort what peft writes in the order of a set."""
        file = folder / "adapter_config.json"
        content = json.loads(file.read_text())
        content["base_model_name_or_path"] = _portable_name(over)
        content["revision"] = None if over.started_from else over.base.revision
        sets = ("target_modules", "target_parameters")
        content = {k: sorted(v) if k in sets and isinstance(v, list) else v for k, v in content.items()}
        file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def expert_weights(model: Any) -> list[str]:
    """Names of the tensors, each with the weights of all experts of a layer, ascending: shape (experts, ., .)."""
    found = {n for n, weight in model.named_parameters() if weight.ndim == _EXPERT_AXES and "experts." in n}
    return sorted({".".join(n.split(".")[-2:]) for n in found})


def _without_adapter(core: Any) -> tuple[dict[str, int], int]:
    """Matrices of the text model's layers beside which no adapter lies, by name with their sizes; and all its weights'
    number.

    Embeddings, the head and tables as small as a bias for each expert are none of them.
    """
    import torch

    ends = {id(m.weight) for m in (core.get_input_embeddings(), core.get_output_embeddings()) if m is not None}
    text = core.get_decoder()
    touched = {id(p) for m in text.modules() if hasattr(m, "lora_A") for p in m.get_base_layer().parameters(False)}
    found: dict[str, int] = {}
    whole = 0
    for name, weight in text.named_parameters():
        if ".lora_" in name:
            continue
        whole += weight.numel()
        owner = text.get_submodule(name.rpartition(".")[0])
        matrix = (isinstance(owner, torch.nn.Linear) and weight.ndim == 2) or weight.ndim == _EXPERT_AXES
        if matrix and id(weight) not in ends | touched:
            short = ".".join(name.split(".")[-3:]).removesuffix(".weight")
            found[short] = found.get(short, 0) + weight.numel()
    return found, whole


def _portable_name(model: ModelInfo) -> str:
    """A model without the path on this machine: the base's own name, else where its weights come from, by digest."""
    if model.started_from:
        return f"trained:{model.digest}"
    return f"scratch:{model.base.digest}" if model.base.source == "scratch" else model.base.name

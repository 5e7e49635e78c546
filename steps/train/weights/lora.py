"""LoRA (Hu et al. 2021, arXiv 2106.09685): the weights stay, low-rank updates beside them are trained."""

import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from steps.contracts.errors import ConfigError
from steps.contracts.models import ModelInfo
from steps.contracts.reports import Frozen
from steps.train.settings import TrainSettings
from steps.train.weights.eva import begin_with_inputs, require_room
from steps.train.weights.kind import Draw, Dtype, WeightsKind
from steps.train.weights.layers import Layers, decoder_layers, numbers_of
from steps.train.weights.residual import initial_updates, save_over_start

# Axes of a tensor that holds the weights of all experts.
_EXPERT_AXES = 3
# Chosen: a router's share is far below.
_NOTED = 0.01
# Ways to begin that look at a trained text, or at the weights before they were quantized, and the objectives for which
# that is done: others make a reference of what the trainer is given, before.
_BY_TEXTS, _TEXTS = ("eva", "loftq"), ("sft", "continued_pretraining")
# What peft begins with; `begin` sets the rest. LoftQ's start isn't the model without its adapter, as True would say.
_SET_LATER: dict[str, bool | str] = {"default": True, "eva": True, "loftq": "gaussian"}


class AdapterOptions(Frozen):
    """What kinds of LoRA have in common, named as in peft's LoraConfig."""

    r: int = Field(16, ge=1, description="Rank. 16: TRL's and peft's usual choice for SFT.")
    lora_alpha: int = Field(32, ge=1, description="Scale of the update: alpha / r. Twice the rank by convention.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Share of adapter inputs set to 0 while training.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description='"all-linear" (every linear layer but the head; QLoRA paper, 4) or layer names.'
    )
    use_rslora: bool = Field(False, description="Scale by alpha / sqrt(r) instead (arXiv 2312.03732).")
    use_dora: bool = Field(False, description="Train magnitude and direction apart (DoRA, arXiv 2402.09353); slower.")
    rank_pattern: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="Another rank for some layers, by name or regular expression."
    )
    alpha_pattern: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="Another alpha for some layers, by name or regular expression."
    )
    layers_to_transform: Layers | None = Field(
        None, description='Decoder layers that have adapters: "last 8", "middle 4", "first 2", or numbers. None: all.'
    )
    modules_to_save: tuple[str, ...] = Field(
        (), description="Modules that are trained whole and saved with the adapter, such as embed_tokens, lm_head."
    )

    eva_rows: int = Field(
        128,
        ge=1,
        description="eva: of so many training rows (packs, when packing), the first ones, the trained tokens are looked"
        " at, until the directions stand still.",
    )
    eva_rho: float = Field(
        1.0,
        ge=1,
        le=8,
        description="eva: layers get up to so many times r directions where more of the variance is, and others fewer;"
        " their sum stays. 1: r each; 2: the paper's, with layers that may end without an adapter.",
    )

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @field_validator("target_modules")
    @classmethod
    def _not_the_head(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if "lm_head" in value:
            raise ValueError(
                "lm_head can't have an adapter: the loss reads its weights directly (remove it; modules_to_save"
                " trains it whole)"
            )
        return value


class LoraOptions(AdapterOptions):
    """A LoRA adapter."""

    kind: Literal["lora"] = Field("lora", description="Train a LoRA adapter (arXiv 2106.09685).")
    target_parameters: tuple[str, ...] | None = Field(
        None,
        description="Weights of experts that are no linear layers but one tensor, such as experts.down_proj. None: all"
        " of them where target_modules is all-linear, else none.",
    )
    init_lora_weights: Annotated[
        str, Field(pattern=r"^(default|gaussian|orthogonal|eva|olora|pissa|pissa_niter_[1-9][0-9]?)$")
    ] = Field(
        "default",
        description="How an adapter begins: default (adds nothing, A as Kaiming has it), gaussian, orthogonal, pissa"
        " (arXiv 2404.02948: the largest singular vectors; pissa_niter_16 finds them faster, nearly), olora (arXiv"
        " 2406.01775: QR). Those two are saved as an adapter of twice the rank, which fits the base as it was. eva"
        " (arXiv 2410.07170): adds nothing, A by the main directions of what the layers are given of eva_rows.",
    )
    bias: Literal["none", "all", "lora_only"] = Field(
        "none", description="Biases that are trained as well: none, all, or those of layers with an adapter."
    )


class Adapter(WeightsKind):
    """An adapter in float32 over weights that stay; they may be held in 16 bits."""

    # QLoRA paper (arXiv 2305.14314), table 9.
    learning_rate = 2e-4
    stored_as = "adapter"
    options: AdapterOptions
    # What the adapter begins with; biases that are trained.
    init: str = "default"
    bias: Literal["none", "all", "lora_only"] = "none"

    @property
    def keeps_start(self) -> bool:
        """Only an adapter that took nothing out of the weights below it, and trains none of them."""
        return not self._mutates and self.bias == "none"

    @property
    def _mutates(self) -> bool:
        """Whether the adapter begins with a part of the weights, which then lack it."""
        return self.init.startswith(("pissa", "olora", "loftq"))

    def clashes(self, settings: TrainSettings) -> list[str]:
        """What the parts of an adapter can't go with."""
        found = []
        if self._mutates and self.options.use_dora:
            found.append(f"init_lora_weights {self.init} and use_dora: the one begins without the other")
        objective = getattr(settings, "objective", None)
        if self.init in _BY_TEXTS and objective is not None and objective.kind not in _TEXTS:
            found.append(
                f"init_lora_weights {self.init} is for the objectives {' and '.join(_TEXTS)}, not for {objective.kind}"
            )
        return found

    @property
    def names_parts(self) -> bool:
        """Whether anything is named beside all linear layers."""
        options = self.options
        named = (options.rank_pattern, options.alpha_pattern, options.layers_to_transform, options.modules_to_save)
        experts = getattr(options, "target_parameters", None)
        return options.target_modules != "all-linear" or any(named) or bool(experts) or self.bias != "none"

    def dtype(self, gpu_bf16: bool) -> Dtype:
        """The weights that stay lose nothing in bfloat16."""
        return "bfloat16" if gpu_bf16 else "float32"

    def peft_config(self, model: Any) -> Any:
        """peft's LoraConfig.

        Raises:
            ConfigError: the options don't fit this model.
        """
        from peft import LoraConfig

        options = self.options
        experts, targets = self._experts(model), self._layers(model)
        _require_modules(model, options.modules_to_save)
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=options.r,
            lora_alpha=options.lora_alpha,
            lora_dropout=options.lora_dropout,
            target_modules=targets,
            target_parameters=experts or None,
            use_rslora=options.use_rslora,
            use_dora=options.use_dora,
            init_lora_weights=_SET_LATER.get(self.init, self.init),  # type: ignore[arg-type]
            bias=self.bias,
            rank_pattern=dict(options.rank_pattern),
            alpha_pattern=dict(options.alpha_pattern),
            layers_to_transform=None if options.target_modules == "all-linear" else self._numbers(model),
            modules_to_save=list(options.modules_to_save) or None,
            ensure_weight_tying=_saves_tied(model, options.modules_to_save),
        )

    def attached(self, model: Any) -> Any:
        """The model with an untrained adapter.

        Raises:
            ConfigError: target_modules match no layer, or the options don't go with a mixture of experts.
        """
        from peft import get_peft_model

        self.prepare(model, Draw())
        peft_config = self.peft_config(model)
        if self._mutates:
            # Of which there are as many weights; singular vectors of a model without weights can't be found.
            peft_config.init_lora_weights = True
        try:
            with warnings.catch_warnings():
                # Patterns that match nothing are refused below.
                warnings.simplefilter("ignore", RuntimeWarning)
                attached = get_peft_model(model, peft_config)
        except ValueError as e:
            raise self._no_layer(model) from e
        self._require_patterns(attached)
        self._require_biases(attached)
        if self.init == "eva":
            require_room(attached, self.options.eva_rho)
        return attached

    def _no_layer(self, model: Any) -> ConfigError:
        layers = sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if "Linear" in type(m).__name__})
        return ConfigError(
            f"weights.target_modules {self.options.target_modules} names no layer of the model",
            hint=f"use all-linear, or some of {', '.join(n for n in layers if n != 'lm_head')}",
        )

    def smaller(self, scale: float) -> WeightsKind:
        """Of a rank that is as much smaller, on all layers."""
        ranks = [self.options.r, *self.options.rank_pattern.values()]
        changed: dict[str, Any] = {"r": max(1, round(max(ranks) / scale)), "layers_to_transform": None}
        # How it begins takes no memory that stays.
        changed |= {"rank_pattern": {}, "alpha_pattern": {}, "init_lora_weights": "default"}
        return type(self)(self.options.model_copy(update=changed))  # type: ignore[call-arg]

    def begin(self, trainer: Any, settings: TrainSettings) -> None:
        """Set what is set by rows; keep what the adapter took out of the weights, to give it back at saving."""
        if self.init == "eva":
            begin_with_inputs(trainer, self.options.eva_rows, self.options.eva_rho)
        self._initial = initial_updates(trainer.model) if self._mutates else {}

    def save(self, model: Any, folder: Path) -> None:
        """Write the adapter, so that it fits the weights that training started from."""
        model.save_pretrained(str(folder))
        if self._mutates:
            save_over_start(folder, self._initial)

    def _numbers(self, model: Any) -> list[int] | None:
        """Numbers of the layers that have adapters; None: all."""
        wanted = self.options.layers_to_transform
        if wanted is None:
            return None
        _, layers = decoder_layers(model)
        return list(numbers_of(wanted, len(layers), "layers_to_transform"))

    def _require_patterns(self, attached: Any) -> None:
        """Refuse a rank or an alpha that holds for no layer: peft would leave it out silently."""
        adapted = [n for n, m in attached.named_modules() if hasattr(m, "lora_A")]
        for key in ("rank_pattern", "alpha_pattern"):
            for pattern in getattr(self.options, key):
                if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in adapted):
                    raise ConfigError(
                        f"weights.{key}: no layer with an adapter is called {pattern!r}", where="train.weights",
                        hint=f"they are {', '.join(sorted({n.rsplit('.', 1)[-1] for n in adapted}))}",
                    )  # fmt: skip

    def _require_biases(self, attached: Any) -> None:
        """Refuse biases that aren't there: peft would train none silently."""
        trained = [n for n, p in attached.named_parameters() if n.endswith("bias") and p.requires_grad]
        if self.bias != "none" and not trained:
            which = "the model" if self.bias == "all" else "no layer with an adapter"
            raise ConfigError(
                f"weights.bias is {self.bias}, and {which} has {'no' if self.bias == 'all' else 'a'} bias",
                where="train.weights", hint="leave it out",
            )  # fmt: skip

    def _layers(self, model: Any) -> str | list[str]:
        """What peft is told as target_modules. All-linear is spelled out for some layers alone, for mixtures of experts
        (peft adds experts and routers of some architectures by itself, and none of others), and for models that see
        (of which the text is trained alone).
        """
        import torch

        targets = self.options.target_modules
        if targets != "all-linear":
            return self._named(model, targets)
        config = model.config
        numbers = self._numbers(model)
        if config.get_text_config() is config and not expert_weights(model) and numbers is None:
            return targets
        decoder, head = model.get_decoder(), model.get_output_embeddings()
        at = next(f"{n}." if n else "" for n, m in model.named_modules() if m is decoder)
        linear = [n for n, m in decoder.named_modules() if isinstance(m, torch.nn.Linear) and m is not head]
        if numbers is not None:
            layers = decoder_layers(model)[0].removeprefix(at)
            linear = [n for n in linear if n.startswith(tuple(f"{layers}.{i}." for i in numbers))]
        return sorted(at + n for n in linear)

    def _named(self, model: Any, targets: Sequence[str]) -> list[str]:
        """The layers that are named. Tied embeddings can't have an adapter: merged, it would move the head as well."""
        embeddings = model.get_input_embeddings()
        at = [n for n, m in model.named_modules() if m is embeddings]
        tied = model.config.get_text_config().tie_word_embeddings
        if tied and any(n == t or n.endswith(f".{t}") for n in at for t in targets):
            raise ConfigError(
                "weights.target_modules names embeddings that are tied to the head, which can't have an adapter",
                where="train.weights", hint=f"train them whole: modules_to_save: [{at[0].rsplit('.', 1)[-1]}]",
            )  # fmt: skip
        if missing := [t for t in targets if not any(n == t or n.endswith(f".{t}") for n, _ in model.named_modules())]:
            raise self._no_layer(model) if len(missing) == len(targets) else ConfigError(
                f"weights.target_modules: the model has no layer called {missing[0]}", where="train.weights",
                hint=f"leave it out; the others are there: {', '.join(t for t in targets if t not in missing)}",
            )  # fmt: skip
        return list(targets)

    def _experts(self, model: Any) -> list[str]:
        """Names of the weights of experts that are trained."""
        options, found = self.options, expert_weights(model)
        wanted = getattr(options, "target_parameters", ())
        if wanted is None:
            wanted = tuple(found) if options.target_modules == "all-linear" else ()
        if unknown := [n for n in wanted if n not in found]:
            raise ConfigError(
                f"weights.target_parameters: the model has no experts' weights called {unknown[0]}",
                where="train.weights", hint=f"it has {', '.join(found) or 'none'}",
            )  # fmt: skip
        unfit = [n for n in ("lora_dropout", "use_dora", "layers_to_transform") if getattr(options, n)]
        if self.init != "default":
            unfit.append("init_lora_weights")
        if wanted and unfit:
            raise ConfigError(
                f"weights.{unfit[0]} doesn't go with adapters on experts ({', '.join(wanted)})",
                where="train.weights", hint=f"leave {unfit[0]} out, or set target_parameters: [] and train no expert",
            )  # fmt: skip
        return list(wanted)

    def left_out(self, model: Any) -> list[str]:
        """Layers that all-linear promises, and which have no adapter."""
        if self.options.target_modules != "all-linear" or self.options.layers_to_transform is not None:
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


class Lora(Adapter):
    """An adapter over weights as they are."""

    options: LoraOptions
    lighter = "weights.kind=qlora"

    def __init__(self, options: LoraOptions) -> None:
        self.options, self.init, self.bias = options, options.init_lora_weights, options.bias


def _require_modules(model: Any, wanted: Sequence[str]) -> None:
    """Refuse modules that aren't there: peft would leave them out silently."""
    names = [n for n, _ in model.named_modules()]
    for module in wanted:
        if not any(n == module or n.endswith(f".{module}") for n in names):
            shown = sorted({n.rsplit(".", 1)[-1] for n in names if n and not n.rsplit(".", 1)[-1].isdigit()})
            raise ConfigError(
                f"weights.modules_to_save: the model has no module called {module}", where="train.weights",
                hint=f"it has {', '.join(shown)}",
            )  # fmt: skip


def _saves_tied(model: Any, wanted: Sequence[str]) -> bool:
    """Whether embeddings that are tied to the head are trained whole: they stay tied."""
    if not model.config.get_text_config().tie_word_embeddings:
        return False
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    names = {n.rsplit(".", 1)[-1] for n, m in model.named_modules() if any(m is end for end in ends)}
    return bool(names & {w.rsplit(".", 1)[-1] for w in wanted})


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

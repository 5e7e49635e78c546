"""Settings that have no effect beside the others that were chosen: refused, since a run wouldn't show it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from steps.contracts.reports import Frozen

# A TrainConfig, which imports this module.
Phase: TypeAlias = Any

# Optimizers that keep no means of gradients (transformers 5: it hands their decays to AdamW and Lion alone).
_WITHOUT_BETAS = ("sgd", "adafactor")
# Objectives that read only prompts: one that is too long is always dropped, since a part of it asks something else.
_OF_PROMPTS = ("grpo", "rloo", "distill")


@dataclass(frozen=True)
class _Rule:
    """Settings, dotted, that mean nothing where `idle`, and why."""

    names: tuple[str, ...]
    idle: Callable[[Phase], bool]
    why: str


def _leaves_pairs_out(phase: Phase) -> bool:
    return bool(phase.rows.kinds) and "preference" not in phase.rows.kinds


_RULES = (
    _Rule(
        ("adam_beta1", "adam_beta2"), lambda p: p.optim in _WITHOUT_BETAS, "optim {optim} keeps no such mean"
    ),
    _Rule(("new_tokens_from",), lambda p: not p.new_tokens, "there are no new_tokens"),
    _Rule(
        ("early_stopping_threshold",),
        lambda p: p.early_stopping_patience is None,
        "nothing stops early without early_stopping_patience",
    ),
    _Rule(("sample_tokens",), lambda p: p.sample_steps is None, "nothing is sampled without sample_steps"),
    _Rule(("sample_steps",), lambda p: p.objective.kind == "reward", "a reward model writes no answers"),
    _Rule(
        ("max_unusable_share",), lambda p: p.unusable_rows == "fail", "unusable_rows: fail stops at the first such row"
    ),
    _Rule(
        ("overlong",),
        lambda p: p.objective.kind in _OF_PROMPTS,
        "{kind} leaves prompts out that are too long, and cuts none",
    ),
    _Rule(
        ("eval_steps", "max_eval_rows", "per_device_eval_batch_size"),
        lambda p: p.rows.split == "validation",
        "there is no validation loss after rows.split: validation",
    ),
    _Rule(("objective.preference_as",), _leaves_pairs_out, "rows.kinds leaves preferences out"),
    _Rule(
        ("weights.eva_rows", "weights.eva_rho"),
        lambda p: getattr(p.weights, "init_lora_weights", "eva") != "eva",
        "init_lora_weights isn't eva",
    ),
    _Rule(
        ("weights.loftq_iter",),
        lambda p: getattr(p.weights, "init_lora_weights", "loftq") != "loftq",
        "init_lora_weights isn't loftq",
    ),
    _Rule(
        ("weights.double_quantization",),
        lambda p: getattr(p.weights, "quantization", "") == "int8",
        "int8 has one scale for each row, and no blocks",
    ),
)  # fmt: skip


def idle_settings(phase: Phase) -> list[str]:
    """Settings that differ from their defaults and have no effect, in words."""
    found = ((name, rule.why) for rule in _RULES if rule.idle(phase) for name in rule.names if _is_set(phase, name))
    return [f"{name} has no effect: {why.format(optim=phase.optim, kind=phase.objective.kind)}" for name, why in found]


def _is_set(phase: Phase, name: str) -> bool:
    """Whether a setting is there and isn't its default."""
    *path, last = name.split(".")
    options: Frozen = phase
    for part in path:
        options = getattr(options, part)
    field = type(options).model_fields.get(last)
    return field is not None and getattr(options, last) != field.get_default(call_default_factory=True)

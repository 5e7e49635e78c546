"""What a run can do where memory is short, from the change that costs least to the one that costs most.

The first rungs keep what is computed: the rows of an optimizer step stay the same ones, in smaller passes whose
gradients are added up, or with activations that are computed twice. The others train something else, and are only
proposed.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, ValidationError

from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.settings import Plan
from steps.train.weights.registry import weights_of

# Keys of a phase, dotted, and their values.
Changes = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Rung:
    """Settings that need less memory.

    Attributes:
        changes: what differs from the settings that were asked for.
        price: what it costs, in words.
    """

    config: TrainConfig
    plan: Plan
    changes: Changes
    price: str

    def arguments(self, place: str = "train") -> tuple[str, ...]:
        """The changes as values of `--set`. `place`: of the phase in the config, such as train.0."""
        return tuple(f"{place}.{key}={_written(value)}" for key, value in self.changes.items())

    @property
    def words(self) -> str:
        """The changes as they stand in a config."""
        return ", ".join(f"{key}: {_written(value)}" for key, value in self.changes.items())


def _written(value: JsonValue) -> str:
    """As YAML has it on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_written(v)}' for k, v in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def same_steps(config: TrainConfig, plan: Plan) -> Iterator[Rung]:
    """Settings with which every optimizer step sees the same rows: fewer of them at once, then with activations that
    are computed again in the backward pass.
    """
    asked = config.per_device_train_batch_size
    whole = objective_of(config.objective).batches_are_whole
    smaller = [] if whole else [_split(config, rows) for rows in range(asked - 1, 0, -1)]
    batches: list[Changes] = [found for found in smaller if found]
    yield from (_rung(config, plan, batch, "more and smaller passes per step") for batch in batches)
    if plan.gradient_checkpointing:
        return
    recomputed = {"gradient_checkpointing": True}
    yield _rung(config, plan, recomputed, "a third more computing")
    for batch in batches:
        yield _rung(config, plan, {**batch, **recomputed}, "a third more computing, in more and smaller passes")


def _split(config: TrainConfig, rows: int) -> Changes:
    """So many rows per pass, and as many passes as make the same step; empty where they don't."""
    step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    if step % rows:
        return {}
    return {"per_device_train_batch_size": rows, "gradient_accumulation_steps": step // rows}


def other_training(config: TrainConfig, plan: Plan) -> Iterator[Rung]:
    """Settings that train otherwise: each alone, without what `same_steps` adds to it."""
    kind = weights_of(config.weights)
    # A GPU without bfloat16 emulates it, which takes longer than it is worth.
    if plan.dtype == "float32" and kind.stored_as == "adapter" and (plan.bf16 or plan.device == "cpu"):
        yield _rung(config, plan, {"dtype": "bfloat16"}, "the weights that stay are rounded to 16 bits")
    if kind.stored_as == "full" and config.optim in ("adamw_torch_fused", "adamw_torch"):
        yield _rung(config, plan, {"optim": "adamw_8bit"}, "AdamW's moments in 8 bits (arXiv 2110.02861)")
    if kind.lighter is not None:
        value = kind.lighter.partition("=")[2]
        price = f"trains {value} instead of {config.weights.kind}"
        try:
            yield _rung(config, plan, {"weights.kind": value}, price)
        except ValidationError:  # options that only the kind there is now has
            yield _rung(config, plan, {"weights": {"kind": value}}, price)


def _rung(config: TrainConfig, plan: Plan, changes: Changes, price: str) -> Rung:
    changed = changed_config(config, changes)
    how: dict[str, Any] = {k: v for k, v in changes.items() if k in ("gradient_checkpointing", "dtype")}
    if any(k.partition(".")[0] == "weights" for k in changes) and plan.device != "cpu" and config.dtype == "auto":
        how["dtype"] = weights_of(changed.weights).dtype(plan.bf16 or plan.dtype == "bfloat16")
    return Rung(changed, dataclasses.replace(plan, **how), changes, price)


def changed_config(config: TrainConfig, changes: Changes) -> TrainConfig:
    """The config with other values.

    Raises:
        pydantic.ValidationError: they contradict each other, or the rest.
    """
    values = config.model_dump(mode="json", exclude_unset=True)
    # Options that are another kind's would be refused, so that only what was set is taken; the kind always is.
    for name in ("objective", "weights"):
        if name in values:
            values[name]["kind"] = getattr(config, name).kind
    for key, value in changes.items():
        *path, last = key.split(".")
        at = values
        for name in path:
            at = at.setdefault(name, {})
        at[last] = value
    return TrainConfig.model_validate(values)


def smallest_that(
    fits: Callable[[TrainConfig, Plan], bool], config: TrainConfig, plan: Plan
) -> tuple[Rung | None, tuple[Rung, ...]]:
    """The first change that keeps what is computed and fits, and every one that fits and trains something else, each
    with as little besides as it takes.
    """
    same = next((r for r in same_steps(config, plan) if fits(r.config, r.plan)), None)
    others = []
    for start in _others(config, plan):
        if fits(start.config, start.plan):
            others.append(start)
            continue
        found = next((r for r in same_steps(start.config, start.plan) if fits(r.config, r.plan)), None)
        if found is not None:
            price = f"{start.price}; {found.price}"
            others.append(Rung(found.config, found.plan, {**start.changes, **found.changes}, price))
    return same, tuple(others)


def _others(config: TrainConfig, plan: Plan) -> Iterator[Rung]:
    """Each of `other_training`, and what follows from it in turn (full, lora, qlora)."""
    try:
        found = list(other_training(config, plan))
    except ValidationError:
        return
    for rung in found:
        yield rung
        if any(k.startswith("weights") for k in rung.changes):
            for further in _others(rung.config, rung.plan):
                yield dataclasses.replace(further, changes={**rung.changes, **further.changes})

"""What training would take, told before anything runs: memory, disk, steps, hours, money, and the smallest change that
makes it fit.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ops.training_plan.described import Described, described
from ops.training_plan.disk import Disk, disk_of
from ops.training_plan.enough import hints
from ops.training_plan.prices import HourlyPrice, PriceTable
from ops.training_plan.rows import Rows, rows_of_phase
from pipelines.config import RunConfig
from steps.contracts.errors import ConfigError
from steps.train.config import TrainConfig
from steps.train.memory_estimate import Estimate, Measuring, Shape, estimate, free_bytes, measuring, shape_of
from steps.train.plan import plan_for
from steps.train.planning.devices import Device
from steps.train.planning.ladder import Rung, smallest_that
from steps.train.planning.work import optimizer_steps, step_seconds
from steps.train.settings import Plan

# Tokens of an answer where evaluate.max_new_tokens names none and no reference is at hand: those of its look at
# degenerating answers.
_ANSWER = 64


@dataclass(frozen=True)
class Card:
    """Where training would run. `device`: None: this machine's CPU, or a card that isn't in the table.

    Attributes:
        memory: bytes there; None: not known.
        bf16: whether it has bfloat16.
    """

    kind: Literal["cpu", "cuda"]
    name: str
    device: Device | None
    memory: int | None
    bf16: bool


@dataclass(frozen=True)
class Change:
    """A change that fits. `arguments`: values of `--set`; `total`: bytes at the peak then."""

    arguments: tuple[str, ...]
    price: str
    total: int


@dataclass(frozen=True)
class PhasePlan:
    """What one phase takes.

    Attributes:
        place: of its settings in the config, such as train.0.
        same: the smallest change that fits and keeps what is computed; others: those that train something else.
        smallest_card: the smallest card of the table that it fits on as it is.
        steps: of the optimizer; None: the number of rows isn't known.
        seconds: at the published share of the peak, and at a careful one; None: not known.
        hints: whether the data is enough.
    """

    phase: TrainConfig
    place: str
    plan: Plan
    shape: Shape
    memory: Estimate
    same: Change | None
    others: tuple[Change, ...]
    rows: Rows
    steps: int | None
    seconds: tuple[float, float] | None
    disk: Disk
    hints: tuple[str, ...]


@dataclass(frozen=True)
class TrainingPlan:
    """All phases, and what is said of the whole. `licences`: of each source; None: not stated."""

    config: RunConfig
    base: Described
    card: Card
    phases: tuple[PhasePlan, ...]
    evaluation: Measuring
    price: HourlyPrice | None
    currency: str
    licences: Mapping[str, str | None]

    @property
    def seconds(self) -> tuple[float, float] | None:
        """Of all phases."""
        found = [p.seconds for p in self.phases]
        if any(s is None for s in found):
            return None
        return sum(s[0] for s in found if s), sum(s[1] for s in found if s)


@dataclass(frozen=True)
class Asked:
    """What is known besides the config.

    Attributes:
        base: where its config.json is. rows: instead of counting them.
        mfu: shares of the peak that training reaches: as published, and to be careful.
    """

    base: Path | None = None
    rows: int | None = None
    mfu: tuple[float, float] = (0.4, 0.2)


def training_plan(
    root: Path,
    config: RunConfig,
    card: Card,
    prices: PriceTable,
    state: Path,
    asked: Asked = Asked(),
) -> TrainingPlan:
    """The plan. `state`: where checkpoints lie.

    Raises:
        ConfigError: the run doesn't train, or its settings don't fit the model.
        InputNotFoundError: the base's description isn't on this machine.
    """
    if config.base is None or not config.phases:
        raise ConfigError(f"pipeline: {config.pipeline} trains nothing", hint="plan a config that trains")
    base = described(root, config.base, asked.base)
    model = _on_meta(base)
    listed = isinstance(config.train, tuple)
    with warnings.catch_warnings():
        # transformers 5 warns of names of its own, which peft uses.
        warnings.simplefilter("ignore", FutureWarning)
        tokenizer = _tokenizer(base)
        phases = tuple(
            _phase(root, config, phase, f"train.{i}" if listed else "train", model, base, card, tokenizer, state, asked)
            for i, phase in enumerate(config.phases)
        )
    return TrainingPlan(
        config=config,
        base=base,
        card=card,
        phases=phases,
        evaluation=_evaluation(config, phases[-1]),
        price=prices.of(card.device.name) if card.device is not None else None,
        currency=prices.currency,
        licences={s.name: s.licence for s in (config.ingest.sources if config.ingest and config.curates else ())},
    )


def _on_meta(base: Described) -> Any:
    """A function that makes the model on the meta device: nothing is allocated."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = base.values()
    try:
        read = AutoConfig.for_model(values.pop("model_type"), **values)
    except ValueError as e:
        raise ConfigError(
            f"transformers doesn't know this model: {str(e).splitlines()[0]}", where=str(base.file)
        ) from e

    def make() -> Any:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(read)

    return make


def _tokenizer(base: Described) -> Any:
    if not base.has_weights:
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(base.file.parent), trust_remote_code=False, local_files_only=True)


def _phase(
    root: Path,
    config: RunConfig,
    phase: TrainConfig,
    place: str,
    model: Any,
    base: Described,
    card: Card,
    tokenizer: Any,
    state: Path,
    asked: Asked,
) -> PhasePlan:
    vocab = model().config.get_text_config().vocab_size

    def planned(changed: TrainConfig) -> tuple[Shape, Plan]:
        how = plan_for(changed, vocab, card.kind, gpu_bf16=card.bf16)
        return shapes.setdefault(changed.weights.model_dump_json(), shape_of(model(), changed)), how

    shapes: dict[str, Shape] = {}
    shape, plan = planned(phase)
    memory = estimate(shape, phase, plan, card.memory)
    same, others = _changes(phase, plan, memory, planned, card, place)
    rows = rows_of_phase(root, config, phase, tokenizer, asked.rows)
    steps = None if rows.count is None else optimizer_steps(phase, rows.count)
    steps = phase.max_steps or steps
    passes = phase.num_train_epochs or 1.0
    tokens = rows.count * sum(rows.lengths) / len(rows.lengths) if rows.count and rows.lengths else None
    return PhasePlan(
        phase=phase,
        place=place,
        plan=plan,
        shape=shape,
        memory=memory,
        same=same,
        others=others,
        rows=rows,
        steps=steps,
        seconds=_seconds(shape, phase, plan, card, rows, steps, asked),
        disk=disk_of(base, shape, phase, plan, rows, state),
        hints=tuple(hints(phase.objective.kind, rows.count, tokens, passes)) if rows.count is not None else (),
    )


def _changes(
    phase: TrainConfig, plan: Plan, memory: Estimate, planned: Any, card: Card, place: str
) -> tuple[Change | None, tuple[Change, ...]]:
    """What to change where it doesn't fit."""
    if memory.fits:
        return None, ()

    def needed(config: TrainConfig) -> Estimate:
        shape, how = planned(config)
        return estimate(shape, config, how, card.memory)

    def change(rung: Rung) -> Change:
        return Change(rung.arguments(place), rung.price, needed(rung.config).total)

    same, others = smallest_that(lambda config, _: needed(config).fits, phase, plan)
    return change(same) if same else None, tuple(change(rung) for rung in others)


def _seconds(
    shape: Shape, phase: TrainConfig, plan: Plan, card: Card, rows: Rows, steps: int | None, asked: Asked
) -> tuple[float, float] | None:
    if card.device is None or steps is None:
        return None
    # Where no row was seen they are taken to be as long as they may be.
    lengths = rows.lengths or (phase.max_length,)
    fast, careful = (step_seconds(shape, phase, plan, card.device, mfu, lengths) for mfu in asked.mfu)
    return steps * fast, steps * careful


def _evaluation(config: RunConfig, last: PhasePlan) -> Measuring:
    wanted = config.evaluate
    answer = min(wanted.max_new_tokens or _ANSWER, last.phase.max_length - 1)
    return measuring(
        last.shape,
        dtype=wanted.dtype,
        rows=wanted.batch_size,
        tokens=wanted.batch_tokens,
        length=last.phase.max_length,
        answer=answer,
    )


def this_machine() -> Card:
    """What is here: a GPU where torch sees one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        from steps.train.planning.devices import device_like

        name = torch.cuda.get_device_name()
        return Card("cuda", name, device_like(name), free_bytes("cuda"), torch.cuda.is_bf16_supported())
    return Card("cpu", "this machine's CPU", None, free_bytes("cpu"), bf16=False)

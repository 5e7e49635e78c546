"""What training would take, told before anything runs: memory, disk, steps, hours, money, and the smallest change that
makes it fit.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from ops.batches.inputs import base_for
from ops.fitting import require_teacher_fits
from ops.training_plan.asked import asked_weights
from ops.training_plan.described import Described, described, on_meta
from ops.training_plan.disk import Disk, disk_of
from ops.training_plan.held_out import held_out_rows, power
from ops.training_plan.prices import LISTED, HourlyPrice, PriceTable
from ops.training_plan.probe import Probe, probe
from ops.training_plan.rows import Rows, rows_of_phase
from pipelines.config import RunConfig
from steps.contracts.errors import AssayError, ConfigError
from steps.contracts.models import ModelFolder
from steps.engines.lm.device import has_bf16
from steps.engines.lm.load import weights_path
from steps.engines.yardsticks.enough import hints
from steps.evaluate.config import EvaluateConfig
from steps.train.config import TrainConfig
from steps.train.memory_estimate import Estimate, Measuring, Shape, estimate, free_bytes, measuring, shape_of
from steps.train.plan import plan_for, require_context, require_kernels_go, require_shared, shared
from steps.train.planning.devices import CAREFUL_MFU, PUBLISHED_MFU, Device
from steps.train.planning.ladder import Rung, smallest_that
from steps.train.planning.work import answering_seconds, optimizer_steps, step_seconds
from steps.train.ranks.config import Ranks
from steps.train.settings import Plan
from steps.zenml_runtime.state import state_folder

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
        seconds: at the published share of the peak, and at a careful one; or as probed, twice; None: not known.
        probed: what was measured.
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
    probed: Probe | None
    disk: Disk
    hints: tuple[str, ...]


@dataclass(frozen=True)
class TrainingPlan:
    """All phases, and what is said of the whole.

    Attributes:
        mfu: shares of the peak that times are told by.
        licences: of each source; None: not stated.
        evaluation_change: what to change where evaluating doesn't fit.
        power: which gains the held-out rows can show, in a sentence; "": their number isn't known.
    """

    config: RunConfig
    base: Described
    card: Card
    phases: tuple[PhasePlan, ...]
    evaluation: Measuring
    evaluation_change: Change | None
    price: HourlyPrice | None
    currency: str
    licences: Mapping[str, str | None]
    mfu: tuple[float, float]
    power: str = ""

    @property
    def cards(self) -> int:
        """That the machine has: as many as the phase with the most processes takes."""
        return max(phase.plan.processes for phase in self.phases)

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
        probe: steps that are trained on this machine to see how long they take; None: time is told by the table.
        ranks: processes that train together, one per card, by the phase's stage; one alone where nothing is said.
    """

    base: Path | None = None
    rows: int | None = None
    mfu: tuple[float, float] = (PUBLISHED_MFU, CAREFUL_MFU)
    probe: int | None = None
    ranks: Mapping[str, Ranks] = field(default_factory=dict)


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
    with ExitStack() as cleanup, warnings.catch_warnings():
        # transformers 5 warns of names of its own, which peft uses.
        warnings.simplefilter("ignore", FutureWarning)
        started, given = None, asked.base
        if asked.probe is not None:
            folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="assay-base-")))
            started = base_for(root, config, folder / "base")
            given = weights_path(started)
        base = described(root, config, given)
        known = _Known(
            root, config, base, on_meta(base.values(), base.file), _tokenizer(base), started, card, state, asked
        )
        for phase in config.phases:
            require_context(base.values(), phase)
        listed = isinstance(config.train, tuple)
        phases = tuple(
            _phase(known, phase, f"train.{i}" if listed else "train") for i, phase in enumerate(config.phases)
        )
    asked_rows = held_out_rows(root, config)
    return TrainingPlan(
        power=power(asked_rows, config) if asked_rows else "",
        config=config,
        base=base,
        card=card,
        phases=phases,
        evaluation=_measuring(config.evaluate, phases[-1]),
        evaluation_change=_evaluation_change(config.evaluate, phases[-1], card.memory),
        price=prices.of(card.device.name) if card.device is not None else None,
        currency=prices.currency,
        mfu=asked.mfu,
        licences={s.name: s.licence for s in (config.ingest.sources if config.ingest and config.curates else ())},
    )


@dataclass(frozen=True)
class _Known:
    """What all phases are planned by.

    Attributes:
        make: makes the base on the meta device.
        started: its weights, for a probe.
    """

    root: Path
    config: RunConfig
    base: Described
    make: Callable[[], Any]
    tokenizer: Any
    started: ModelFolder | None
    card: Card
    state: Path
    asked: Asked


def _tokenizer(base: Described) -> Any:
    if not base.has_weights:
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(base.file.parent), trust_remote_code=False, local_files_only=True)


def _phase(known: _Known, phase: TrainConfig, place: str) -> PhasePlan:
    card, asked = known.card, known.asked
    ranks = asked.ranks.get(phase.stage, Ranks())
    require_teacher_fits(known.root, known.config, phase, known.base.file.parent)
    vocab = known.make().config.get_text_config().vocab_size
    shapes: dict[str, Shape] = {}
    besides, uncounted = asked_weights(known.root, phase, _weights(known.make()), _weights_of)

    def planned(changed: TrainConfig) -> tuple[Shape, Plan]:
        require_shared(changed, ranks, place)
        how = shared(plan_for(changed, vocab, card.kind, gpu_bf16=card.bf16), ranks)
        require_kernels_go(changed, how)
        key = changed.weights.model_dump_json()
        if key not in shapes:
            shapes[key] = dataclasses.replace(shape_of(known.make(), changed), asked=besides)
        return shapes[key], how

    shape, plan = planned(phase)
    memory = estimate(shape, phase, plan, card.memory)
    same, others = _changes(phase, plan, memory, planned, card, place)
    rows = rows_of_phase(known.root, known.config, phase, known.tokenizer, asked.rows)
    steps = phase.max_steps if rows.count is None else optimizer_steps(phase, rows.count)
    tokens = rows.count * sum(rows.lengths) / len(rows.lengths) if rows.count and rows.lengths else None
    probed = None
    if asked.probe is not None and known.started is not None:
        probed = probe(known.root, known.config, phase, known.started, asked.probe)
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
        seconds=_seconds(shape, phase, plan, card, rows, steps, probed, asked),
        probed=probed,
        disk=disk_of(known.base, shape, phase, plan, rows, known.state),
        hints=(*_hints(phase, rows, tokens), *([uncounted] if uncounted else [])),
    )


def _weights(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def _weights_of(values: dict[str, Any]) -> int:
    return _weights(on_meta(values, Path("config.json"))())


def _hints(phase: TrainConfig, rows: Rows, tokens: float | None) -> tuple[str, ...]:
    if rows.count is None:
        return ()
    return tuple(hints(phase.objective.kind, rows.count, tokens, phase.num_train_epochs or 1.0))


def _changes(
    phase: TrainConfig, plan: Plan, memory: Estimate, planned: Any, card: Card, place: str
) -> tuple[Change | None, tuple[Change, ...]]:
    """What to change where it doesn't fit."""
    if memory.fits:
        return None, ()

    def needed(config: TrainConfig) -> Estimate:
        shape, how = planned(config)
        return estimate(shape, config, how, card.memory)

    def fits(config: TrainConfig, _: Plan) -> bool:
        try:
            return needed(config).fits
        except AssayError:  # what doesn't go with this model is no way out
            return False

    def change(rung: Rung) -> Change:
        return Change(rung.arguments(place), rung.price, needed(rung.config).total)

    same, others = smallest_that(fits, phase, plan)
    return change(same) if same else None, tuple(change(rung) for rung in others)


def _seconds(
    shape: Shape,
    phase: TrainConfig,
    plan: Plan,
    card: Card,
    rows: Rows,
    steps: int | None,
    probed: Probe | None,
    asked: Asked,
) -> tuple[float, float] | None:
    if probed is not None and steps is not None:
        return steps * probed.step_seconds, steps * probed.step_seconds
    if card.device is None or steps is None:
        return None
    # Where no row was seen they are taken to be as long as they may be.
    lengths = rows.lengths or (phase.max_length,)
    fast, careful = (
        step_seconds(shape, phase, plan, card.device, mfu, lengths) / plan.processes
        + answering_seconds(shape, phase, plan, card.device, mfu)
        for mfu in asked.mfu
    )
    return steps * fast, steps * careful


def _measuring(wanted: EvaluateConfig, last: PhasePlan) -> Measuring:
    answer = min(wanted.max_new_tokens or _ANSWER, last.phase.max_length - 1)
    return measuring(
        last.shape,
        dtype=wanted.dtype,
        rows=wanted.batch_size,
        tokens=wanted.batch_tokens,
        length=last.phase.max_length,
        answer=answer,
    )


def _evaluation_change(wanted: EvaluateConfig, last: PhasePlan, memory: int | None) -> Change | None:
    """What to change where evaluating doesn't fit: smaller batches, then weights in 16 bits, then the CPU."""
    if memory is None or _measuring(wanted, last).total <= memory:
        return None
    sizes = [wanted.batch_size >> n for n in range(1, wanted.batch_size.bit_length())]
    smaller: list[tuple[dict[str, Any], str]] = [({"batch_size": n}, "more batches") for n in sizes]
    halved = [{"dtype": "bfloat16", **({"batch_size": n} if n else {})} for n in (0, *sizes)]
    rounded = [(changes, "scores of rounded weights") for changes in halved if wanted.dtype == "float32"]
    for changes, price in (*smaller, *rounded):
        total = _measuring(wanted.model_copy(update=changes), last).total
        if total <= memory:
            return Change(tuple(f"evaluate.{k}={v}" for k, v in changes.items()), price, total)
    return Change(
        ("evaluate.device=cpu",), "the machine's own memory, and much more time", _measuring(wanted, last).total
    )


def this_machine() -> Card:
    """What is here: a GPU where torch sees one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        from steps.train.planning.devices import device_like

        name = torch.cuda.get_device_name()
        return Card("cuda", name, device_like(name), free_bytes("cuda"), has_bf16())
    return Card("cpu", "this machine's CPU", None, free_bytes("cpu"), bf16=False)


def foreseen(root: Path, config: RunConfig, *, here: bool) -> TrainingPlan | str | None:
    """What a run's dry run says of its training: the plan by the prices that are listed, or why there is none; None
    where nothing is trained.

    Args:
        here: whether it would train on this machine; how much memory others have isn't known.
    """
    if not config.phases or config.base is None:
        return None
    try:
        described(root, config)
        card = this_machine() if here else Card("cuda", "the stack's machine, taken for a GPU", None, None, bf16=True)
        return training_plan(root, config, card, LISTED, state_folder())
    except AssayError as e:
        return f"{e.where}: {e.what}" if e.where else e.what

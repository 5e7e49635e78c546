"""The plan for people, and for programs."""

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.console import print_whole, text
from ops.training_plan.plan import Change, PhasePlan, TrainingPlan
from ops.training_plan.prices import HourlyPrice
from steps.contracts.humanize import duration, number, size
from steps.train.objectives.registry import objective_of
from steps.train.planning.devices import CAREFUL_MFU, MFU_SOURCE, PUBLISHED_MFU

_GIB = 2**30


def print_training_plan(out: Console, plan: TrainingPlan) -> None:
    """The plan, phase by phase."""
    out.print(text(_head(plan)))
    out.print(text(_base(plan)))
    for phase in plan.phases:
        out.print()
        out.print(text(f"{phase.phase.summary}"), style="bold")
        print_whole(out, _memory(plan, phase))
        for line in _lines(plan, phase):
            out.print(text(f"  {line}"))
    out.print()
    for line in _whole(plan):
        out.print(text(line))


def _head(plan: TrainingPlan) -> str:
    card = plan.card
    memory = f", {card.memory / _GIB:.1f} GiB" if card.memory is not None else ""
    name = f"{card.name}{memory}" if plan.cards == 1 else f"{plan.cards} x {card.name}{memory} each"
    if card.device is None:
        return f"{plan.config.name} on {name}"
    said = f"peak and memory by {card.device.source}, not measured here"
    return f"{plan.config.name} on {name} ({said})"


def _base(plan: TrainingPlan) -> str:
    base = plan.base
    licence = f"licence {base.licence} ({base.licence_from})" if base.licence else "licence not stated: look it up"
    return f"base {base.name}: {number(_rounded(plan.phases[0].shape.parameters))} weights; {licence}"


def _rounded(count: int) -> int:
    """To three digits."""
    digits = max(0, len(str(count)) - 3)
    return round(count, -digits)


def _memory(plan: TrainingPlan, phase: PhasePlan) -> Table:
    found = phase.memory
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("  memory", "GiB"):
        table.add_column(name, justify="left" if name != "GiB" else "right")
    parts = {"weights": found.weights, "reference model": found.reference, "models that are asked": found.asked,
             "gradients": found.gradients,
             "optimizer": found.optimizer, "activations": found.activations,
             "validation pass": found.validation, "answers": found.answers}  # fmt: skip
    for name, count in parts.items():
        if count:
            table.add_row(f"    {name}", f"{count / _GIB:.2f}")
    table.add_row("    peak, with a tenth to spare", f"{found.total / _GIB:.2f}")
    table.add_row("    evaluation", f"{plan.evaluation.total / _GIB:.2f}")
    return table


def _lines(plan: TrainingPlan, phase: PhasePlan) -> Iterator[str]:
    yield _verdict(plan, phase)
    if phase.same is not None:
        yield f"to fit: {_arguments(phase.same)} → {phase.same.total / _GIB:.1f} GiB ({phase.same.price})"
    for change in phase.others[:3]:
        yield f"or, which trains otherwise: {_arguments(change)} → {change.total / _GIB:.1f} GiB ({change.price})"
    if not phase.memory.fits and phase.same is None and not phase.others:
        yield "no change of these settings fits: a smaller base, or a card with more memory"
    if phase.plan.processes > 1:
        machines = f" of {phase.plan.nodes} machines" if phase.plan.nodes > 1 else ""
        yield (
            f"{phase.plan.processes} processes{machines} ({phase.plan.strategy}) share each batch; memory is that of"
            " one of them, time leaves out what they wait for each other"
        )
    yield f"trains {number(_rounded(phase.shape.trainable))} weights, {_share(phase)} of all"
    yield _steps(phase)
    if phase.rows.longer:
        yield _longer(phase)
    if phase.seconds is not None:
        yield f"time: {_time(phase.seconds)} ({_by(plan, phase)})"
    elif phase.steps is not None:
        yield "time: not known, since this isn't in the table of cards; --probe measures some steps here"
    if phase.probed is not None and phase.probed.peak is not None:
        yield f"measured at the peak: {phase.probed.peak / _GIB:.2f} GiB"
    yield _disk(phase)
    yield from (f"hint: {hint}" for hint in phase.hints)


def _verdict(plan: TrainingPlan, phase: PhasePlan) -> str:
    need = f"{phase.memory.total / _GIB:.1f} GiB"
    if plan.card.memory is None:
        return f"needs {need}; how much there is isn't known"
    word = "fits" if phase.memory.fits else "DOESN'T FIT"
    return f"{word}: {need} of {plan.card.memory / _GIB:.1f} GiB"


def _arguments(change: Change) -> str:
    return " ".join(f"--set {shlex.quote(a)}" for a in change.arguments)


def _share(phase: PhasePlan) -> str:
    return f"{phase.shape.trainable / phase.shape.parameters:.2%}"


def _steps(phase: PhasePlan) -> str:
    config, rows = phase.phase, phase.rows
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    answers = objective_of(config.objective).answers_per_prompt
    if phase.steps is None:
        return f"steps of {batch} rows: not known, since the rows aren't ({rows.origin}); --rows N plans for N"
    of = f"{rows.count:,} rows{_row_lengths(phase)} ({rows.origin})" if rows.count is not None else rows.origin
    epochs = config.num_train_epochs or 1.0
    if config.max_steps is not None:
        epochs = config.max_steps * batch / (rows.count * (answers or 1)) if rows.count else 0.0
    return f"{phase.steps:,} steps of {batch} {'answers' if answers else 'rows'}, {epochs:.3g} passes over {of}"


def _row_lengths(phase: PhasePlan) -> str:
    """How long rows are; of prompts, what answers add."""
    lengths = phase.rows.lengths
    if not lengths:
        return ""
    mean = f"{sum(lengths) / len(lengths):,.0f}"
    objective = objective_of(phase.phase.objective)
    answers = objective.demand(phase.phase).answers
    if answers is None:
        return f", {mean} tokens each" + (" with the longer answer" if objective.sequences_per_row > 1 else "")
    count = objective.answers_per_prompt
    return f", {mean} tokens of prompt each and {count} answer{'s' if count > 1 else ''} of at most {answers[2]:,}"


def _longer(phase: PhasePlan) -> str:
    config, share = phase.phase, f"{phase.rows.longer:.0%}"
    answers = objective_of(config.objective).demand(config).answers
    if answers is None:
        return (
            f"{share} of the rows looked at are longer than max_length {config.max_length}: overlong: {config.overlong}"
        )
    return (
        f"{share} of the prompts looked at are longer than the {answers[1]:,} tokens that max_length"
        f" {config.max_length} leaves beside an answer: they are left out"
    )


def _time(seconds: tuple[float, float]) -> str:
    return " to ".join(dict.fromkeys(duration(s) for s in seconds))


def _by(plan: TrainingPlan, phase: PhasePlan) -> str:
    if phase.probed is not None:
        probed = phase.probed
        return f"measured here: {duration(probed.step_seconds)} a step, over {probed.steps} on {probed.rows}"
    shares = plan.mfu
    if shares == (PUBLISHED_MFU, CAREFUL_MFU):
        return f"at {PUBLISHED_MFU:.0%} of the peak: {MFU_SOURCE}; or at {CAREFUL_MFU:.0%}, chosen; not measured"
    return f"at {shares[0]:.0%} of the peak (--mfu)"


def _disk(phase: PhasePlan) -> str:
    disk = phase.disk
    parts = [f"base {size(disk.base)}", f"checkpoints {size(disk.checkpoints)}", f"model {size(disk.model)}"]
    parts += [f"tokens {size(disk.tokens)}"] if disk.tokens is not None else []
    short = "" if disk.total <= disk.free else ", which is TOO LITTLE"
    return f"disk: {size(disk.total)} ({', '.join(parts)}); {size(disk.free)} free here{short}"


def _whole(plan: TrainingPlan) -> Iterator[str]:
    change = plan.evaluation_change
    if change is not None:
        need = f"{plan.evaluation.total / _GIB:.1f} GiB"
        yield f"evaluation DOESN'T FIT: {need}; to fit: {_arguments(change)} ({change.price})"
    if plan.power:
        yield plan.power
    if plan.price is not None and plan.seconds is not None:
        costs = " to ".join(f"{amount:,.2f}" for amount in _amounts(plan, plan.price))
        source = f"; {plan.price.source}" if plan.price.source else ""
        price = f"{plan.price.per_hour:g} an hour{_each(plan)}"
        yield f"money: {costs} {plan.currency} at {price}{source}; --prices FILE has your own"
    elif plan.seconds is not None and plan.card.kind != "cpu":
        yield f"money: no price of {plan.card.name} is listed; --prices FILE has your own"
    unknown = [name for name, licence in plan.licences.items() if licence is None]
    stated = [f"{name} {licence}" for name, licence in plan.licences.items() if licence]
    if stated:
        yield f"licences of sources: {', '.join(stated)}"
    if unknown:
        yield f"licence not stated of the sources {', '.join(unknown)} (ingest.sources.*.licence)"


def as_json(plan: TrainingPlan) -> dict[str, Any]:
    """The plan for a program: bytes, seconds, counts."""
    return {
        "config": plan.config.name,
        "base": {"model": plan.base.name, "licence": plan.base.licence},
        "device": {
            "name": plan.card.name, "memory": plan.card.memory, "count": plan.cards,
            "source": plan.card.device.source if plan.card.device else None, "measured": plan.card.device is None,
        },
        "phases": [_phase_json(p) for p in plan.phases],
        "evaluation": {
            **asdict(plan.evaluation), "total": plan.evaluation.total,
            "change": asdict(plan.evaluation_change) if plan.evaluation_change else None,
        },
        "power": plan.power or None,
        "seconds": plan.seconds,
        "money": _money_json(plan),
        "licences": dict(plan.licences),
    }  # fmt: skip


def _money_json(plan: TrainingPlan) -> dict[str, Any] | None:
    if plan.price is None or plan.seconds is None:
        return None
    amounts = _amounts(plan, plan.price)
    return {**plan.price.model_dump(), "currency": plan.currency, "least": amounts[0], "most": amounts[1]}


def _amounts(plan: TrainingPlan, price: HourlyPrice) -> list[float]:
    """Of all cards, for as long as any of them trains."""
    return [s / 3600 * price.per_hour * plan.cards for s in plan.seconds or ()]


def _each(plan: TrainingPlan) -> str:
    return f" for each of {plan.cards} cards" if plan.cards > 1 else ""


def _phase_json(phase: PhasePlan) -> dict[str, Any]:
    memory = phase.memory
    return {
        "name": phase.phase.model_name,
        "settings": asdict(phase.plan),
        "weights": {"all": phase.shape.parameters, "trained": phase.shape.trainable},
        "memory": {**asdict(memory), "total": memory.total, "fits": memory.fits},
        "change": asdict(phase.same) if phase.same else None,
        "other_changes": [asdict(c) for c in phase.others],
        "rows": {"count": phase.rows.count, "longer": phase.rows.longer, "origin": phase.rows.origin},
        "steps": phase.steps,
        "seconds": phase.seconds,
        "probed": asdict(phase.probed) if phase.probed else None,
        "disk": {**asdict(phase.disk), "total": phase.disk.total},
        "hints": phase.hints,
    }

"""From a dataset version to a registered, evaluated model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.config import RunConfig
from pipelines.exporting import export_step
from pipelines.start import Started
from steps.base.step import base_step
from steps.contracts.models import BASE, CHAMPION
from steps.engines.template.effective import changed
from steps.evaluate.step import EvaluateOutputs, evaluate_champion_step, evaluate_pairs_step, evaluate_step
from steps.evaluate.subject_config import SubjectConfig
from steps.gate.step import gate_step
from steps.register.step import register_step
from steps.train.config import TUNED, TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.step import TrainOutputs, train_step
from steps.train.weights.registry import weights_of


@dataclass(frozen=True)
class _Model:
    """Handles of a model: of full weights, and of what was trained from them; None: the base itself.

    Attributes:
        whole: whether `tuned` has all weights of its own; else it is an adapter over `base`.
    """

    base: Any
    tuned: Any = None
    whole: bool = False


def finetuned(config: RunConfig, start: Started, dataset: Any, reports: list[Any]) -> Any:
    """Train phase by phase, evaluate every subject by the same step, decide, register."""
    models, trained = _phases(config, start, dataset)
    reports = [*reports, *trained]
    if config.compares_with_champion:
        # As it was when the run began; the base stands in where there was none yet.
        models[CHAMPION] = _Model(models[BASE].base, start.champion)
    asked = {s.name: s for s in config.evaluate.subjects}
    measured = [
        _evaluated(name, asked[name].model if name in asked else name, models, dataset, config, start, asked.get(name))
        for name in config.subjects
    ]
    evaluations = [m.report for m in measured]
    if config.evaluate.win_rate is not None:
        evaluate_pairs_step(
            evaluations, [m.answers for m in measured], dataset, config.evaluate.model_copy(update={"subjects": ()}),
            config.gate.reference, start.inputs("evaluate"),
        )  # fmt: skip
    decided = gate_step(evaluations, [m.answers for m in measured], config.gate, start.sources)
    registered = models[config.candidate]
    registration = register_step(
        registered.base,
        registered.tuned,
        dataset,
        reports,
        evaluations,
        decided.comparison,
        decided.decision,
        config.registry,
        _training(config),
        start.sources,
    )
    if config.export is None:
        return registration
    judged = measured[config.subjects.index(config.candidate)]
    return export_step(
        registered.base,
        registered.tuned,
        dataset,
        decided.decision,
        registration,
        judged.report,
        judged.answers,
        config.export,
        config.evaluate.of_one,
        start.inputs("evaluate"),
    ).parity


def trained(config: RunConfig, start: Started, dataset: Any) -> list[Any]:
    """Train phase by phase, and no more; returns the reports."""
    return _phases(config, start, dataset)[1]


def _phases(config: RunConfig, start: Started, dataset: Any) -> tuple[dict[str, _Model], list[Any]]:
    """The base and what each phase makes, by name, and the phases' reports."""
    models = {BASE: _Model(base_step(config.base, start.inputs("base"), config.template, start.registered_base))}
    reports = []
    for phase in config.phases:
        models[phase.model_name], report = _trained(phase, models, dataset, start)
        reports.append(report)
    return models, reports


def _trained(phase: TrainConfig, models: dict[str, _Model], dataset: Any, started: Started) -> tuple[_Model, Any]:
    """The phase's model and its report, by a step and artifacts of its name."""
    start, objective = models[phase.starts_from or BASE], objective_of(phase.objective)
    base, adapter = (start.tuned, None) if start.whole else (start.base, start.tuned)
    asked = objective.asks()
    of_phases = [models[source.phase] for source in asked if source.phase is not None]
    # A phase that asks nobody is no other one because another asks somebody else.
    reads = bool(asked or objective.functions())
    step: Any = train_step
    model = f"{TUNED}_{phase.name}" if phase.name else TUNED
    named = step.with_options(substitutions={"model": model, "stage": phase.stage})
    done: TrainOutputs = named(
        base,
        adapter,
        dataset,
        phase,
        started.inputs("train") if reads else {},
        started.asked_models if reads else {},
        [m.base for m in of_phases],
        [m.tuned or m.base for m in of_phases],
        id=f"{phase.stage}_step",
    )
    return _Model(base, done.model, whole=weights_of(phase.weights).stored_as == "full"), done.report


def _evaluated(
    subject: str,
    of: str,
    models: Mapping[str, _Model],
    dataset: Any,
    config: RunConfig,
    start: Started,
    asked: SubjectConfig | None,
) -> EvaluateOutputs:
    """One subject, which is the model `of`, by a step and artifacts of its name."""
    model = models[of]
    step: Any = evaluate_champion_step if of == CHAMPION else evaluate_step
    named = step.with_options(substitutions={"subject": subject})
    done: EvaluateOutputs = named(
        subject,
        model.base,
        model.tuned,
        dataset,
        config.evaluate.of_one,
        start.inputs("evaluate"),
        asked,
        start.scrubbed,
        id=f"evaluate_{subject}_step",
    )
    return done


def _training(config: RunConfig) -> dict[str, Any]:
    """The settings in force of the phases that lead to the registered model, flat, for its card."""
    phases = {p.model_name: p for p in config.phases}
    found: dict[str, Any] = {}
    phase = phases.get(config.candidate)
    while phase is not None:
        prefix = f"{phase.name}: " if phase.name else ""
        found = {f"{prefix}{key}": value for key, value in phase.in_force().items()} | found
        phase = phases.get(phase.starts_from or BASE)
    return found | {f"template.{key}": value for key, value in changed(config.template).items()}

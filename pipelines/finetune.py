"""From a dataset version to a registered, evaluated model."""

from typing import Any

from pipelines.config import BASE, TUNED, RunConfig
from pipelines.start import Started
from steps.base.step import base_step
from steps.evaluate.step import EvaluateOutputs, evaluate_step
from steps.gate.step import gate_step
from steps.register.step import register_step
from steps.train.step import train_step


def finetuned(config: RunConfig, start: Started, dataset: Any, reports: list[Any]) -> Any:
    """Train, evaluate every subject by the same step, decide, register."""
    base = base_step(config.base, start.inputs("base"))
    trained = train_step(base, dataset, config.train)
    models = {BASE: None, TUNED: trained.model}
    measured = [_evaluated(name, base, model, dataset, config, start) for name, model in models.items()]
    evaluations = [m.report for m in measured]
    decided = gate_step(evaluations, [m.answers for m in measured], config.gate)
    return register_step(
        base,
        trained.model,
        dataset,
        [*reports, trained.report],
        evaluations,
        decided.comparison,
        decided.decision,
        config.registry,
        config.train.model_dump(mode="json"),
        _declared_sources(config),
    )


def _evaluated(subject: str, base: Any, tuned: Any, dataset: Any, config: RunConfig, start: Started) -> EvaluateOutputs:
    """One subject, by a step and artifacts of its name."""
    step: Any = evaluate_step
    named = step.with_options(substitutions={"subject": subject})
    done: EvaluateOutputs = named(
        subject, base, tuned, dataset, config.evaluate, start.inputs("evaluate"), id=f"evaluate_{subject}_step"
    )
    return done


def _declared_sources(config: RunConfig) -> dict[str, dict[str, str]]:
    """Where each source is and under which licence, for the dataset card."""
    declared = {}
    for source in config.ingest.sources if config.ingest else ():
        location = {"location": source.path or f"{source.hub}@{source.revision}"}
        declared[source.name] = {**location, **({"licence": source.licence} if source.licence else {})}
    return declared

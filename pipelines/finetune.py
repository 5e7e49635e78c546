"""From a dataset version to a registered, evaluated model."""

from typing import Any

from pipelines.config import BASE, TUNED, RunConfig
from pipelines.start import Started
from steps.base.step import base_step
from steps.evaluate.step import evaluate_step
from steps.gate.step import gate_step
from steps.register.step import register_step
from steps.train.step import train_step


def finetuned(config: RunConfig, inputs: Started, dataset: Any, reports: list[Any]) -> Any:
    """Train, evaluate every subject by the same step, decide, register."""
    base = base_step(config.base, inputs.base)
    tuned, _, report = train_step(base, dataset, config.train)
    models = {BASE: None, TUNED: tuned}
    evaluations, answers = zip(
        *(_evaluated(name, base, model, dataset, config, inputs) for name, model in models.items()), strict=True
    )
    comparison, decision = gate_step(list(evaluations), list(answers), config.gate)
    return register_step(
        base,
        tuned,
        dataset,
        [*reports, report],
        list(evaluations),
        comparison,
        decision,
        config.registry,
        config.train.model_dump(mode="json"),
        _declared_sources(config),
    )


def _evaluated(
    subject: str, base: Any, tuned: Any, dataset: Any, config: RunConfig, inputs: Started
) -> tuple[Any, Any]:
    """Report and answers of one subject, by a step and artifacts of its name."""
    step = evaluate_step.with_options(substitutions={"subject": subject})
    report, answers = step(
        subject, base, tuned, dataset, config.evaluate, inputs.controls, id=f"evaluate_{subject}_step"
    )
    return report, answers


def _declared_sources(config: RunConfig) -> dict[str, dict[str, str]]:
    """Where each source is and under which licence, for the dataset card."""
    declared = {}
    for source in config.ingest.sources if config.ingest else ():
        location = {"location": source.path or f"{source.hub}@{source.revision}"}
        declared[source.name] = {**location, **({"licence": source.licence} if source.licence else {})}
    return declared

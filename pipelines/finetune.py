"""From a dataset version to a registered, evaluated model."""

from typing import Any

from pipelines.config import RunConfig
from pipelines.inputs import Inputs
from steps.base.step import base_step
from steps.evaluate.step import evaluate_base_step, evaluate_tuned_step
from steps.gate.step import gate_step
from steps.register.step import register_step
from steps.train.step import train_step


def finetuned(config: RunConfig, inputs: Inputs, dataset: Any, reports: list[Any]) -> Any:
    """Train, evaluate base and tuned by the same function, decide, register."""
    base = base_step(config.base, inputs.base)
    tuned, _, report = train_step(base, dataset, config.train)
    base_evaluation, base_answers = evaluate_base_step(base, dataset, config.evaluate, inputs.controls)
    tuned_evaluation, tuned_answers = evaluate_tuned_step(base, tuned, dataset, config.evaluate, inputs.controls)
    comparison, decision = gate_step(base_evaluation, base_answers, tuned_evaluation, tuned_answers, config.gate)
    return register_step(
        base,
        tuned,
        dataset,
        [*reports, report],
        [base_evaluation, tuned_evaluation],
        comparison,
        decision,
        config.registry,
        config.train.model_dump(mode="json"),
        _declared_sources(config),
    )


def _declared_sources(config: RunConfig) -> dict[str, dict[str, str]]:
    """Where each source is and under which licence, for the dataset card."""
    declared = {}
    for source in config.ingest.sources if config.ingest else ():
        location = {"location": source.path or f"{source.hub}@{source.revision}"}
        declared[source.name] = {**location, **({"licence": source.licence} if source.licence else {})}
    return declared

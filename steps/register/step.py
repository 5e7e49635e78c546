"""The registration step."""

from collections import Counter
from typing import Annotated, Any

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.evaluation import Comparison, Decision, EvalReport, Registration
from steps.contracts.models import ModelFolder
from steps.contracts.provenance import DeclaredSource
from steps.contracts.reports import StageReport
from steps.register.cards import Candidate, DataSource
from steps.register.config import RegisterConfig
from steps.zenml_runtime.context import input_uri, run_facts
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(
        __name__, ["mlflow", "torch", "transformers", "peft"], used_by_path=["steps.engines.exports.served"]
    )


@assay_step(key)
def register_step(
    base: ModelFolder,
    model: ModelFolder,
    dataset: Dataset,
    reports: list[StageReport],
    evaluations: list[EvalReport],
    comparison: Comparison,
    decision: Decision,
    config: RegisterConfig,
    training: dict[str, Any],
    sources: list[dict[str, Any]],
) -> Annotated[Registration, "registration"]:
    """Register the model with the gate's word, its cards, and tags that lead back to its rows."""
    from steps.register.register import register

    location = base.info.base.name if base.path is None else f"{input_uri('base')}/files"
    candidate = Candidate(
        base=base,
        base_location=location,
        model=model,
        comparison=comparison,
        evaluations=tuple(evaluations),
        reports=tuple(reports),
        dataset=dataset.manifest,
        sources=_sources(dataset, sources),
        training=training,
        lineage=run_facts(),
    )
    return register(candidate, decision, config, workspace("register"))


def _sources(dataset: Dataset, declared: list[dict[str, Any]]) -> tuple[DataSource, ...]:
    counts: Counter[str] = Counter()
    for chunk in dataset.chunks(["source"]):
        counts.update(name.split("/")[0] for name in chunk.table["source"].to_pylist())
    known = {s["name"]: DeclaredSource.model_validate(s) for s in declared}
    found = ((known.get(name) or DeclaredSource(name=name, location=""), rows) for name, rows in counts.most_common())
    return tuple(DataSource(s.name, s.location, s.licence, rows, s.access, s.consent) for s, rows in found)

"""The gate step."""

from typing import Annotated, Any, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.evaluation import Answers, Comparison, Decision, EvalReport, Evaluation
from steps.contracts.provenance import DeclaredSource
from steps.gate.config import GateConfig
from steps.zenml_runtime.step import assay_step, cache_key


class GateOutputs(NamedTuple):
    """The outputs."""

    comparison: Annotated[Comparison, "comparison"]
    decision: Annotated[Decision, "decision"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["numpy"])


@assay_step(key)
def gate_step(
    reports: list[EvalReport], answers: list[Answers], config: GateConfig, sources: list[dict[str, Any]]
) -> GateOutputs:
    """Compare row by row and decide. Reports and answers are those of the same subjects in the same order; `sources`:
    what is declared of those that the rows came from.
    """
    from steps.gate.gate import gate

    evaluations = [Evaluation(r, a) for r, a in zip(reports, answers, strict=True)]
    return GateOutputs(*gate(evaluations, config, [DeclaredSource.model_validate(s) for s in sources]))

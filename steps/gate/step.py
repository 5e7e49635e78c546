"""The gate step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.evaluation import Answers, Comparison, Decision, EvalReport, Evaluation
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
def gate_step(reports: list[EvalReport], answers: list[Answers], config: GateConfig) -> GateOutputs:
    """Compare row by row and decide. Reports and answers are those of the same subjects in the same order."""
    from steps.gate.gate import gate

    return GateOutputs(*gate([Evaluation(r, a) for r, a in zip(reports, answers, strict=True)], config))

"""The gate step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.evaluation import Answers, Comparison, Decision, EvalReport
from steps.gate.config import GateConfig
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["numpy"])


@assay_step(key)
def gate_step(
    base_report: EvalReport,
    base_answers: Answers,
    tuned_report: EvalReport,
    tuned_answers: Answers,
    config: GateConfig,
) -> tuple[Annotated[Comparison, "comparison"], Annotated[Decision, "decision"]]:
    """Compare row by row and decide."""
    from steps.gate.gate import compare, decide

    comparison = compare(base_report, base_answers, tuned_report, tuned_answers)
    return comparison, decide(comparison, config)

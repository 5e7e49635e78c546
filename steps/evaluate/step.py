"""The evaluation step: the same one for base and tuned."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.evaluation import Answers, EvalReport
from steps.contracts.models import ModelFolder
from steps.evaluate.config import EvaluateConfig
from steps.zenml_runtime.context import source_root
from steps.zenml_runtime.state import workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["torch", "transformers", "peft", "rouge-score", "jsonschema"])


@assay_step(key)
def evaluate_base_step(
    base: ModelFolder, dataset: Dataset, config: EvaluateConfig, inputs: dict[str, str]
) -> tuple[Annotated[EvalReport, "base_evaluation"], Annotated[Answers, "base_answers"]]:
    """Evaluate the untouched base. `inputs` holds the digests of the control files."""
    from steps.evaluate.evaluate import evaluate

    done = evaluate(base, None, dataset, config, workspace("evaluate"), source_root(), "base")
    return done.report, done.answers


@assay_step(key)
def evaluate_tuned_step(
    base: ModelFolder, tuned: ModelFolder, dataset: Dataset, config: EvaluateConfig, inputs: dict[str, str]
) -> tuple[Annotated[EvalReport, "tuned_evaluation"], Annotated[Answers, "tuned_answers"]]:
    """Evaluate the tuned model by the same function, rows and decoding."""
    from steps.evaluate.evaluate import evaluate

    done = evaluate(base, tuned, dataset, config, workspace("evaluate"), source_root(), "tuned")
    return done.report, done.answers

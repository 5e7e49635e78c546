"""The evaluation step: the same one for every subject."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.evaluation import Answers, EvalReport, Evaluation, WinRates
from steps.contracts.models import ModelFolder
from steps.engines.embed.config import CACHE as EMBEDDINGS
from steps.engines.llm.account import Payer
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.subject_config import SubjectConfig
from steps.zenml_runtime.context import input_root, run_id
from steps.zenml_runtime.models import load_models
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key


class EvaluateOutputs(NamedTuple):
    """The outputs; their artifacts are named after the subject."""

    report: Annotated[EvalReport, "evaluation_{subject}"]
    answers: Annotated[Answers, "answers_{subject}"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["torch", "transformers", "peft", "rouge-score", "sacrebleu", "jsonschema", "lm_eval"])


@assay_step(key)
def evaluate_step(
    subject: str,
    base: ModelFolder,
    tuned: ModelFolder | None,
    dataset: Dataset,
    config: EvaluateConfig,
    inputs: dict[str, str],
    asked: SubjectConfig | None,
    scrubbed: bool,
) -> EvaluateOutputs:
    """Evaluate `base`, or `tuned` in its place, as `subject`. `inputs` holds the digests of the files that are read;
    `asked`: how it is asked, where that isn't as everybody is; `scrubbed`: whether personal data was taken from the
    rows, so that a server elsewhere may see them.
    """
    return _evaluated(subject, base, tuned, dataset, config, asked, scrubbed)


@assay_step(key)
def evaluate_champion_step(
    subject: str,
    base: ModelFolder,
    champion: dict[str, str],
    dataset: Dataset,
    config: EvaluateConfig,
    inputs: dict[str, str],
    asked: SubjectConfig | None,
    scrubbed: bool,
) -> EvaluateOutputs:
    """Evaluate the champion that the run's first step found as `subject`; where there is none yet, `base`."""
    if champion:
        return _evaluated(subject, *load_models(champion["run"], champion["weights"]), dataset, config, asked, scrubbed)
    done = _evaluated(subject, base, None, dataset, config, asked, scrubbed)
    notes = (*done.report.notes, "there was no champion yet: this is the base")
    return EvaluateOutputs(done.report.model_copy(update={"notes": notes}), done.answers)


@assay_step(key)
def evaluate_pairs_step(
    reports: list[EvalReport],
    answers: list[Answers],
    dataset: Dataset,
    config: EvaluateConfig,
    reference: str,
    inputs: dict[str, str],
) -> Annotated[WinRates, "win_rates"]:
    """Ask a judge whose answers are better. Reports and answers are those of the same subjects in the same order;
    `reference`: the subject that all are held against; `inputs` as of `evaluate_step`.
    """
    from steps.evaluate.win_rate import win_rates

    evaluations = [Evaluation(r, a) for r, a in zip(reports, answers, strict=True)]
    cache = state_folder() / EMBEDDINGS
    return win_rates(evaluations, reference, dataset, config, input_root("evaluate"), cache, Payer(run_id()))


def _evaluated(
    subject: str,
    base: ModelFolder,
    tuned: ModelFolder | None,
    dataset: Dataset,
    config: EvaluateConfig,
    asked: SubjectConfig | None,
    scrubbed: bool,
) -> EvaluateOutputs:
    from steps.evaluate.measure import measure

    root, cache = input_root("evaluate"), state_folder() / EMBEDDINGS
    done = measure(subject, base, tuned, dataset, config, root, workspace("evaluate"), cache, asked, scrubbed)
    return EvaluateOutputs(done.report, done.answers)

"""The evaluation step: the same one for every subject."""

from contextlib import AbstractContextManager
from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.evaluation import Answers, EvalReport
from steps.contracts.models import ModelFolder
from steps.engines.embed.config import CACHE as EMBEDDINGS
from steps.engines.subjects.subject import Subject
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.subject_config import SubjectConfig
from steps.zenml_runtime.context import input_root
from steps.zenml_runtime.models import load_models
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key


class EvaluateOutputs(NamedTuple):
    """The outputs; their artifacts are named after the subject."""

    report: Annotated[EvalReport, "evaluation_{subject}"]
    answers: Annotated[Answers, "answers_{subject}"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["torch", "transformers", "peft", "rouge-score", "jsonschema"])


@assay_step(key)
def evaluate_step(
    subject: str,
    base: ModelFolder,
    tuned: ModelFolder | None,
    dataset: Dataset,
    config: EvaluateConfig,
    inputs: dict[str, str],
    asked: SubjectConfig | None,
) -> EvaluateOutputs:
    """Evaluate `base`, or `tuned` in its place, as `subject`. `inputs` holds the digests of the files that are read;
    `asked`: how it is asked, where that isn't as everybody is.
    """
    return _evaluated(subject, base, tuned, dataset, config, asked)


@assay_step(key)
def evaluate_champion_step(
    subject: str,
    base: ModelFolder,
    champion: dict[str, str],
    dataset: Dataset,
    config: EvaluateConfig,
    inputs: dict[str, str],
    asked: SubjectConfig | None,
) -> EvaluateOutputs:
    """Evaluate the champion that the run's first step found as `subject`; where there is none yet, `base`."""
    if champion:
        return _evaluated(subject, *load_models(champion["run"], champion["weights"]), dataset, config, asked)
    done = _evaluated(subject, base, None, dataset, config, asked)
    notes = (*done.report.notes, "there was no champion yet: this is the base")
    return EvaluateOutputs(done.report.model_copy(update={"notes": notes}), done.answers)


def _evaluated(
    subject: str,
    base: ModelFolder,
    tuned: ModelFolder | None,
    dataset: Dataset,
    config: EvaluateConfig,
    asked: SubjectConfig | None,
) -> EvaluateOutputs:
    from steps.engines.lm.scorer import is_scorer
    from steps.engines.subjects.local_model import local_model
    from steps.engines.subjects.local_scorer import local_scorer
    from steps.evaluate.evaluate import evaluate, inference
    from steps.evaluate.prompted import prompted
    from steps.evaluate.tasks import suite

    root = input_root("evaluate")
    tasks = suite(dataset, config, root)
    subjects: AbstractContextManager[Subject]
    if asked is not None:
        cache = state_folder() / EMBEDDINGS
        with (
            local_model(subject, base, tuned, inference(config)) as plain,
            prompted(plain, asked, dataset, config, root, cache) as (model, tries),
        ):
            done = evaluate(model, tasks, config, root, workspace("evaluate"), tries)
        return EvaluateOutputs(done.report, done.answers)
    if tuned is not None and is_scorer(tuned):
        subjects = local_scorer(subject, base, tuned, inference(config))
    else:
        subjects = local_model(subject, base, tuned, inference(config))
    with subjects as model:
        done = evaluate(model, tasks, config, root, workspace("evaluate"))
    return EvaluateOutputs(done.report, done.answers)

"""One subject measured from its files: what the evaluation step does, wherever it is asked for."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError
from steps.contracts.evaluation import Evaluation
from steps.contracts.models import ModelFolder
from steps.engines.llm.egress import refuse_egress
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.lm.scorer import is_scorer
from steps.engines.retrieval.config import TRAIN
from steps.engines.subjects.endpoint_model import EndpointModel, endpoint_model
from steps.engines.subjects.local_model import LocalModel, local_model
from steps.engines.subjects.local_scorer import local_scorer
from steps.engines.subjects.subject import Subject
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.known_questions import with_known
from steps.evaluate.prompted import prompted
from steps.evaluate.subject_config import SubjectConfig
from steps.evaluate.suites.models import grading_models
from steps.evaluate.tasks import suite

# Below the cache: answers of evaluations that haven't come to their end.
UNDER_WAY = "answers"


def measure(
    subject: str,
    base: ModelFolder,
    tuned: ModelFolder | None,
    dataset: Dataset | None,
    config: EvaluateConfig,
    root: Path,
    folder: Path,
    cache: Path,
    asked: SubjectConfig | None = None,
    scrubbed: bool = False,
) -> Evaluation:
    """Measure `base`, or `tuned` in its place, as `subject`.

    Args:
        root: what the paths in `config` are relative to.
        folder: where the answers go.
        cache: where embeddings and replies that were paid for are kept.
        dataset: whose test split is asked; None: controls and suites only.
        asked: how it is asked, where that isn't as everybody is.
        scrubbed: whether personal data was taken from the rows, so that a server elsewhere may see them.

    Raises: as `suite`, `local_model` and `evaluate`.
    """
    tasks = suite(dataset, config, root)
    if dataset is not None:
        tasks = replace(tasks, tasks=with_known(tasks.tasks, dataset))
    parts = [t.part for t in tasks.tasks if t.part is not None]
    if asked is not None:
        if dataset is None:
            raise ConfigError("examples and passages are rows of a dataset, and there is none", where=subject)
        model_asked: AbstractContextManager[LocalModel | EndpointModel]
        looked_up = asked.retrieval.embed if asked.retrieval else None
        servers = (asked.endpoint, looked_up.endpoint if looked_up else None)
        where = f"evaluate.subjects: {asked.name}"
        # Documents that are looked up in were never scrubbed, whatever became of the rows.
        clean = scrubbed and (asked.retrieval is None or asked.retrieval.documents == TRAIN)
        refuse_egress(servers, scrubbed=clean, allowed=asked.allow_raw_egress, where=where)
        if asked.endpoint is not None:
            model_asked = endpoint_model(subject, asked.endpoint, asked, cache)
        else:
            engine = asked.engine or config.engine
            model_asked = local_model(subject, base, tuned, inference(config), cache / UNDER_WAY, engine, folder)
        with (
            model_asked as plain,
            prompted(plain, asked, dataset, config, root, cache) as (model, tries),
            grading_models(parts, config, root, cache) as models,
        ):
            return evaluate(model, tasks, config, root, folder, tries, models)
    subjects: AbstractContextManager[Subject]
    if tuned is not None and is_scorer(tuned):
        subjects = local_scorer(subject, base, tuned, inference(config))
    else:
        subjects = local_model(subject, base, tuned, inference(config), cache / UNDER_WAY, config.engine, folder)
    with subjects as one, grading_models(parts, config, root, cache) as models:
        return evaluate(one, tasks, config, root, folder, models=models)


def measure_served(
    subject: str,
    endpoint: Endpoint,
    dataset: Dataset | None,
    config: EvaluateConfig,
    root: Path,
    folder: Path,
    cache: Path,
    scrubbed: bool,
) -> Evaluation:
    """Measure a model behind a server, asked like everybody; arguments as of `measure`.

    Raises:
        ConfigError: rows that weren't scrubbed would leave the machine. As `suite`, `endpoint_model`, `evaluate`.
    """
    tasks = suite(dataset, config, root)
    if dataset is not None:
        tasks = replace(tasks, tasks=with_known(tasks.tasks, dataset))
    refuse_egress((endpoint,), scrubbed=scrubbed, allowed=False, where=subject)
    parts = [t.part for t in tasks.tasks if t.part is not None]
    with (
        endpoint_model(subject, endpoint, Prices(), cache) as served,
        grading_models(parts, config, root, cache) as models,
    ):
        return evaluate(served, tasks, config, root, folder, models=models)

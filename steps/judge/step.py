"""The judge step."""

from typing import Annotated, Any, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache
from steps.judge.config import CACHE, JudgeConfig
from steps.zenml_runtime.context import run_id, shares_of_run, stage_context
from steps.zenml_runtime.models import load_models
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class JudgeOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "judged"]
    quarantined: Annotated[Dataset, "judge_quarantined"]
    ledger: Annotated[Ledger, "judge_ledger"]
    report: Annotated[StageReport, "judge_report"]
    verdicts: Annotated[FileArtifact, "verdicts"]
    row_cache: Annotated[RowCache, "judge_row_cache"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["aiohttp", "torch", "transformers", "tokenizers", "peft"])


@assay_step(key)
def judge_step(
    rows: Dataset,
    config: JudgeConfig,
    scrubbed: bool,
    inputs: dict[str, str],
    registered: dict[str, dict[str, str]],
) -> JudgeOutputs:
    """Score rows against the rubric and drop those below the threshold.

    `scrubbed`: whether personal data is gone; `inputs`: digests of the files and models that the settings name;
    `registered`: the registered model that judges, as the run's first step found it.
    """
    from steps.judge.judge import judge

    given = {"shares": shares_of_run("judge"), **_given(config, scrubbed, inputs, registered)}
    return outputs(JudgeOutputs, judge(rows, config, stage_context("judge", key(), cache=CACHE, **given)))


@assay_step(key)
def judge_share_step(
    rows: Dataset,
    config: JudgeConfig,
    scrubbed: bool,
    inputs: dict[str, str],
    registered: dict[str, dict[str, str]],
    number: int,
    of: int,
) -> Annotated[RowCache, "judge_share_row_cache"]:
    """The verdicts on one of `of` shares of the rows (0 is the first), by a step of its own."""
    from steps.engines.rowwise.share import Share
    from steps.judge.judge import judge_share

    ctx = stage_context("judge", key(), cache=CACHE, **_given(config, scrubbed, inputs, registered))
    return judge_share(rows, config, ctx, Share(number, of))


def _given(
    config: JudgeConfig, scrubbed: bool, inputs: dict[str, str], registered: dict[str, dict[str, str]]
) -> dict[str, Any]:
    models = {}
    if config.local is not None and (found := registered.get(config.local.model)):
        models[config.local.model] = load_models(found["run"], found["weights"])
    return {"scrubbed": scrubbed, "run": run_id(), "inputs": inputs, "models": models}

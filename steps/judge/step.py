"""The judge step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache
from steps.judge.config import CACHE, JudgeConfig
from steps.zenml_runtime.context import run_id, shares_of_run, stage_context
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
    return cache_key(__name__, ["openai"])


@assay_step(key)
def judge_step(rows: Dataset, config: JudgeConfig, scrubbed: bool, inputs: dict[str, str]) -> JudgeOutputs:
    """Score rows against the rubric and drop those below the threshold.

    `scrubbed`: whether personal data is gone; `inputs`: digests of the files that the settings name.
    """
    from steps.judge.judge import judge

    given = {"scrubbed": scrubbed, "run": run_id(), "shares": shares_of_run("judge")}
    return outputs(JudgeOutputs, judge(rows, config, stage_context("judge", key(), cache=CACHE, **given)))


@assay_step(key)
def judge_share_step(
    rows: Dataset, config: JudgeConfig, scrubbed: bool, inputs: dict[str, str], number: int, of: int
) -> Annotated[RowCache, "judge_share_row_cache"]:
    """The verdicts on one of `of` shares of the rows (0 is the first), by a step of its own."""
    from steps.engines.rowwise.share import Share
    from steps.judge.judge import judge_share

    ctx = stage_context("judge", key(), cache=CACHE, scrubbed=scrubbed, run=run_id())
    return judge_share(rows, config, ctx, Share(number, of))

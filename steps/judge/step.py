"""The judge step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.files import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache
from steps.judge.config import JudgeConfig
from steps.zenml_runtime.context import earlier
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["openai"])


@assay_step(key)
def judge_step(
    rows: Dataset, config: JudgeConfig, scrubbed: bool
) -> tuple[
    Annotated[Dataset, "judged"],
    Annotated[Dataset, "judge_quarantined"],
    Annotated[Ledger, "judge_ledger"],
    Annotated[StageReport, "judge_report"],
    Annotated[FileArtifact, "verdicts"],
    Annotated[RowCache, "judge_row_cache"],
]:
    """Score rows against the rubric and drop those below the threshold. `scrubbed`: whether personal data is gone."""
    from steps.judge.judge import judge

    known = {"judge_row_cache": earlier("judge_row_cache")}
    cache = state_folder() / "judge"
    ctx = StageContext(workspace("judge"), cache=cache, earlier=known, code=key(), scrubbed=scrubbed)
    done = judge(rows, config, ctx)
    made = done.artifacts
    return done.rows, done.set_aside, done.ledger, done.report, made["verdicts"], made["judge_row_cache"]

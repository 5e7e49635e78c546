"""The logs step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.logs.config import LogsConfig
from steps.zenml_runtime.context import stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class LogsOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "logged"]
    ledger: Annotated[Ledger, "logs_ledger"]
    report: Annotated[StageReport, "logs_report"]
    facts: Annotated[FileArtifact, "log_facts"]
    rejects: Annotated[FileArtifact, "log_rejects"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, [])


@assay_step(key, unscrubbed=True)
def logs_step(config: LogsConfig, inputs: dict[str, str]) -> LogsOutputs:
    """Read the newest windows of the logs. `inputs`: length and digest of their files, and that of the list of erased
    rows.
    """
    from steps.logs.logs import logs
    from steps.zenml_runtime.tombstones import known_tombstones

    return outputs(
        LogsOutputs, logs(config, stage_context("logs", key(), inputs=inputs, tombstones=known_tombstones()))
    )

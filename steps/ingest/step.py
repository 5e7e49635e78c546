"""The ingest step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.ingest.config import IngestConfig
from steps.zenml_runtime.context import filled_paths, run_facts, stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.state import state_folder
from steps.zenml_runtime.step import assay_step, cache_key


class IngestOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "ingested"]
    ledger: Annotated[Ledger, "ingest_ledger"]
    report: Annotated[StageReport, "ingest_report"]
    rejects: Annotated[FileArtifact, "rejects"]
    sources: Annotated[FileArtifact, "ingest_sources"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["pyarrow", "beautifulsoup4", "pdfminer.six", "python-docx", "lxml"])


@assay_step(key, unscrubbed=True)
def ingest_step(config: IngestConfig, inputs: dict[str, str]) -> IngestOutputs:
    """Read the sources. `inputs` holds their digests, and that of the list of erased rows, so that the step runs again
    when a byte of them changes.
    """
    from steps.ingest.ingest import ingest
    from steps.ingest.rejects import keeping_rejects
    from steps.zenml_runtime.tombstones import known_tombstones

    config = config.with_paths(filled_paths())
    ctx = stage_context("ingest", key(), inputs=inputs, tombstones=known_tombstones())
    with keeping_rejects(ctx.folder, state_folder() / "rejects" / f"{run_facts()['zenml_run']}.jsonl"):
        return outputs(IngestOutputs, ingest(None, config, ctx))

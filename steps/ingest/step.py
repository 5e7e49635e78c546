"""The ingest step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.files import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.ingest.config import IngestConfig
from steps.zenml_runtime import assay_step, cache_key, run_facts, source_root, state_folder, workspace


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["pyarrow", "beautifulsoup4"])


@assay_step(key)
def ingest_step(
    config: IngestConfig, inputs: dict[str, str]
) -> tuple[
    Annotated[Dataset, "ingested"],
    Annotated[Ledger, "ingest_ledger"],
    Annotated[StageReport, "ingest_report"],
    Annotated[FileArtifact, "rejects"],
]:
    """Read the sources. `inputs` holds their digests, so that the step runs again when a byte changes."""
    from steps.ingest.ingest import ingest
    from steps.ingest.rejects import keeping_rejects

    folder = workspace("ingest")
    with keeping_rejects(folder, state_folder() / "rejects" / f"{run_facts()['zenml_run']}.jsonl"):
        done = ingest(config, folder, source_root())
    return done.outcome.dataset, done.outcome.ledger, done.outcome.report, FileArtifact(done.rejects, raw=True)

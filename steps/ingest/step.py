"""The ingest step."""

from typing import Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.files import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.ingest.config import IngestConfig
from steps.zenml_runtime.context import earlier, run_facts, source_root
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key

_READ = ("ingested", "ingest_ledger", "rejects", "ingest_sources")


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
    Annotated[FileArtifact, "ingest_sources"],
]:
    """Read the sources. `inputs` holds their digests, so that the step runs again when a byte changes."""
    from steps.ingest.ingest import ingest
    from steps.ingest.rejects import keeping_rejects

    folder = workspace("ingest")
    known = {name: earlier(name) for name in _READ}
    with keeping_rejects(folder, state_folder() / "rejects" / f"{run_facts()['zenml_run']}.jsonl"):
        done = ingest(None, config, StageContext(folder, source_root(), inputs=inputs, earlier=known, code=key()))
    return done.rows, done.ledger, done.report, done.artifacts["rejects"], done.artifacts["ingest_sources"]

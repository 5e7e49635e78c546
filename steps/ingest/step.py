"""The ingest step."""

from typing import TYPE_CHECKING, Annotated

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.files import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.ingest.config import IngestConfig
from steps.zenml_runtime.context import earlier, run_facts, source_root
from steps.zenml_runtime.state import state_folder, workspace
from steps.zenml_runtime.step import assay_step, cache_key

if TYPE_CHECKING:
    from steps.ingest.kept import Earlier


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
    with keeping_rejects(folder, state_folder() / "rejects" / f"{run_facts()['zenml_run']}.jsonl"):
        done = ingest(config, folder, source_root(), digests=inputs, earlier=_earlier(), code=key())
    rejects, sources = FileArtifact(done.rejects, raw=True), FileArtifact(done.sources)
    return done.outcome.dataset, done.outcome.ledger, done.outcome.report, rejects, sources


def _earlier() -> "Earlier | None":
    from steps.ingest.kept import Earlier

    sources = earlier("ingest_sources")
    if sources is None:
        return None
    dataset, ledger, rejects = earlier("ingested"), earlier("ingest_ledger"), earlier("rejects")
    return Earlier(dataset, ledger, rejects.path, sources.path)

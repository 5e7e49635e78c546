"""The synthesize step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.synthesize.config import CACHE, SynthesizeConfig
from steps.zenml_runtime.context import cleaner, run_id, stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class SynthesizeOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "synthesized"]
    ledger: Annotated[Ledger, "synthesize_ledger"]
    report: Annotated[StageReport, "synthesize_report"]
    chunks: Annotated[FileArtifact, "synthesis_chunks"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["aiohttp", "jsonschema", "py3langid", "transformers"])


@assay_step(key)
def synthesize_step(
    rows: Dataset, config: SynthesizeConfig, scrub: str, key_id: str, inputs: dict[str, str]
) -> SynthesizeOutputs:
    """Make pairs of documents. `scrub`: its settings as JSON, "": rows weren't scrubbed; `key_id`: of its key and
    files; `inputs`: digests of the lists of URLs.
    """
    from steps.synthesize.synthesize import synthesize

    given = {"scrubbed": bool(scrub), "clean": cleaner(scrub), "key_id": key_id, "run": run_id(), "inputs": inputs}
    return outputs(
        SynthesizeOutputs, synthesize(rows, config, stage_context("synthesize", key(), cache=CACHE, **given))
    )

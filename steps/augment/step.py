"""The augment step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.augment.config import CACHE, AugmentConfig
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.zenml_runtime.context import cleaner, run_id, stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class AugmentOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "augmented"]
    ledger: Annotated[Ledger, "augment_ledger"]
    report: Annotated[StageReport, "augment_report"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["jsonschema", "numpy", "openai", "sentence-transformers", "torch", "transformers"])


@assay_step(key)
def augment_step(
    rows: Dataset, config: AugmentConfig, scrub: str, key_id: str, inputs: dict[str, str]
) -> AugmentOutputs:
    """Make further rows. `scrub`: its settings as JSON, "": rows weren't scrubbed; `key_id`: of its key and
    files; `inputs`: digests of the embedding model.
    """
    from steps.augment.augment import augment

    given = {"scrubbed": bool(scrub), "clean": cleaner(scrub), "key_id": key_id, "run": run_id(), "inputs": inputs}
    return outputs(AugmentOutputs, augment(rows, config, stage_context("augment", key(), cache=CACHE, **given)))

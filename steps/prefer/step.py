"""The prefer step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.prefer.config import CACHE, PreferConfig
from steps.zenml_runtime.context import cleaner, run_id, stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class PreferOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "preferred"]
    ledger: Annotated[Ledger, "prefer_ledger"]
    report: Annotated[StageReport, "prefer_report"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["google-re2", "jsonschema", "numpy", "openai", "rouge-score", "sacrebleu"])


@assay_step(key)
def prefer_step(rows: Dataset, config: PreferConfig, scrub: str, key_id: str, inputs: dict[str, str]) -> PreferOutputs:
    """Make pairs. `scrub`: its settings as JSON, "": rows weren't scrubbed; `key_id`: of its key and
    files; `inputs`: digest of the rubric's file.
    """
    from steps.prefer.prefer import prefer

    given = {"scrubbed": bool(scrub), "clean": cleaner(scrub), "key_id": key_id, "run": run_id(), "inputs": inputs}
    return outputs(PreferOutputs, prefer(rows, config, stage_context("prefer", key(), cache=CACHE, **given)))

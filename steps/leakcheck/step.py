"""The leakcheck step."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.leakcheck.config import LeakCheckConfig
from steps.zenml_runtime.context import stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class LeakCheckOutputs(NamedTuple):
    """The outputs."""

    rows: Annotated[Dataset, "curated"]
    ledger: Annotated[Ledger, "leakcheck_ledger"]
    report: Annotated[StageReport, "leakcheck_report"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(__name__, ["numba", "numpy", "pyarrow"])


@assay_step(key)
def leakcheck_step(rows: Dataset, config: LeakCheckConfig, inputs: dict[str, str], scrubbed: bool) -> LeakCheckOutputs:
    """Remove train rows that a test row or benchmark repeats. `inputs`: digests of the benchmark files.

    Matched passages are shown only when personal data was removed before.
    """
    from steps.leakcheck.leakcheck import leakcheck

    ctx = stage_context("leakcheck", key(), inputs=inputs, scrubbed=scrubbed)
    return outputs(LeakCheckOutputs, leakcheck(rows, config, ctx))

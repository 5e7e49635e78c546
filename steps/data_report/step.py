"""The step of the data report."""

from typing import Annotated, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.data_report import DataReport
from steps.contracts.dataset import Dataset
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.data_report.config import DataReportConfig
from steps.engines.embed.config import CACHE
from steps.zenml_runtime.context import stage_context
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key


class DataReportOutputs(NamedTuple):
    """The outputs."""

    report: Annotated[StageReport, "data_report_report"]
    data_report: Annotated[DataReport, "data_report"]


def key() -> str:
    """Cache key of this step."""
    return cache_key(
        __name__, ["faiss-cpu", "numpy", "py3langid", "sentence-transformers", "tokenizers", "transformers"]
    )


@assay_step(key)
def data_report_step(
    rows: Dataset,
    texts: Dataset,
    config: DataReportConfig,
    scrubbed: bool,
    stages: list[str],
    ledgers: list[Ledger],
    verdicts: list[FileArtifact],
    rejects: list[FileArtifact],
    inputs: dict[str, str],
) -> DataReportOutputs:
    """What the rows are like. `texts`: the same rows, scrubbed or not; `ledgers`: of these stages; `verdicts`,
    `rejects`: of the judge and of ingest, if they ran; `inputs`: digests of the models read.
    """
    from steps.data_report.data_report import data_report
    from steps.data_report.found import Found

    found = Found(
        dict(zip(stages, ledgers, strict=True)),
        verdicts[0].path if verdicts else None,
        rejects[0].path if rejects else None,
    )
    ctx = stage_context("data_report", key(), cache=CACHE, inputs=inputs, scrubbed=scrubbed)
    return outputs(DataReportOutputs, data_report(rows, config, ctx, texts=texts, found=found))

"""Importing this module registers every materializer with ZenML; each step.py does, so that remote steps do too."""

from collections.abc import Mapping

from materializers.datasets import DatasetMaterializer
from materializers.files import AnswersMaterializer, FileMaterializer, LedgerMaterializer
from materializers.folders import DedupIndexMaterializer, EmbeddingsMaterializer, RowCacheMaterializer
from materializers.models import ModelExportsMaterializer, ModelFolderMaterializer
from materializers.values import RunRecordMaterializer, StageReportMaterializer, ValueMaterializer
from steps.contracts.data_report import DataReport
from steps.contracts.dataset import Dataset
from steps.contracts.dedup_index import DedupIndex
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.evaluation import Answers, Comparison, Decision, EvalReport, Registration, WinRates
from steps.contracts.exports import ModelExports, ParityReport
from steps.contracts.ledger import Ledger
from steps.contracts.models import ModelFolder
from steps.contracts.monitoring import Monitored
from steps.contracts.reports import StageReport
from steps.contracts.row_cache import RowCache
from steps.contracts.runs import ArtifactType

MATERIALIZERS = (
    DatasetMaterializer,
    LedgerMaterializer,
    AnswersMaterializer,
    FileMaterializer,
    RowCacheMaterializer,
    EmbeddingsMaterializer,
    DedupIndexMaterializer,
    ModelFolderMaterializer,
    ModelExportsMaterializer,
    StageReportMaterializer,
    ValueMaterializer,
    RunRecordMaterializer,
)
# What a run's record calls them; the others are files.
ARTIFACT_TYPES: Mapping[type, ArtifactType] = {
    Dataset: "dataset",
    Ledger: "ledger",
    Answers: "answers",
    RowCache: "row_cache",
    CachedEmbeddings: "embeddings",
    DedupIndex: "index",
    ModelFolder: "model",
    StageReport: "stage_report",
    EvalReport: "eval_report",
    Comparison: "comparison",
    WinRates: "win_rates",
    Decision: "decision",
    Registration: "registration",
    Monitored: "monitored",
    DataReport: "data_report",
    ModelExports: "exports",
    ParityReport: "parity",
}

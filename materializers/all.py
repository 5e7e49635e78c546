"""Importing this module registers every materializer with ZenML; each step.py does, so that remote steps do too."""

from materializers.datasets import DatasetMaterializer
from materializers.files import AnswersMaterializer, FileMaterializer, LedgerMaterializer
from materializers.folders import DedupIndexMaterializer, EmbeddingsMaterializer, RowCacheMaterializer
from materializers.models import ModelFolderMaterializer
from materializers.values import RunRecordMaterializer, StageReportMaterializer, ValueMaterializer

MATERIALIZERS = (
    DatasetMaterializer,
    LedgerMaterializer,
    AnswersMaterializer,
    FileMaterializer,
    RowCacheMaterializer,
    EmbeddingsMaterializer,
    DedupIndexMaterializer,
    ModelFolderMaterializer,
    StageReportMaterializer,
    ValueMaterializer,
    RunRecordMaterializer,
)

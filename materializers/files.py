"""Artifacts that are one file: ledgers, answers, and files handed on as they are."""

from typing import Any, ClassVar

import pyarrow.parquet as pq
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from materializers import layout, views
from materializers.transfer import get_file, get_lines, get_text, put_file, put_text
from steps.contracts.digests import file_digest
from steps.contracts.evaluation import Answers
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger


class LedgerMaterializer(BaseMaterializer):
    """`ledger.parquet` and its digest."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Ledger,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA_ANALYSIS

    def save(self, data: Ledger) -> None:
        """Store the file, then its digest."""
        put_file(data.path, f"{self.uri}/{layout.LEDGER}", self.artifact_store)
        put_text(file_digest(data.path), f"{self.uri}/{layout.CHECKSUM}", self.artifact_store)

    def load(self, data_type: type[Any]) -> Ledger:
        """Open the verified file."""
        sha256 = get_text(f"{self.uri}/{layout.CHECKSUM}", self.artifact_store)
        path = get_file(f"{self.uri}/{layout.LEDGER}", self.artifact_store, sha256, "ledgers")
        return Ledger(path, pq.read_metadata(path).num_rows)

    def extract_metadata(self, data: Ledger) -> dict[str, Any]:
        """Number of ledger lines."""
        return {"lines": data.rows, layout.SHA256: file_digest(data.path)}

    def compute_content_hash(self, data: Ledger) -> str:
        """The file's SHA-256."""
        return file_digest(data.path)

    def save_visualizations(self, data: Ledger) -> dict[str, VisualizationType]:
        """Counts per verdict and reason."""
        uri = f"{self.uri}/{layout.VIEW}"
        put_text(views.as_html(data), uri, self.artifact_store)
        return {uri: VisualizationType.HTML}


class AnswersMaterializer(BaseMaterializer):
    """`answers.parquet` and its digest."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Answers,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA

    def save(self, data: Answers) -> None:
        """Store the file, then its digest."""
        put_file(data.path, f"{self.uri}/{layout.ANSWERS}", self.artifact_store)
        put_text(file_digest(data.path), f"{self.uri}/{layout.CHECKSUM}", self.artifact_store)

    def load(self, data_type: type[Any]) -> Answers:
        """Open the verified file."""
        sha256 = get_text(f"{self.uri}/{layout.CHECKSUM}", self.artifact_store)
        path = get_file(f"{self.uri}/{layout.ANSWERS}", self.artifact_store, sha256, "answers")
        return Answers(path, pq.read_metadata(path).num_rows)

    def extract_metadata(self, data: Answers) -> dict[str, Any]:
        """Number of answers."""
        return {"rows": data.rows, layout.SHA256: file_digest(data.path)}

    def compute_content_hash(self, data: Answers) -> str:
        """The file's SHA-256."""
        return file_digest(data.path)


class FileMaterializer(BaseMaterializer):
    """A file under its own name, with a small description beside it."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (FileArtifact,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA

    def save(self, data: FileArtifact) -> None:
        """Store the file, then name, digest and the raw mark."""
        put_file(data.path, f"{self.uri}/{data.path.name}", self.artifact_store)
        mark = "raw" if data.raw else "clean"
        put_text(
            f"{data.path.name}\n{file_digest(data.path)}\n{mark}", f"{self.uri}/{layout.ABOUT}", self.artifact_store
        )

    def load(self, data_type: type[Any]) -> FileArtifact:
        """Open the verified file."""
        name, sha256, mark = get_lines(f"{self.uri}/{layout.ABOUT}", self.artifact_store, 3)
        return FileArtifact(get_file(f"{self.uri}/{name}", self.artifact_store, sha256, "files"), mark == "raw")

    def extract_metadata(self, data: FileArtifact) -> dict[str, Any]:
        """Size, and whether it holds data that no scrub has seen."""
        size = data.path.stat().st_size
        return {"bytes": size, "raw": data.raw, layout.SHA256: file_digest(data.path)}

    def compute_content_hash(self, data: FileArtifact) -> str:
        """The file's SHA-256."""
        return file_digest(data.path)

"""Every artifact says the SHA-256 of its main file, in metadata and beside it, and is refused when it isn't that."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import sample_run
from support.textrows import dataset, document

from materializers import layout
from materializers.all import MATERIALIZERS
from materializers.datasets import DatasetMaterializer
from materializers.files import AnswersMaterializer, FileMaterializer, LedgerMaterializer
from materializers.folders import EmbeddingsMaterializer
from materializers.models import ModelExportsMaterializer, ModelFolderMaterializer
from materializers.values import RunRecordMaterializer, StageReportMaterializer, ValueMaterializer
from steps.contracts.digests import file_digest, text_digest
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.errors import IntegrityError
from steps.contracts.evaluation import ANSWERS_SCHEMA, Answers
from steps.contracts.exports import ExportManifest, ExportsManifest, ModelExports, Parity
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger, LedgerWriter
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.contracts.reports import StageReport


class LocalStore:
    """What materializers use of an artifact store on this machine."""

    def __init__(self, path: str) -> None:
        self.path = path

    def exists(self, uri: str) -> bool:
        return Path(uri).exists()

    def open(self, uri: str, mode: str) -> Any:
        return Path(uri).open(mode)


def examples(folder: Path) -> dict[str, tuple[type[Any], Any]]:
    """By main file (or name): a materializer and something to store."""
    with LedgerWriter(folder / "made.parquet", "dedup") as lines:
        lines.add("1" * 32, "dropped", "near")
    pq.write_table(ANSWERS_SCHEMA.empty_table(), folder / "answers")
    (folder / "rejects.jsonl").write_text('{"line": 1}\n')
    report = StageReport(
        stage="dedup", rows_in=1, kept=0, dropped=1, dropped_by={"near": 1}, config_digest="c", seconds=0.5,
        cpu_seconds=0.5,
    )  # fmt: skip
    info = ModelInfo(kind="full", base=BaseRef(source="hub", name="x", revision="1"), digest="", files={}, parameters=1)
    rows = dataset([document("one", 0, "1"), document("two", 0, "2")], folder / "rows")
    return {
        layout.LEDGER: (LedgerMaterializer, Ledger(folder / "made.parquet", 1)),
        layout.ANSWERS: (AnswersMaterializer, Answers(folder / "answers", 0)),
        "rejects.jsonl": (FileMaterializer, FileArtifact(folder / "rejects.jsonl", raw=True)),
        layout.REPORT: (StageReportMaterializer, report),
        layout.VALUE: (ValueMaterializer, sample_run.registration()),
        "run": (RunRecordMaterializer, sample_run.record()),
        layout.MODEL: (ModelFolderMaterializer, ModelFolder(info, None)),
        layout.MANIFEST: (DatasetMaterializer, rows),
        "exports": (ModelExportsMaterializer, exports(folder / "exported")),
    }


def exports(folder: Path) -> ModelExports:
    """One export of two files, one of them in a folder."""
    files = {"a.txt": "a", "deep/b.txt": "b"}
    for name, text in files.items():
        place = folder / "merged" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    made = ExportManifest(
        format="merged", dtype="float32", model="m", name="tuned", base=BaseRef(source="scratch", name="scratch"),
        base_digest="b", files={n: text_digest(t) for n, t in files.items()},
        parity=Parity(prompts=1, texts=1, tokens=1, epsilon=0.0),
    )  # fmt: skip
    return ModelExports(ExportsManifest(model="m", exports={"merged": made}), folder)


def test_a_changed_file_of_an_export_is_refused(tmp_path: Path) -> None:
    made = ModelExportsMaterializer(str(tmp_path / "store/x"), LocalStore(str(tmp_path / "store")))
    made.save(exports(tmp_path / "made"))
    found = made.load(ModelExports)
    assert (found.folder / "merged/deep/b.txt").read_text() == "b" and found.digest == exports(tmp_path / "made").digest
    (found.folder / "merged/deep/b.txt").unlink()
    (found.folder / "merged/deep/b.txt").write_text("c")
    with pytest.raises(IntegrityError, match="SHA-256"):
        made.load(ModelExports)


def test_what_was_stored_is_read_and_what_was_changed_is_refused(tmp_path: Path) -> None:
    found = examples(tmp_path)
    found["embeddings"] = (EmbeddingsMaterializer, CachedEmbeddings())
    kinds = {m for m, _ in found.values()}
    # A row cache and a dedup index need a run to be made, and are stored like the embeddings.
    assert {m.__name__ for m in MATERIALIZERS} - {m.__name__ for m in kinds} == {
        "RowCacheMaterializer", "DedupIndexMaterializer",
    }  # fmt: skip
    for main, (kind, value) in found.items():
        folder = tmp_path / "store" / kind.__name__
        store = LocalStore(str(tmp_path / "store"))
        made = kind(str(folder), artifact_store=store)
        made.save(value)
        file = folder / {"embeddings": layout.MANIFEST, "exports": layout.MANIFEST, "run": layout.VALUE}.get(main, main)
        assert made.extract_metadata(value)[layout.SHA256] == file_digest(file), kind
        data_type = type(value)
        made.load(data_type)
        whole = file.read_bytes()
        file.unlink()  # it may be a link to what was made
        file.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        with pytest.raises(IntegrityError, match="SHA-256"):
            made.load(data_type)

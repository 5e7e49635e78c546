"""An artifact store with runs whose files lie as ZenML lays them out, as old as a test says."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from support import sample_run

from materializers import layout
from steps.contracts.digests import bytes_digest, text_digest
from steps.contracts.provenance import EarlierRun
from steps.contracts.runs import ArtifactRecord, RunRecord


@dataclass
class GarbageStore:
    """A store on this machine."""

    root: Path

    def artifact(self, key: str, text: str, name: str = "deduped", kind: str = "dataset") -> ArtifactRecord:
        """An artifact whose folder follows from `key`."""
        folder = self.folder(f"dedup_step/{name}", key)
        self.write(folder / layout.MAIN.get(kind, layout.VALUE), text)
        return ArtifactRecord(step="dedup_step", name=name, type=kind, uri=str(folder), sha256=text_digest(text))  # type: ignore[arg-type]

    def dataset(self, key: str, rows: Sequence[str]) -> ArtifactRecord:
        """A dataset version of these shards, each of a text."""
        shards = [bytes_digest(text.encode()) for text in rows]
        for sha256, text in zip(shards, rows, strict=True):
            self.write(self.root / "shards" / f"{sha256}.parquet", text)
        return self.artifact(key, json.dumps({"shards": [{"sha256": s, "rows": 1} for s in shards]}))

    def folder(self, place: str, key: str) -> Path:
        return self.root / place / str(uuid5(NAMESPACE_URL, key)) / "a1b2c3d4"

    def run(self, name: str, artifacts: Sequence[ArtifactRecord], earlier: Sequence[EarlierRun] = ()) -> RunRecord:
        """A run of these, as its last step leaves it."""
        page = ArtifactRecord(step="finish_step", name="run_page", type="file", uri=str(self.root / "finish_step/page"))
        record = sample_run.record(name).model_copy(
            update={"artifacts": tuple(artifacts), "run_id": str(uuid5(NAMESPACE_URL, name)), "registration": None,
                    "artifact_store": str(self.root), "earlier": tuple(earlier), "around": (page,)}
        )  # fmt: skip
        self.write(self.record_file(name), record.model_dump_json(indent=1))
        return record

    def record_file(self, name: str) -> Path:
        return self.folder(layout.RECORDS, name) / layout.VALUE

    def link(self, name: str) -> EarlierRun:
        """What a later run says of one."""
        file = self.record_file(name)
        return EarlierRun(run_id=str(uuid5(NAMESPACE_URL, name)), name=name, record_uri=str(file))

    def write(self, file: Path, text: str) -> None:
        """A file, and the note of its digest beside it where an artifact has one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if file.parent.name != "shards":
            (file.parent / layout.CHECKSUM).write_text(text_digest(text))

    def age(self, days: float) -> None:
        """Make all that lies there so old."""
        then = time.time() - days * 86400
        for path in self.root.rglob("*"):
            os.utime(path, (then, then))

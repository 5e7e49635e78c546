"""Runs over growing data, as a schedule leaves them: every run adds rows, and takes what it can from the one before.

`make(state, rows, runs)` writes them with the writers that stages use, at a hundredth of the cost of real runs: dataset
versions that share shards, ledgers of every stage, a trained and registered model per run. What becomes of a row
depends on its number alone (`FATES`), so that every answer is known.
"""

import json
import random
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support import sample_run

from materializers import layout
from ops.lineage.catalogue import Catalogue, load_catalogue
from ops.lineage.ways import Lineage
from ops.run_index import save_run
from steps.contracts.arrays import Mask
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.digests import canonical_json, file_digest, folder_digests, text_digest, value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.models import BaseRef, ModelInfo
from steps.contracts.records import Row, content_id_of, make_row, message
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.scrub.pseudonyms.key import DEMO_KEY, key_fingerprint
from steps.scrub.pseudonyms.pseudonym import pseudonym

ROOT = Path(__file__).resolve().parents[2]
CONFIG: dict[str, Any] = {
    "name": "growing",
    "dedup": {"threshold": 0.7},
    "scrub": {"demo_key": True, "entities": ["EMAIL_ADDRESS"], "mode": "pseudonymise"},
    "train": {"max_length": 512},
}
# Rows whose number leaves this remainder by 1,000: dropped by dedup, changed by scrub, set aside by screen ...
FATES = {"dropped": range(0, 30), "changed": range(30, 150), "quarantined": range(150, 160), "leaked": range(160, 163)}
_WORDS = [w for w in Path(__file__).read_text().split() if w.isalpha()] + [f"word{n}" for n in range(4000)]
_GONE = ("dropped", "quarantined", "leaked")
_STAGES = ("ingest", "dedup", "split", "scrub", "screen", "leakcheck")


def address(number: int) -> str:
    """The person whose address stands in that row, and in that of the other rows with the same remainder by 5,000."""
    return f"person{number % 5_000}@example.org"


def phrase(number: int) -> str:
    """Words that stand in this row alone."""
    return f"Ticket {number} of the Growing Archive"


def _fate(number: int) -> str:
    return next((fate for fate, these in FATES.items() if number % 1000 in these), "kept")


def row(number: int, batch: int) -> Row:
    """The row with that number."""
    said = " ".join(random.Random(number).choices(_WORDS, k=50))
    tail = f" Write to {address(number)}." if _fate(number) == "changed" else ""
    return make_row(
        kind="conversation", source=f"mails/{batch:02d}.jsonl", locator=f"line:{number + 1}", raw=str(number).encode(),
        messages=[message("user", f"{phrase(number)}: {said}?{tail}"), message("assistant", said[::-1])],
    )  # fmt: skip


def record_id(number: int, rows: int, runs: int) -> str:
    """Its record id."""
    return str(row(number, number // (rows // runs))["record_id"])


class WrittenRun:
    """One run's artifacts while they are written."""

    def __init__(self, store: Path, name: str) -> None:
        self.store, self.name = store, name
        self.artifacts: list[ArtifactRecord] = []

    def add(self, step: str, output: str, kind: str, files: dict[str, Path | str], digest: str | None = None) -> None:
        main = next(iter(files)) if kind == "file" else layout.MAIN.get(kind, layout.VALUE)
        folder = self.store / step / output / self.name / "00000000"
        folder.mkdir(parents=True)
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.move(content, folder / name)
            else:
                (folder / name).write_text(content)
        sha256 = file_digest(folder / main)
        (folder / layout.CHECKSUM).write_text(sha256)
        made: Any = {"step": step, "name": output, "type": kind, "uri": str(folder), "digest": digest, "sha256": sha256}
        self.artifacts.append(ArtifactRecord(**made))

    def dataset(self, stage: str, output: str, version: Dataset) -> None:
        (self.store / "shards").mkdir(parents=True, exist_ok=True)
        for path in version.shard_paths:
            if not (self.store / "shards" / path.name).exists():
                path.rename(self.store / "shards" / path.name)
        files = {
            "manifest.json": version.folder / "manifest.json",
            "selection.parquet": version.folder / "selection.parquet",
        }
        there: dict[str, Path | str] = {name: p for name, p in files.items() if p.is_file()}
        self.add(f"{stage}_step", output, "dataset", there, version.digest)


def make(state: Path, rows: int, runs: int, scratch: Path) -> None:
    """Write the runs into a state folder's store and index."""
    store, step = state / "artifacts", rows // runs
    ids: list[str] = []
    raw: Dataset | None = None
    clean: Dataset | None = None
    for batch in range(runs):
        numbers = range(batch * step, (batch + 1) * step)
        new = [row(n, batch) for n in numbers]
        ids += [r["record_id"] for r in new]
        run = WrittenRun(store, f"run{batch:02d}")
        raw = _grown(raw, new, scratch / f"raw{batch}", "ingest", store)
        clean = _grown(
            clean,
            [_scrubbed(r, n) for r, n in zip(new, numbers, strict=True)],
            scratch / f"clean{batch}",
            "scrub",
            store,
        )
        _versions(run, raw, clean, scratch / f"v{batch}")
        _ledgers(run, ids, scratch / f"l{batch}")
        _model(run, scratch)
        _save(state, run, batch)
        shutil.rmtree(scratch, ignore_errors=True)
        print(f"run {batch + 1} of {runs}: {len(ids):,} rows", file=sys.stderr)


def _grown(before: Dataset | None, new: list[Row], folder: Path, stage: str, store: Path) -> Dataset:
    writer = DatasetWriter(folder, stage)
    if before is not None:
        writer.share(
            Dataset(
                before.folder,
                before.manifest,
                [store / "shards" / p.name for p in before.shard_paths],
                before._selection,
            ),
            0,
            before.rows,
        )
    writer.write_rows(new)
    return writer.close()


def _scrubbed(one: Row, number: int) -> Row:
    if _fate(number) == "changed":
        name = pseudonym(DEMO_KEY.encode(), "EMAIL_ADDRESS", address(number))
        one = {
            **one,
            "messages": [{**m, "content": m["content"].replace(address(number), name)} for m in one["messages"]],
        }
        one["content_id"] = content_id_of(one)
    return one


def _versions(run: WrittenRun, raw: Dataset, clean: Dataset, folder: Path) -> None:
    numbers = np.arange(raw.rows) % 1000
    splits = np.where(numbers % 50 == 0, 2, 0).astype(np.int8)

    def without(*fates: str) -> Mask:
        gone: Mask = np.zeros(raw.rows, bool)
        for fate in fates:
            gone |= np.isin(numbers, np.array(FATES[fate]))
        return ~gone

    made = [
        ("ingest", "ingested", raw),
        ("dedup", "deduped", raw.select(without("dropped"), folder / "1", "dedup")),
        ("split", "split", raw.select(without("dropped"), folder / "2", "split", splits)),
        ("scrub", "scrubbed", clean.select(without("dropped"), folder / "3", "scrub", splits)),
        ("screen", "screened", clean.select(without("dropped", "quarantined"), folder / "4", "screen", splits)),
        ("screen", "screen_quarantined", clean.select(~without("quarantined"), folder / "5", "screen", splits)),
        ("leakcheck", "curated", clean.select(without(*_GONE), folder / "6", "leakcheck", splits)),
    ]  # fmt: skip
    for stage, name, version in made:
        if name == "scrubbed":
            # As the stage says it, which rewrites what split left.
            version.manifest = version.manifest.model_copy(update={"parent": made[2][2].digest})
            (version.folder / layout.MANIFEST).write_text(version.manifest.model_dump_json(indent=1))
        run.dataset(stage, name, version)
    run.trained_on = made[-1][2].digest  # type: ignore[attr-defined]


def _ledgers(run: WrittenRun, ids: list[str], folder: Path) -> None:
    lines: dict[str, list[tuple[str, str, str, dict[str, Any]]]] = {stage: [] for stage in (*_STAGES, "train")}
    for number, one in enumerate(ids):
        match _fate(number):
            case "dropped":
                lines["dedup"].append(
                    (one, "dropped", "near_duplicate", {"jaccard": 0.91, "witness": ids[number // 2 + 1]})
                )
            case "changed":
                name = pseudonym(DEMO_KEY.encode(), "EMAIL_ADDRESS", address(number))
                spans = [["messages[0].content", 400, 420, "EMAIL_ADDRESS", name]]
                lines["scrub"].append((one, "changed", "pii", {"spans": spans, "before": one * 2, "after": one}))
            case "quarantined":
                lines["screen"].append(
                    (one, "quarantined", "profanity.strong", {"hits": [["profanity.strong", "user", 3]]})
                )
            case "leaked":
                lines["leakcheck"].append(
                    (one, "dropped", "overlap", {"overlap": 0.9, "ngram": 13, "against": "test", "witness": ids[0]})
                )
    for stage, said in lines.items():
        path = folder / f"{stage}.parquet"
        with LedgerWriter(path, stage) as ledger:
            for one, verdict, reason, evidence in said:
                ledger.add(one, verdict, reason, evidence=evidence)  # type: ignore[arg-type]
        run.add(f"{stage}_step", f"{stage}_ledger", "ledger", {layout.LEDGER: path})
        run.add(f"{stage}_step", f"{stage}_report", "stage_report", {layout.REPORT: _report(stage, len(ids))})


def _report(stage: str, rows: int) -> str:
    """What `where-used` reads of one: which kinds of personal data were found, and with which key."""
    found: dict[str, Any] = {"counts": {}, "notes": ()}
    if stage == "scrub":
        key = f"pseudonym key fingerprint: {key_fingerprint(DEMO_KEY.encode())}"
        found = {"counts": {"findings by entity": {"EMAIL_ADDRESS": rows}}, "notes": (key,)}
    whole = {"stage": stage, "rows_in": rows, "kept": rows, "dropped": 0, "dropped_by": {}, **found}
    return sample_run.stage_reports()[0].model_copy(update=whole).model_dump_json()


def _model(run: WrittenRun, scratch: Path) -> None:
    files = scratch / "files"
    files.mkdir(parents=True)
    (files / "adapter_model.safetensors").write_bytes(run.name.encode())
    digests = folder_digests(files)
    info = ModelInfo(
        kind="adapter", base=BaseRef(source="scratch", name="scratch", digest="1" * 64), digest=value_digest(digests),
        files=digests, parameters=1000, trainable=10, dataset_digest=run.trained_on,  # type: ignore[attr-defined]
    )  # fmt: skip
    run.add("train_step", "tuned", "model", {layout.MODEL: info.model_dump_json()})
    shutil.move(files, Path(run.artifacts[-1].uri) / "files")


def _save(state: Path, run: WrittenRun, batch: int) -> RunRecord:
    started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=batch)
    tags = {"weights_digest": json.loads((Path(run.artifacts[-1].uri) / layout.MODEL).read_text())["digest"]}
    registration = sample_run.registration().model_copy(update={"version": str(batch + 1), "tags": tags})
    record = sample_run.record(run.name).model_copy(
        update={
            "run_id": text_digest(run.name)[:32], "config_name": "growing", "started": started.isoformat(),
            "ended": (started + timedelta(hours=1)).isoformat(), "artifact_store": str(state / "artifacts"),
            "artifacts": tuple(run.artifacts), "registration": registration, "config_digest": value_digest(CONFIG),
        }
    )  # fmt: skip
    save_run(state.parent, record, canonical_json(CONFIG))
    kept = state / "artifacts" / layout.RECORDS / run.name / "00000000" / layout.VALUE
    kept.parent.mkdir(parents=True)
    kept.write_text(record.model_dump_json())
    return record


@dataclass
class Growing:
    """Runs in a state folder. Of two over 2,000 rows row 5 was dropped, 31 changed, 150 set aside, 160 dropped late."""

    state: Path
    rows: int = 2_000
    runs: int = 2

    def make(self, scratch: Path) -> "Growing":
        """Write them."""
        make(self.state, self.rows, self.runs, scratch)
        return self

    def record_id(self, number: int) -> str:
        """The record id of the row with that number."""
        return record_id(number, self.rows, self.runs)

    @property
    def catalogue(self) -> Catalogue:
        """All runs, read anew."""
        return load_catalogue(ROOT)

    @property
    def lineage(self) -> Lineage:
        """The same for questions about rows."""
        return Lineage(self.catalogue)

    @property
    def store(self) -> Path:
        """The artifact store."""
        return self.state / "artifacts"

    def artifact(self, name: str, run: str = "run01") -> Path:
        """The main file of a run's artifact."""
        files = self.store.glob(f"*/{name}/{run}/*/*")
        (found,) = [f for f in files if f.suffix in (".json", ".parquet") and f.name != layout.SELECTION]
        return found

    def say(self, stage: str, row: str, verdict: str, run: str = "run01", parents: tuple[str, ...] = ()) -> None:
        """Have one more line in a run's ledger, of reason `by_hand`, and the run's record know of it."""
        file = self.artifact(f"{stage}_ledger", run)
        before = pq.read_table(file)
        line = {"record_id": row, "stage": stage, "verdict": verdict, "reason": "by_hand", "score": None,
                "evidence": "{}", "parents": list(parents)}  # fmt: skip
        pq.write_table(pa.concat_tables([before, pa.Table.from_pylist([line], schema=before.schema)]), file)
        sha256 = file_digest(file)
        record = next(r for r in self.catalogue.runs if r.name == run)
        there = [a.model_copy(update={"sha256": sha256}) if Path(a.uri) == file.parent else a for a in record.artifacts]
        save_run(ROOT, record.model_copy(update={"artifacts": tuple(there)}), canonical_json(CONFIG))

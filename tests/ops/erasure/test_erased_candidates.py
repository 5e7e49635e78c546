"""What somebody said in production: in the log, as a candidate, in the next dataset; found and erased in all three."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import logged, sample_run
from support.growing_runs import ROOT, WrittenRun

from materializers import layout
from ops.erasure.erase import erase, planned
from ops.erasure.rows import Request
from ops.lineage.catalogue import load_catalogue
from ops.lineage.shards import MONITORING
from ops.lineage.ways import Lineage, histories
from ops.lineage.where_used import record_or_source, uses_of
from ops.run_index import save_run
from steps.contracts.context import StageContext
from steps.contracts.digests import canonical_json, text_digest, value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.reports import StageReport
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import ingest
from steps.logs.config import LogsConfig
from steps.logs.logs import logs
from steps.monitor.candidates import make_candidates, publish
from steps.monitor.config import CandidatesConfig
from steps.monitor.window import read_facts
from steps.zenml_runtime.tombstones import own_tombstones

ANSWER = "She will know of the parcel with the blue lantern behind the greenhouse."
HERS = "Please tell her that the parcel with the blue lantern waits behind the greenhouse until noon"


def save(state: Path, run: WrittenRun, day: int, pipeline: str, config: Mapping[str, Any]) -> None:
    at = datetime(2026, 1, day, tzinfo=UTC).isoformat()
    record = sample_run.record(run.name).model_copy(
        update={
            "run_id": text_digest(run.name)[:32], "config_name": run.name, "started": at, "ended": at,
            "pipeline": pipeline, "artifact_store": str(state / "artifacts"), "artifacts": tuple(run.artifacts),
            "registration": None, "config": dict(config), "config_digest": value_digest(config),
        }
    )  # fmt: skip
    save_run(state.parent, record, canonical_json(config))


@pytest.fixture
def produced(tmp_path: Path, nobody_runs: None) -> Path:
    """The folder of candidates of a run that looked at a log of six requests, two of them accepted; a second run has
    read it.
    """
    lines = logged.orders(6)
    lines[2] = logged.line(2, HERS, ANSWER)
    said = [{"feedback_on": f"chatcmpl-{n:06d}", "feedback": "accepted", "consent": "given"} for n in (2, 4)]
    logged.write(tmp_path / "logs" / "serve.jsonl", [*lines, *said])
    state, folder, settings = tmp_path / "state", tmp_path / "kept", LogsConfig(paths=("logs",), window_requests=None)
    read = logs(settings, StageContext(tmp_path / "l", root=tmp_path), now=logged.BEGAN + 1e6)
    run = WrittenRun(state / "artifacts", "watched")
    facts = read.artifacts["log_facts"].path
    known = read_facts(facts)
    with LedgerWriter(tmp_path / "m.parquet", "monitor") as ledger:
        config = CandidatesConfig(consents=("given",), folder=str(folder))
        candidates = make_candidates(read.rows, known, config, tmp_path / "c", ledger)
    assert publish(candidates, folder) == 2
    run.dataset("logs", "logged", read.rows)
    run.add("logs_step", "log_facts", "file", {"log_facts.parquet": facts})
    run.dataset("monitor", "candidates", candidates)
    run.add("monitor_step", "monitor_ledger", "ledger", {layout.LEDGER: tmp_path / "m.parquet"})
    save(state, run, 1, MONITORING, {"monitor": {"candidates": {"folder": str(folder)}}})
    (folder / "notes.txt").write_text(HERS)
    save_next(tmp_path, folder, "next")
    return folder


def save_next(root: Path, folder: Path, name: str) -> StageReport:
    sources = {"sources": [{"name": "prod", "path": str(folder), "include": ["*.jsonl"], "consent": "given"}]}
    ctx = StageContext(root / name, root=root, tombstones=own_tombstones())
    read = ingest(None, IngestConfig.model_validate(sources), ctx)
    run = WrittenRun(root / "state" / "artifacts", name)
    run.dataset("ingest", "ingested", read.rows)
    save(root / "state", run, 2, "curate", {"ingest": sources})
    return read.report


def everything(folder: Path) -> str:
    files = [f for f in folder.rglob("*") if f.is_file() and "tombstones" not in f.parts and "removed" not in f.parts]
    return "\n".join(
        str(pq.read_table(f).to_pylist()) if f.suffix == ".parquet" else f.read_text("latin1") for f in files
    )


def test_a_candidate_is_found_from_the_log_to_the_next_dataset(produced: Path) -> None:
    lineage = Lineage(load_catalogue(ROOT))
    places = lineage.shards.with_text("parcel with the blue lantern")
    assert len(places) == 3
    rows = {r["record_id"]: r for r in lineage.shards.rows([p for ps in places.values() for p in ps]).values()}
    (log,) = [i for i, r in rows.items() if r["source"] == "production/log" and not r["parents"]]
    (candidate,) = [i for i, r in rows.items() if r["parents"] == [log]]
    (read,) = rows.keys() - {log, candidate}
    assert json.loads(rows[read]["meta"])["consent"] == "given"
    assert lineage.descendants({log}) == {candidate, read} and lineage.descendants({read}) == set()
    (told,) = histories(lineage, {candidate: places[candidate]}, True)
    assert [(c.record_id, c.stage) for c in told.ways[0].children] == [(read, "ingest")]
    wanted = record_or_source(lineage, log)
    assert wanted is not None and (wanted.records, wanted.made) == (3, 2)
    assert {v.artifact for v in uses_of(lineage, wanted).versions} == {"logged", "candidates", "ingested"}


def test_what_somebody_said_is_erased_from_log_tables_candidates_and_the_next_dataset(
    produced: Path, tmp_path: Path
) -> None:
    (file,) = produced.glob("candidates-*.jsonl")
    other = next(line for line in file.read_text().splitlines() if "lantern" not in line)
    rows = Lineage(load_catalogue(ROOT)).shards.with_text("parcel with the blue lantern")
    log = next(i for i in sorted(rows) if i in pq.read_table(next((tmp_path / "state").rglob("log_facts.parquet")))[
        "record_id"].to_pylist())  # fmt: skip
    plan = planned(ROOT, Request(records=(log,)))
    assert plan.rows == 3 and set(plan.records) == set(rows)
    assert [s for s in plan.sources if s.startswith("logs/serve.jsonl line:3 sha256:")]
    assert [(f.place, f.name, f.what) for f in plan.lines] == [(str(file), "", "candidates of a monitor: lines")]
    mode = file.stat().st_mode
    assert erase(ROOT, Request(records=(log,))).holds
    assert file.read_text() == other + "\n" and file.stat().st_mode == mode and mode & 0o077 == 0
    assert (produced / "notes.txt").read_text() == HERS, "what isn't ours is for its owner to remove"
    left = everything(tmp_path / "state") + file.read_text()
    assert not [w for w in ("lantern", *rows) if w in left]
    # The log still has the line, and an old copy of the candidates turns up again.
    said = [{"role": "user", "content": HERS}, {"role": "assistant", "content": ANSWER}]
    (produced / f"candidates-{'0' * 24}.jsonl").write_text(json.dumps({"messages": said}) + "\n")
    assert save_next(tmp_path, produced, "again").dropped_by == {"erased": 1}
    assert "lantern" not in everything(tmp_path / "state")
    ctx = StageContext(tmp_path / "l2", root=tmp_path, tombstones=own_tombstones())
    again = logs(LogsConfig(paths=("logs",), window_requests=None), ctx, now=logged.BEGAN + 1e6)
    assert again.report.dropped_by["erased"] == 1 and "lantern" not in str(list(again.rows.iter_rows()))


def test_the_last_line_takes_its_file_along_and_a_folder_that_is_gone_is_said(produced: Path, tmp_path: Path) -> None:
    done = erase(ROOT, Request(sources=("production/log",)))
    assert (
        done.holds and not list(produced.glob("candidates-*.jsonl")) and "lantern" not in everything(tmp_path / "state")
    )
    (produced / "notes.txt").unlink()
    produced.rmdir()
    assert (
        f"candidates in {produced}: no such folder here"
        in planned(ROOT, Request(values=("Nobody Atall",))).not_searched
    )

"""The same numbers of rows wherever a run is looked at: terminal, audit, the page's head and tables, the report."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support import stored_run
from typer.testing import CliRunner

from ops.main import app
from ops.run_index import artifacts_of, report_path, save_run
from pipelines.report.costs import run_costs
from steps.contracts.context import StageContext
from steps.contracts.models import ModelInfo
from steps.contracts.outcome import Outcome
from steps.contracts.reports import StageReport
from steps.engines.chunking.config import ChunkConfig
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.ingest import ingest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS, CHUNKS = 60, 160


class _Words(HTMLParser):
    """The words of a page without its markup, and its tables as rows of cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.said.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


def chunked(folder: Path) -> Outcome:
    """60 documents of 2 or 4 paragraphs of 16 words, cut into 160 chunks."""
    (folder / "documents").mkdir(parents=True)
    for n in range(DOCUMENTS):
        paragraphs = (" ".join(f"w{n}x{p}y{w}" for w in range(16)) for p in range(2 if n < 40 else 4))
        (folder / "documents" / f"{n}.txt").write_text("\n\n".join(paragraphs))
    config = IngestConfig(
        sources=(SourceConfig(name="documents", path=str(folder / "documents")),),
        chunk=ChunkConfig(max_tokens=16, min_tokens=0),
    )
    return ingest(None, config, StageContext(folder / "out", folder))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A stored run whose ingest cut documents, whose scrub came from the cache, and which trained on one row."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    monkeypatch.setenv("COLUMNS", "200")
    stored = stored_run.build(ROOT, tmp_path / "work")
    trained = StageReport(stage="train", rows_in=1, kept=1, config_digest="c", seconds=2.0, cpu_seconds=3.0)
    (stored.add("train_step", "train_report", "stage_report") / "report.json").write_text(trained.model_dump_json())
    report = next(a for a in stored.artifacts if a.name == "ingest_report")
    file = Path(report.uri) / "report.json"
    done = chunked(tmp_path)
    file.write_text(done.report.model_dump_json())
    shutil.copy(done.ledger.path, next(Path(a.uri) for a in stored.artifacts if a.name == "ingest_ledger"))
    artifacts = [a.model_copy(update={"cached": a.step == "scrub_step"}) for a in stored.artifacts]
    stored.record = stored.record.model_copy(update={"artifacts": tuple(map(stored_run.with_digest, artifacts))})
    save_run(ROOT, stored.record, stored_run.CONFIG)
    return stored.record.name, file


def asked(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code in (0, 7), result.stderr
    return result.stdout


def cells(shown: str, stage: str) -> list[str]:
    """The cells of a stage's line in a table on the terminal."""
    return next(line.split() for line in shown.splitlines() if line.split()[:1] == [stage])


def page_of(name: str) -> _Words:
    asked("report", name, "--refresh")
    return _Words(report_path(ROOT, name).read_text())


def test_documents_and_chunks_are_counted_alike_in_all_five_places(run):
    name, file = run
    stored = json.loads(file.read_text())
    wanted = [DOCUMENTS, CHUNKS, CHUNKS, DOCUMENTS]
    assert [stored[k] for k in ("rows_in", "created", "kept", "dropped")] == wanted
    assert cells(asked("runs", name), "ingest")[1:5] == ["60", "160", "160", "60"]
    told = json.loads(asked("runs", name, "--json"))["stages"][0]
    assert [told[k] for k in ("rows_in", "created", "rows_out", "dropped")] == wanted
    assert cells(asked("audit", "support/3"), "ingest")[1:5] == ["60", "160", "160", "60"]
    audited = json.loads(asked("audit", "support/3", "--json"))["stages"][0]
    assert [audited[k] for k in ("rows_in", "created", "kept", "dropped")] == wanted
    page = page_of(name)
    assert "60 in + 160 created" in page.text
    assert "What went in 60 rows" in page.text and "160 were created" in page.text
    funnel, costs = [row for row in page.rows if row[0].strip() == "ingest"][:2]
    assert [c.strip() for c in funnel[2:6]] == ["60", "160", "160", "60"]
    assert " ".join(costs[1].split()) == "60 + 160" and costs[2] == "160"
    assert "504" not in page.text


def test_changed_rows_stand_in_every_overview(run):
    name, _ = run
    assert cells(asked("runs", name).replace("(cached)", ""), "scrub")[6] == "1"
    assert cells(asked("audit", "support/3"), "scrub")[6] == "1"
    page = page_of(name)
    header = next(row for row in page.rows if "kept" in row)
    scrub = next(row for row in page.rows if row[0].strip() == "scrub")
    assert scrub[header.index("changed")].strip() == "1"
    assert "1 changed" in page.text


def test_what_came_from_the_cache_is_named_and_not_added(run):
    name, _ = run
    shown = asked("runs", name)
    told = json.loads(asked("runs", name, "--json"))
    ours = [c for c in told["stages"] + told["evaluations"] if not c["cached"]]
    assert {c["stage"] for c in ours} == {"ingest", "dedup", "screen", "train", "evaluate base", "evaluate tuned"}
    seconds, cpu = (sum(c[k] for c in ours) for k in ("seconds", "cpu_seconds"))
    together = re.search(r"together, without 1 cached\s+([\d.]+)\s+([\d.]+)", shown)
    assert [float(v) for v in together.groups()] == [pytest.approx(seconds, abs=0.06), pytest.approx(cpu, abs=0.06)]
    page = page_of(name)
    assert sum("from cache" in row[0] for row in page.rows) == 1
    assert "that is not added" in page.text
    last = next(row for row in page.rows if row[0].strip() == "together")
    assert float(last[3].split()[0]) == pytest.approx(seconds, abs=1)


def test_rows_that_training_did_not_read_are_explained(run):
    # The version before has 3 rows: 2 of train, of which the phase read 1, and 1 of test.
    name, _ = run
    why = "not read: test split 1, other sources or kinds than the phase takes 1"
    assert f"train: {why}" in asked("runs", name)
    assert why in page_of(name).text


def test_a_base_that_was_made_here_has_a_line_before_training(tmp_path):
    stored = stored_run.build(ROOT, tmp_path)
    trained = StageReport(stage="train", rows_in=1, kept=1, config_digest="c", seconds=2.0, cpu_seconds=3.0)
    (stored.add("train_step", "train_report", "stage_report") / "report.json").write_text(trained.model_dump_json())
    tuned = next(a for a in stored.artifacts if a.type == "model")
    info = ModelInfo.model_validate_json(stored_run.main_file(tuned).read_text())
    made = info.model_copy(update={"seconds": 7.0, "cpu_seconds": 9.0})
    (stored.add("base_step", "base", "model") / "model.json").write_text(made.model_dump_json())
    artifacts = tuple(map(stored_run.with_digest, stored.artifacts))
    costs = run_costs(artifacts_of(ROOT, stored.record.model_copy(update={"artifacts": artifacts})))
    assert [c.stage for c in costs] == ["ingest", "dedup", "scrub", "screen", "base", "train"]
    assert (costs[4].rows_in, costs[4].seconds, costs[4].cpu_seconds) == (0, 7.0, 9.0)

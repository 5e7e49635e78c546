"""Whole runs tell a real server of themselves: begun, ended, failed; and go on where nobody listens."""

import json
from pathlib import Path

import pytest
from support.openlineage_events import lineage_server, mistakes

from ops.run import run
from ops.run_index import find_run
from ops.sync import refresh, sync
from steps.contracts.errors import InputError

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
SECRET = "jane.doe@mail-shop.com"


def config(folder: Path, name: str, rows: list[str]) -> Path:
    (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    source = {"name": "orders", "path": str(folder / f"{name}.jsonl"), "licence": "CC-BY-4.0"}
    file = folder / f"{name}.yaml"
    said = {"name": name, "pipeline": "curate", "ingest": {"sources": [source]}, "scrub": {"demo_key": True}}
    file.write_text(json.dumps({**said, "skip": ["dedup", "judge", "leakcheck"]}))
    return file


def good() -> list[str]:
    said = [(f"Where is order {i}?", f"It left on day {i}.") for i in range(20)] + [
        ("Where to write?", f"To {SECRET}.")
    ]
    return [json.dumps({"prompt": p, "completion": c}) for p, c in said]


def made_by(event: dict, name: str) -> dict:
    (made,) = [o for o in event["outputs"] if o["name"] == name]
    return made


def origins(made: dict) -> dict[str, dict]:
    return {n: c["inputFields"][0] for n, c in made["facets"]["columnLineage"]["fields"].items()}


def test_a_run_tells_what_it_reads_and_makes(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "sesame")
    file = config(tmp_path, "told", good())
    with lineage_server() as (url, received):
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        assert run(file, json_output=True, root=ROOT) == 0
        first = list(received)
        assert run(file, json_output=True, root=ROOT) == 0
    record = find_run(ROOT, "told")
    assert [why for event in received for why in mistakes(event)] == []
    assert {h["Authorization"] for h in received.headers} == {"Bearer sesame"}
    assert set(received.paths) == {"/api/v1/lineage"}

    begun, *steps, ended = first
    assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    assert begun["run"]["runId"] == ended["run"]["runId"] and begun["inputs"] == ended["inputs"]
    (read,) = begun["inputs"]
    assert (read["namespace"], read["name"]) == ("file", str(tmp_path / "told.jsonl"))
    assert [(t["key"], t["value"]) for t in read["facets"]["tags"]["tags"]] == [("licence", "CC-BY-4.0")]
    told = [e["job"]["name"] for e in steps if e["eventType"] == "COMPLETE"]
    assert told == [f"told.{stage}" for stage in ("ingest", "split", "scrub", "screen")]
    assert {e["run"]["facets"]["parent"]["run"]["runId"] for e in steps} == {begun["run"]["runId"]}

    # What a step made is what the next one reads, at the version that the record has.
    versions = {a.name: a.digest for a in record.of_type("dataset")}
    scrubbed = next(e for e in received.of("told.scrub") if e["eventType"] == "COMPLETE")
    made = made_by(scrubbed, "told.scrubbed")
    assert made["facets"]["version"]["datasetVersion"] == versions["scrubbed"]
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 21
    assert [o["outputFacets"]["outputStatistics"]["rowCount"] for o in scrubbed["outputs"] if o is not made] == [0]
    screened = next(e for e in received.of("told.screen") if e["eventType"] == "COMPLETE")
    assert [i["name"] for i in screened["inputs"]] == ["told.scrubbed"]
    masked = {n for n, origin in origins(made).items() if origin["transformations"][0].get("masking")}
    assert masked == {"messages", "tools", "chosen", "rejected", "text", "meta", "content_id"}
    (final,) = ended["outputs"]
    assert final["name"] == "told.screened" and origins(final)["messages"]["field"] == "row"

    # Steps from the cache did nothing.
    again = received[len(first) :]
    assert [(e["eventType"], e["job"]["name"]) for e in again] == [("START", "told"), ("COMPLETE", "told")]
    assert again[1]["outputs"] == ended["outputs"]
    assert "Where is order" not in json.dumps(received) and SECRET not in json.dumps(received)


def test_a_failed_run_is_told_of_once_and_without_what_its_error_said(tmp_path, monkeypatch):
    file = config(tmp_path, "told-fails", [*good() * 5, *[f"no row, {SECRET}"] * 100])
    with lineage_server() as (url, received):
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        with pytest.raises(InputError, match="max_reject_share"):
            run(file, json_output=True, root=ROOT)
        record = find_run(ROOT, "told-fails")
        refresh(ROOT, record.run_id)
        sync(ROOT)
    assert [why for event in received for why in mistakes(event)] == []
    said = [(e["eventType"], e["job"]["name"]) for e in received]
    assert said == [("START", "told-fails"), ("START", "told-fails.ingest"), ("FAIL", "told-fails.ingest"),
                    ("FAIL", "told-fails")]  # fmt: skip
    assert received[-1]["run"]["facets"]["errorMessage"]["message"] == "InputError in ingest_step"
    assert SECRET not in json.dumps(received)


def test_a_run_goes_on_where_nobody_listens_and_says_so_once(tmp_path, monkeypatch, capsys):
    file = config(tmp_path, "untold", good())
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ASSAY_PROGRESS", "off")
    assert run(file, root=ROOT) == 0
    assert find_run(ROOT, "untold").status == "completed"
    lines = [line for line in capsys.readouterr().err.splitlines() if "OpenLineage" in line]
    assert len(lines) == 1
    assert lines[0].startswith("OpenLineage: http://127.0.0.1:9 didn't take this run's events (ConnectionError: ")
    assert lines[0].endswith("the run goes on without")

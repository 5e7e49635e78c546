"""Personal data of every kind, in every format and place, goes through whole runs; all that these wrote is searched.

What is left out of the search, and by which marks, says `support.planted_run`.
"""

import json
from pathlib import Path

import pytest
import yaml
from engines.llm.scripted_server import ScriptedServer, completion, verdict
from support import outcomes
from support.canaries import KINDS, TOO_SHORT
from support.canary_sources import Sources
from support.planted_run import Planted, plant
from typer.testing import CliRunner

from ops.main import app
from steps.scrub.config import ScrubConfig
from steps.scrub.detectors import Detectors
from steps.scrub.redactor import Redactor

pytestmark = pytest.mark.slow


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return plant(tmp_path)


def test_each_kind_that_is_looked_for_is_planted_and_detected(planted: Planted) -> None:
    settings = ScrubConfig.model_validate({**planted.config["scrub"], "deny_files": {}})
    assert set(settings.wanted) - set(KINDS) == TOO_SHORT and {c.kind for c in planted.canaries.planted} == set(KINDS)
    config = settings.model_copy(
        update={"deny": {"PERSON": tuple(c.value for c in planted.canaries.planted if c.kind == "PERSON")}}
    )
    sentences = [c.sentence for c in planted.canaries.planted]
    found = Redactor(config, b"k" * 32).find(sentences, Detectors(config))
    for canary in planted.canaries.planted:
        left = canary.sentence
        for span in sorted(found[left] or (), key=lambda span: -span.start):
            left = left[: span.start] + left[span.end :]
        assert not any(needle in left.lower().encode() for needle in canary.needles()), canary


def test_a_curation_leaves_none_but_in_what_is_marked_raw(planted: Planted) -> None:
    said = planted.run()
    assert planted.found(said) == {}
    # What was read is there, where it is marked: the search finds it.
    seen = {one for kinds in planted.found(raw=()).values() for one in kinds}
    unread = {c.place for c in planted.canaries.planted if f"{c.kind} in {c.place}" not in seen}
    # The last is the file of an unknown type.
    assert unread <= {"page.html comment", "letter.docx author", "letter.docx title", "a file's name", "named.jsonl"}
    # And is nowhere else for those who look without being told to show it.
    looks = [("runs", "latest"), ("sample", "latest", "--dropped", "near_duplicate"), ("head", "latest"), ("report",),
             ("explain", "parcel"), ("status",), ("where-used", "all"), ("doctor",),
             ("lineage", "--html", str(planted.folder / "written" / "g.html"))]  # fmt: skip
    told = [outcomes.assay(planted.state, *look) for look in looks]
    assert planted.found(*(done.stdout + done.stderr for done in told)) == {}


BROKEN = {
    "cut.parquet": lambda s, n: s["pairs.parquet"](n)[:-30],
    "cut.xlsx": lambda s, n: s["pairs.xlsx"](n)[:-30],
    "cut.jsonl.gz": lambda s, n: s["openai.jsonl.gz"](n)[:-30],
    "cut.json": lambda s, n: s["sharegpt.json"](n)[:-30],
    "no_header.csv": lambda s, n: s["pairs.csv"](n).split(b"\r\n", 1)[1],
    "quotes.csv": lambda s, n: b'"' + s["pairs.csv"](n).replace(b'","', b'",",'),
    "more_cells.csv": lambda s, n: s["pairs.csv"](n).replace(b"prompt,completion,agent", b"prompt,completion"),
    "cut.pdf": lambda s, n: s["letter.pdf"](n)[:200],
    "cut.docx": lambda s, n: s["letter.docx"](n)[:-50],
    "latin.jsonl": lambda s, n: s["alpaca.jsonl"](n).replace(b"Case", b"\xe9\xff"),
    "one_value.json": lambda s, n: json.dumps(s["note.txt"](n).decode()).encode(),
    "lists.json": lambda s, n: json.dumps({"a": [{"x": s["note.txt"](n).decode()}], "b": [{"y": 1}]}).encode(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_said_of_a_file_that_cant_be_read(planted: Planted, name: str) -> None:
    sources = Sources(planted.folder / "broken", planted.canaries)
    file = planted.folder / "broken" / name
    file.parent.mkdir()
    file.write_bytes(BROKEN[name](sources.makers(), name))
    out = planted.folder / "out"
    done = CliRunner().invoke(app, ["stage", "ingest", str(file), "--out", str(out)])
    (out / "kept.parquet").unlink(missing_ok=True)  # what was asked for: the rows as they were read
    assert planted.found(done.output, repr(done.exception), also=[out]) == {}


def test_runs_that_fail_in_the_middle_leave_none(planted: Planted) -> None:
    """By too many rejected rows, by a judge that can't be reached, by a fault that says what it saw."""
    ingest, whole = planted.config["ingest"], planted.config
    planted.config = {**whole, "ingest": {**ingest, "max_reject_share": 0.01}}
    said = [planted.run(status=3)]
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "none", "max_attempts": 1, "give_up_after": 1}
    planted.config = {**whole, "judge": {"backend": "llm", "endpoint": endpoint}}
    said.append(planted.run(status=5))
    planted.config = whole
    said.append(planted.faulty())
    assert planted.found(*said) == {}


def test_a_whole_run_with_a_judge_leaves_none(planted: Planted) -> None:
    """Base, training, evaluation, gate and registration too; the judge is a server, and sees scrubbed rows only."""
    # Its toy of a base writes no tool calls.
    planted.config["ingest"]["sources"][0]["exclude"] = ["openai*", "of */*"]
    smoke = yaml.safe_load((outcomes.ROOT / outcomes.SMOKE).read_text())
    with ScriptedServer(lambda _n, _body: completion(verdict(5))) as server:
        endpoint = {"base_url": server.url, "model": "scripted"}
        planted.config = {
            **smoke, **planted.config, "pipeline": smoke.get("pipeline", "end_to_end"),
            "judge": {"backend": "llm", "endpoint": endpoint}, "gate": {"min_n": 1, "min_control_n": 10},
        }  # fmt: skip
        said = planted.run()
        asked = json.dumps(server.bodies, ensure_ascii=False)
    assert server.bodies and planted.found(said, asked) == {}
    audit = outcomes.assay(planted.state, "audit", "smoke", "--verify")
    assert audit.returncode == 0 and planted.found(audit.stdout) == {}, audit.stdout

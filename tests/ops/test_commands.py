import io
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from support import sample_run, stored_run
from typer.testing import CliRunner

from materializers.artifacts import Artifacts
from ops.main import app, main
from ops.run_index import report_path, save_run
from steps.contracts.digests import file_digest, folder_digests, value_digest
from steps.contracts.errors import ServiceError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    monkeypatch.delenv("ASSAY_TRACEBACK", raising=False)
    return tmp_path


@pytest.fixture
def stored(state):
    return stored_run.build(ROOT, state / "work")


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def told(*arguments: str):
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def child(*arguments: str, **environment: str):
    return subprocess.run(
        [sys.executable, "-m", "ops.main", *arguments], capture_output=True, text=True, timeout=120, check=False,
        cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip


def test_help_is_quick_and_imports_nothing_heavy():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = child("--help")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert done.returncode == 0 and "explain" in done.stdout
    # 0.2 s on an idle machine; the bound leaves room for a busy one and still catches pandas, torch or zenml.
    assert spent < 0.6
    heavy = (
        "import sys; from ops import main; print([m for m in ('torch','zenml','pyarrow','pydantic','duckdb','jinja2')"
    )
    assert (
        subprocess.run([sys.executable, "-c", heavy + " if m in sys.modules])"], capture_output=True, text=True,
                       check=True, cwd=ROOT).stdout.strip() == "[]"
    )  # fmt: skip


def test_runs_lists_what_was_registered(stored):
    assert stored.record.name in invoke("runs").stdout
    listed = told("runs")["runs"]
    assert [r["name"] for r in listed] == [stored.record.name]
    assert listed[0]["registration"]["version"] == "3"


def test_a_run_shows_what_each_stage_took_out_and_cost(stored):
    shown = invoke("runs", stored.record.name).stdout
    assert "dropped: near_duplicate 1" in shown and "quarantined: prompt_injection 1" in shown
    told_run = told("runs", stored.record.name)
    stages = {s["stage"]: s for s in told_run["stages"]}
    assert list(stages) == ["ingest", "dedup", "scrub", "screen"]
    assert [(s["rows_in"], s["rows_out"]) for s in stages.values()] == [(5, 5), (5, 4), (4, 4), (4, 3)]
    assert all(s["rows_in"] + s["created"] == s["rows_out"] + s["dropped"] + s["quarantined"] for s in stages.values())
    # Every stage of this run says that it took 0.1 s, on one core.
    assert stages["screen"]["rows_per_second"] == pytest.approx(40) and stages["screen"]["cpu_seconds"] == 0.1
    assert told_run["name"] == stored.record.name


def test_an_older_record_without_costs_is_still_read(stored):
    path = report_path(ROOT, stored.record.name).with_name("run.json")
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("cpu_seconds", "peak_mb")}
    path.write_text(json.dumps(old))
    assert invoke("runs", stored.record.name).exit_code == 0 and told("runs")["runs"][0]["peak_mb"] is None


def test_no_runs(state):
    assert "no runs yet" in invoke("runs").stdout
    assert told("runs") == {"runs": []}
    result = invoke("report")
    assert result.exit_code == 3 and "assay run CONFIG" in result.stderr


@pytest.mark.parametrize(
    "command", [["audit", "support"], ["report"], ["explain", "order"], ["diff", "latest", "latest"], ["review"],
                ["runs"]],
)  # fmt: skip
def test_a_broken_record_is_named_by_every_command(stored, command):
    file = report_path(ROOT, stored.record.name).with_name("run.json")
    file.write_text(file.read_text()[:-100])
    result = invoke(*command)
    assert result.exit_code == (0 if command == ["runs"] else 7)
    assert str(file) in result.stderr and "assay runs --sync" in result.stderr and "no runs yet" not in result.output


def test_report_is_rendered_from_the_artifacts(stored):
    path = report_path(ROOT, stored.record.name)
    assert not path.exists()
    assert invoke("report").stdout.strip() == str(path)
    html = path.read_text()
    assert "Yes, lamps too." in html and "mails/mails.jsonl" in html and "near_duplicate" in html
    assert stored_run.SECRET not in html
    path.write_text("kept")
    invoke("report", stored.record.name[:12])
    assert path.read_text() == "kept"
    invoke("report", "--refresh")
    assert path.read_text() == html


def test_answers_about_unscrubbed_rows_are_withheld(stored):
    kept = tuple(a for a in stored.record.artifacts if a.step not in ("scrub_step", "screen_step"))
    save_run(ROOT, stored.record.model_copy(update={"name": "unscrubbed", "artifacts": kept}), stored_run.CONFIG)
    invoke("report", "unscrubbed")
    html = report_path(ROOT, "unscrubbed").read_text()
    assert "Yes, lamps too." not in html and "were not scrubbed" in html


def test_explain_follows_a_dropped_row(stored):
    row = told("explain", stored.rows[1]["record_id"][:10])["rows"][0]
    assert row["fate"] == "dropped by dedup: near_duplicate"
    assert [(s["stage"], s["verdict"]) for s in row["stages"]] == [
        ("ingest", "passed"), ("dedup", "dropped"), ("scrub", "not reached"), ("screen", "not reached"),
    ]  # fmt: skip
    assert row["stages"][1]["lines"][0]["evidence"]["witness"] == stored.rows[0]["record_id"]
    assert row["text"] is None and row["hidden"]


def test_explain_shows_scrubbed_text_only(stored):
    for query in (stored_run.SECRET, "mails", stored.rows[2]["record_id"], stored.rows[1]["record_id"]):
        result = invoke("explain", query)
        assert stored_run.SECRET not in result.output.replace(query, ""), query
    shown = told("explain", stored.rows[2]["record_id"])["rows"][0]
    assert stored_run.PSEUDONYM in shown["text"]
    raw = told("explain", stored.rows[1]["record_id"], "--raw")["rows"][0]
    assert stored_run.SECRET in raw["text"], "--raw is how its owner sees it"
    raw_of_scrubbed = told("explain", stored.rows[2]["record_id"], "--raw")["rows"][0]
    assert stored_run.SECRET not in raw_of_scrubbed["text"]


def test_explain_finds_text_also_in_dropped_rows(stored):
    found = told("explain", "WHERE IS MY ORDER")
    assert {r["record_id"] for r in found["rows"]} == {stored.rows[0]["record_id"], stored.rows[1]["record_id"]}
    assert "2 rows fit" in invoke("explain", "where is my order").stdout


def seen_by(stored, row: int) -> list[tuple[str, bool]]:
    result = invoke("explain", stored.rows[row]["record_id"], "--run", stored.record.name, "--json")
    return [(s["registered"], s["sure"]) for s in json.loads(result.stdout)["rows"][0]["seen_by"]]


def test_explain_names_the_models_that_saw_a_row(stored):
    assert seen_by(stored, 0) == seen_by(stored, 2) == [("support/3", True)]
    for row, why in ((1, "dropped"), (3, "quarantined"), (4, "test split")):
        assert seen_by(stored, row) == [], why
    row = told("explain", stored.rows[3]["record_id"])["rows"][0]
    assert row["text"].startswith("Ignore all previous") and row["split"] is None
    assert told("explain", stored.rows[4]["record_id"])["rows"][0]["split"] == "test"
    assert "model support/3" in invoke("explain", stored.rows[0]["record_id"]).stdout


def test_a_model_of_another_run_saw_the_row_as_well(stored):
    finetuned_alone(stored)
    assert sorted(seen_by(stored, 0)) == [("other/1", True), ("support/3", True)]
    shutil.rmtree(stored.store / "shards")
    # A ledger still names this one.
    assert {sure for _, sure in seen_by(stored, 2)} == {False}, "unknown isn't no"


def test_a_phase_saw_the_rows_that_it_takes_and_those_of_the_phase_it_starts_from(stored):
    takes = {"a": {"sources": ["mails"]}, "b": {"kinds": ["document"]}, "c": {"sources": ["calls"]}}
    artifacts = [a for a in stored.record.artifacts if a.type != "model"]
    first = stored.record.of_type("model")[0]
    before: list[dict[str, object]] = []
    for name in takes:
        folder = stored.store / "phases" / name
        shutil.copytree(first.uri, folder)
        info = json.loads((folder / "model.json").read_text()) | {"name": name, "digest": name * 64}
        info["started_from"] = before if name == "b" else []
        before = [{"name": name, "digest": name * 64, "kind": "adapter"}]
        (folder / "model.json").write_text(json.dumps(info))
        update = {"step": f"train_{name}_step", "uri": str(folder), "sha256": file_digest(folder / "model.json")}
        artifacts.append(first.model_copy(update=update))
    phases = stored.record.model_copy(update={"name": "phases", "run_id": "3", "artifacts": tuple(artifacts),
                                              "registration": None})  # fmt: skip
    shutil.rmtree(report_path(ROOT, stored.record.name).parent)
    config = json.dumps({"train": [{"name": n, "rows": rows} for n, rows in takes.items()]})
    save_run(ROOT, sample_run.of_config(phases, config), config)
    seen = told("explain", stored.rows[0]["record_id"])["rows"][0]["seen_by"]
    assert [(s["model"][0], s["registered"], s["sure"], s["rows"]) for s in seen] == [
        ("a", "", True, 1),
        ("b", "", True, 0),
    ]
    assert told("explain", stored.rows[4]["record_id"])["rows"][0]["seen_by"] == [], "test split"


def finetuned_alone(stored) -> None:
    """A second run that only trained, on the first run's dataset version."""
    first = stored.record.of_type("model")[0]
    folder = stored.store / "second"
    shutil.copytree(first.uri, folder)
    (folder / "files/adapter_config.json").write_text('{"r": 8}')
    files = folder_digests(folder / "files")
    info = json.loads((folder / "model.json").read_text()) | {"files": files, "digest": value_digest(files)}
    (folder / "model.json").write_text(json.dumps(info))
    tags = {"weights_digest": info["digest"]}
    registration = stored.record.registration.model_copy(update={"name": "other", "version": "1", "tags": tags})
    model = stored_run.with_digest(first.model_copy(update={"uri": str(folder)}))
    second = stored.record.model_copy(
        update={"name": "second", "run_id": "2", "started": "2026-11-22T00:00:00+00:00", "registration": registration,
                "artifacts": (model,)}
    )  # fmt: skip
    save_run(ROOT, second, stored_run.CONFIG)


def test_audit_finds_the_dataset_in_the_run_that_made_it(stored):
    finetuned_alone(stored)
    assert invoke("report", "second").exit_code == 0
    audit = json.loads(invoke("audit", "other", "--verify", "--json").stdout)
    assert audit["run"]["name"] == "second" and audit["dataset"]["run"] == stored.record.name
    assert audit["dataset"]["rows_by_source"] == {"mails/mails.jsonl": 3}
    found = {f["what"]: f["state"] for f in audit["verification"]["findings"]}
    assert found["it was trained on a recorded dataset version"] == "holds"


def test_without_scrub_no_text_is_shown(stored):
    kept = tuple(a for a in stored.record.artifacts if a.step in ("ingest_step", "dedup_step"))
    save_run(ROOT, stored.record.model_copy(update={"name": "unscrubbed", "artifacts": kept}), stored_run.CONFIG)
    for query in (stored.rows[2]["record_id"], "Write to"):
        shown = told("explain", query, "--run", "unscrubbed")["rows"][0]
        assert shown["text"] is None and shown["hidden"] and shown["split"] == "train"
    raw = told("explain", stored.rows[2]["record_id"], "--run", "unscrubbed", "--raw")["rows"][0]
    assert stored_run.SECRET in raw["text"]


def test_explain_says_when_nothing_fits(stored):
    result = invoke("explain", "no such words anywhere")
    assert result.exit_code == 3 and "no row has that id or text" in result.stderr


@pytest.mark.parametrize("config", ["name: other\n", "", "{", "name: [a: b: c\n"])
def test_nothing_is_told_from_a_changed_config(stored, config):
    file = report_path(ROOT, stored.record.name).with_name("config.yaml")
    file.write_text(config)
    row = stored.rows[0]["record_id"]
    for said, *arguments in (
        ("not read", "explain", row),
        ("error", "report", "latest", "--refresh"),
        ("error", "review", "latest", "--json"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 7 and result.stderr.startswith(f"{said}: {file}: not the config that"), arguments


@pytest.mark.slow
def test_stages_chain_over_files_and_keep_their_ids(state):
    source = state / "in.jsonl"
    lines = [{"messages": [{"role": "user", "content": f"What is {i} plus {i}, counted slowly with both hands?"},
                           {"role": "assistant", "content": f"It is {2 * i}, as everybody knows."}]}
             for i in (*range(60), 7)]  # fmt: skip
    source.write_text("\n".join(json.dumps(line) for line in lines))
    first = told("stage", "dedup", str(source), "--out", str(state / "a"), "--set", "threshold=0.95")
    assert first["report"]["dropped_by"] == {"exact_duplicate": 1}
    assert {Path(f).name for f in first["files"]} == {"kept.parquet", "ledger.parquet", "report.json", "report.html"}
    told("stage", "split", str(state / "a/kept.parquet"), "--out", str(state / "b"), "--set", "test=0.3")
    told("stage", "leakcheck", str(state / "b/kept.parquet"), "--out", str(state / "c"))
    a, b, c = (pq.read_table(state / n / "kept.parquet").to_pylist() for n in "abc")
    assert {r["record_id"] for r in a} == {r["record_id"] for r in b} >= {r["record_id"] for r in c}
    labels = {r["record_id"]: r["split"] for r in b}
    assert set(labels.values()) == {"train", "validation", "test"}
    assert all(labels[r["record_id"]] == r["split"] for r in c)
    assert not list((state / "a").glob(".stage-*"))
    assert "exact_duplicate" in (state / "a/report.html").read_text()


def test_keys_of_ingest_reach_a_stage_s_inputs(state):
    source = state / "pages.jsonl"
    pages = [" ".join(f"word{i}x{page}" for i in range(100)) for page in range(3)]
    source.write_text("".join(json.dumps({"text": page, "url": "u"}) + "\n" for page in pages))
    whole = told("stage", "dedup", str(source), "--out", str(state / "whole"))
    assert whole["report"]["rows_in"] == 3
    asked = ("--ingest", "chunk.max_tokens=64", "--ingest", "meta_columns=[]")
    told("stage", "dedup", str(source), "--out", str(state / "cut"), *asked)
    rows = pq.read_table(state / "cut/kept.parquet").to_pylist()
    assert [r["locator"] for r in rows] == [f"chunk:{line}:{n}" for line in (1, 2, 3) for n in (0, 1)]
    assert "url" not in rows[0]["meta"]
    told("stage", "ingest", str(source), "--out", str(state / "read"), "--set", "chunk.max_tokens=50")
    assert len(pq.read_table(state / "read/kept.parquet")) == 6
    again = ("stage", "split", str(state / "cut/kept.parquet"), "--out", str(state / "o"))
    for arguments, said in (
        ((*again, "--ingest", "seed=1"), "taken as they are"),
        (("stage", "dedup", str(source), "--out", str(state / "o"), "--ingest", "chnk=none"), "did you mean 'chunk'"),
        (("stage", "dedup", str(source), "--out", str(state / "o"), "--ingest", "chunk=512"), "chunk"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2 and said in result.stderr


def test_a_stage_reads_its_config_file(state):
    source = state / "in.jsonl"
    source.write_text(
        json.dumps({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]})
    )
    config = state / "split.yaml"
    config.write_text("validaton: 0.1\ntest: 2\n")
    result = invoke("stage", "split", str(source), "--out", str(state / "o"), "--config", str(config))
    assert result.exit_code == 2
    assert "2 mistakes" in result.stderr and "did you mean 'validation'" in result.stderr and "line 2" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["stage", "dedupe", "x", "--out", "o"], 2, "one of ingest, dedup"),
        (["stage", "dedup", "no-such-file", "--out", "o"], 3, "no such file"),
        (["stage", "dedup", "README", "--out", "o", "--set", "tresh=1"], 3, "no such file"),
        (["convert", "no-such-file", "out.jsonl", "--to", "openai"], 3, "no such file"),
        (["convert", "in", "out.jsonl", "--to", "yaml"], 2, "openai, sharegpt, alpaca"),
        (["validate", "no-such.yaml"], 3, "no such configuration file"),
        (["report", "nope"], 3, "no runs yet"),
        (["audit", "a/b/c"], 3, "MODEL@alias"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_errors_are_one_clear_message(state, arguments, status, said):
    result = invoke(*arguments)
    assert result.exit_code == status
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_traceback_only_when_asked(state, monkeypatch):
    monkeypatch.setenv("ASSAY_TRACEBACK", "1")
    assert "Traceback" in invoke("convert", "no-such-file", "out.jsonl", "--to", "openai").stderr


def test_validate_checks_every_file(state):
    good = ROOT / "configs/runs/quickstart.yaml"
    bad = state / "bad.yaml"
    bad.write_text("name: x\nsplitt: {}\n")
    result = invoke("validate", str(bad), str(good), "--json")
    assert result.exit_code == 2
    assert [c["ok"] for c in json.loads(result.stdout)["configs"]] == [False, True]


def test_schema_is_one_of_a_run_config(state):
    schema = json.loads(invoke("schema").stdout)
    assert schema["additionalProperties"] is False and "ingest" in schema["properties"]
    assert invoke("schema", "--out", str(state / "s.json")).stdout == ""
    assert json.loads((state / "s.json").read_text()) == schema


def test_convert_keeps_the_words(state):
    source, out = state / "in.jsonl", state / "out.jsonl"
    source.write_text(json.dumps({"instruction": "Say hi", "input": "", "output": "hi"}) + "\n")
    assert told("convert", str(source), str(out), "--to", "openai")["rows"] == 1
    assert json.loads(out.read_text())["messages"][-1] == {"role": "assistant", "content": "hi"}
    before = source.read_text()
    result = invoke("convert", str(source), str(source), "--to", "openai")
    assert result.exit_code == 2 and source.read_text() == before


def test_doctor_names_what_it_looked_at(state):
    result = invoke("doctor", "--json")
    checks = {c["name"]: c for c in json.loads(result.stdout)["checks"]}
    assert checks["Python"]["status"] == "ok"
    assert {"torch", "GPU", "disk", "ZenML store", "MLflow tracking", "spaCy model", "judge endpoint"} <= checks.keys()
    assert result.exit_code == (4 if any(c["status"] == "missing" for c in checks.values()) else 0)
    assert not (state / "state").exists(), "looking changes nothing"


def test_doctor_says_which_identifiers_nothing_looks_for(state):
    plain = {c["name"]: c for c in json.loads(invoke("doctor", "--json").stdout)["checks"]}
    missing = plain["scrub: PERSON, LOCATION, ORGANIZATION"]
    assert "not covered" in missing["found"]
    assert "spacy download" in missing["fix"] and "transformers" in missing["fix"] and "GLiNER" in missing["fix"]
    settings = yaml.safe_load((ROOT / "configs/runs/quickstart.yaml").read_text())
    settings["scrub"]["ner"] = {"engine": "spacy", "model": "some_model"}
    config = state / "named.yaml"
    config.write_text(yaml.safe_dump(settings))
    found = checks_of(str(config))
    assert found["scrub: PERSON, LOCATION"] == {
        "name": "scrub: PERSON, LOCATION", "status": "ok", "found": "spacy model some_model", "fix": ""
    }  # fmt: skip
    assert found["scrub: ORGANIZATION"]["status"] == "optional"


def test_doctor_sees_a_server_that_is_down(state, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = invoke("doctor", "--json")
    checks = {c["name"]: c for c in json.loads(result.stdout)["checks"]}
    assert checks["MLflow server"]["status"] == "missing" and result.exit_code == 4


class _Models(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "small-judge"}]}')

    def log_message(self, *_):
        pass


def test_doctor_asks_the_judge_that_a_config_names(state, monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), _Models)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = (ROOT / "configs/runs/quickstart.yaml").read_text()
    settings = yaml.safe_load(text)
    endpoint = {
        "base_url": f"http://127.0.0.1:{server.server_port}/v1",
        "model": "small-judge",
        "key_env": "NO_SUCH_KEY",
    }
    config = state / "judged.yaml"
    config.write_text(yaml.safe_dump(settings | {"judge": {"backend": "llm", "endpoint": endpoint}}))
    try:
        found = checks_of(str(config))
        assert found["judge endpoint"]["status"] == "ok" and "serves small-judge" in found["judge endpoint"]["found"]
        assert found["judge key"]["status"] == "missing"
    finally:
        server.shutdown()
        server.server_close()
    assert checks_of(str(config))["judge endpoint"]["status"] == "missing"


def checks_of(config: str) -> dict[str, dict[str, str]]:
    result = invoke("doctor", "--config", config, "--json")
    return {c["name"]: c for c in json.loads(result.stdout)["checks"]}


def test_hostile_rows_are_harmless_on_the_terminal(state):
    source = state / "in.jsonl"
    evil = "\x1b]0;owned\x07[bold red]hi[/bold red]\u202e"
    source.write_text(json.dumps({"messages": [{"role": "user", "content": evil}, {"role": evil, "content": "x"}]}))
    result = invoke("stage", "ingest", str(source), "--out", str(state / "o"))
    assert "\x1b" not in result.output and "\u202e" not in result.output and "\x07" not in result.output


def test_interrupt_ends_with_130(state, monkeypatch):
    monkeypatch.setattr("ops.commands.runs.known_runs", lambda *_a, **_k: (_ for _ in ()).throw(KeyboardInterrupt))
    assert invoke("runs").exit_code == 130


def test_sigterm_ends_with_143(state, monkeypatch):
    monkeypatch.setattr("ops.commands.runs.known_runs", lambda *_a, **_k: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    result = invoke("runs")
    assert result.exit_code == 143
    assert "fault" not in result.output
    assert signal.getsignal(signal.SIGTERM) is before


def test_interrupt_is_heard_where_it_was_ignored(state, monkeypatch):
    monkeypatch.setattr("ops.commands.runs.known_runs", lambda *_a, **_k: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert invoke("runs").exit_code == 130
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_full_disk_ends_with_6_also_within_a_library(state, monkeypatch):
    def full(*_a, **_k):
        try:
            raise sqlite3.OperationalError("database or disk is full")
        except sqlite3.OperationalError as e:
            raise RuntimeError("(sqlite3.OperationalError) ...") from e

    monkeypatch.setattr("ops.commands.runs.known_runs", full)
    result = invoke("runs")
    assert result.exit_code == 6
    assert "no space left" in result.output


def test_a_fault_of_ours_is_named_without_a_traceback(state, monkeypatch):
    monkeypatch.setattr("ops.commands.runs.known_runs", lambda *_a, **_k: 1 / 0)
    result = invoke("runs")
    assert result.exit_code == 1 and "ZeroDivisionError" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.skipif(shutil.which("head") is None, reason="no head")
def test_a_closed_pipe_is_no_fault(stored):
    done = subprocess.run(
        f"{sys.executable} -m ops.main schema | head -1", shell=True, capture_output=True, text=True, timeout=60,
        check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.startswith("{") and "Traceback" not in done.stderr


def test_a_store_out_of_reach_is_no_reason_to_say_nothing(stored, monkeypatch):
    finetuned_alone(stored)
    before = Artifacts.model

    def model(self, artifact):
        if self.run.name == stored.record.name:
            raise ServiceError("can't read from the artifact store", where=artifact.uri)
        return before(self, artifact)

    monkeypatch.setattr(Artifacts, "model", model)
    assert sorted(seen_by(stored, 0)) == [("other/1", True), ("support/3", False)]


@pytest.mark.parametrize(
    ("command", "spared"),
    [("doctor", ["torch", "zenml", "mlflow", "presidio_analyzer"]), ("runs", ["fsspec", "duckdb"])],
)
def test_what_only_looks_imports_nothing_that_takes_seconds(state, command, spared):
    code = f"""
import sys
from ops.commands import doctor
doctor._has_driver = lambda: False
sys.argv = ["assay", {command!r}, "--json"]
from ops.main import app, main
try:
    app()
except SystemExit as e:
    assert e.code in (0, 4)
print([m for m in {spared!r} if m in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120, check=True
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_version_and_completion_need_no_network_and_nothing_heavy():
    assert child("--version").stdout.startswith("assay ")
    script = child("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert script.returncode == 0 and "_ASSAY_COMPLETE=complete_bash" in script.stdout.replace("\n", " ")
    asked = {"_ASSAY_COMPLETE": "complete_bash", "COMP_WORDS": "assay sa", "COMP_CWORD": "1"}
    assert child(**asked).stdout.split() == ["sample"]


def _main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["assay", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_output_that_is_closed_goes_nowhere(stored, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert _main(monkeypatch, "runs") == 0
    assert _main(monkeypatch, "head", "nothing") == 3


def test_a_terminal_that_lacks_a_character_shows_a_question_mark(stored, monkeypatch, tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "東京?", "completion": "Größe"}))
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    assert _main(monkeypatch, "head", str(tmp_path / "rows.jsonl")) == 0
    shown = out.buffer.getvalue().decode("latin-1")
    assert "user: ???" in shown and "assistant: Größe" in shown


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module", name="sacrebleu"), PackageNotFoundError("sacrebleu")]
)
def test_a_package_that_always_belongs_to_it_is_named_when_it_is_missing(state, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("ops.commands.doctor.examine", fails)
    result = invoke("doctor")
    assert result.exit_code == 4 and "sacrebleu isn't installed" in result.stderr and "constraints.txt" in result.stderr

"""The walk from a trained model to the next round: served with a log, asked by OpenAI's client, looked at, corrected
answers curated; by the real commands.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pyarrow.parquet as pq
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support import logged
from support.llama_cpp import converter

from ops.run import run
from ops.run_index import artifacts_of, find_run, report_path
from ops.schedule.watch import ABSENT, mark_of
from ops.versions import newest_completed, trained_on
from pipelines.dataset import find_dataset
from steps.contracts.errors import InputNotFoundError
from steps.contracts.monitoring import Monitored
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]
SECRET = "jane.roe@example.org"
THINGS = (
    "lamp",
    "chair",
    "table",
    "clock",
    "mirror",
    "basket",
    "candle",
    "drawer",
    "kettle",
    "carpet",
    "pillow",
    "vase",
)
PLACES = ("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon", "Gdansk", "Malmo", "Cork", "Basel", "Bergen", "Ghent")
FOREIGN = "Wie wird das Wetter morgen in den Bergen, und was soll ich zum Wandern bitte alles einpacken?"
pytestmark = pytest.mark.slow


def question(n: int) -> str:
    """As the training rows have them, other numbers."""
    return f"Where does the {THINGS[n % 12]} of customer {n * 17 % 90 + 3} in {PLACES[n * 7 % 12]} go?"


def write(path: Path, **values: object) -> Path:
    path.write_text(json.dumps(values))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model) -> RunRecord:
    folder = tmp_path_factory.mktemp("trained")
    rows = [
        {"prompt": f"Where does the {thing} of customer {(i * j + k) % 90 + 3} in {place} go?", "completion": place}
        for i, thing in enumerate(THINGS)
        for j, place in enumerate(PLACES)
        for k in (0, 40)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = write(
        folder / "config.yaml",
        name="walked",
        ingest={"sources": [{"name": "rows", "path": str(folder / "rows.jsonl")}]},
        dedup={"near": False},
        split={"test": 0.1, "validation": 0.05},
        skip=["judge", "screen", "leakcheck"],
        scrub={"demo_key": True},
        base={"model": str(tiny_model.path)},
        train={"max_steps": 60, "learning_rate": 0.02, "max_length": 256},
        gate={"metric": "loss", "min_n": 5, "max_degenerate": None},
        registry={"name": "walked-model"},
    )
    assert run(config, root=ROOT) == 0
    return find_run(ROOT, None)


@contextmanager
def serving(log: Path) -> Iterator[openai.OpenAI]:
    """`assay serve` as a process; ended by SIGTERM."""
    command = [sys.executable, "-m", "ops.main", "serve", "models:/walked-model/1", "--as", "shop", "--port", "0"]
    command += ["--max-tokens", "6", "--log", str(log)]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "ASSAY_ROOT": str(ROOT)}
    ) as process:
        said = []
        for line in process.stderr or ():
            said.append(line)
            if "serving " in line:
                break
        try:
            address = said[-1].split(" at ")[1].strip()
            yield openai.OpenAI(base_url=address, api_key="-", max_retries=0)
        finally:
            process.terminate()
            process.communicate()


def ask(client: openai.OpenAI, questions: Sequence[str]) -> list[str]:
    """All of them, eight at a time; ids of the answers."""

    def one(text: str) -> str:
        return client.chat.completions.create(model="shop", messages=[{"role": "user", "content": text}]).id

    with ThreadPoolExecutor(8) as clients:
        return list(clients.map(one, questions))


def monitored(config: Path, *overrides: str) -> tuple[RunRecord, Monitored]:
    assert run(config, root=ROOT, overrides=overrides) == 0
    record = find_run(ROOT, None)
    (decision,) = (artifacts_of(ROOT, record).value(a, Monitored) for a in record.of_type("monitored"))
    assert record.monitored == decision.outcome
    return record, decision


def test_the_model_that_is_served_becomes_a_folder_for_ollama(
    trained: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llama_cpp = converter()
    out = tmp_path / "gguf"
    command = [sys.executable, "-m", "ops.main", "export", "models:/walked-model/1", "--to", "gguf", "--out", str(out)]
    done = subprocess.run(
        [*command, "--llama-cpp", str(llama_cpp)], cwd=ROOT, env={**os.environ, "ASSAY_ROOT": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.glob("*.gguf")
    manifest = json.loads((out / "export.json").read_text())
    assert manifest["parity"] and file.name in manifest["files"]
    assert (out / "Modelfile").read_text().startswith(f"FROM ./{file.name}\n")


def test_from_a_served_model_to_a_verdict_and_to_the_next_dataset(
    trained: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, kept = tmp_path / "logs" / "serve.jsonl", tmp_path / "candidates"
    config = write(
        tmp_path / "monitor.yaml",
        name="walked-monitor",
        pipeline="monitor",
        dataset="models:/walked-model/1",
        logs={"paths": [str(tmp_path / "logs")], "window_requests": 120},
        scrub={"demo_key": True},
        monitor={"candidates": {"consents": ["given"], "folder": str(kept)}},
    )
    with serving(log) as client:
        ids = ask(client, [*map(question, range(118)), f"{question(118)} Write to {SECRET}.", question(119)])
        feedback = [
            {"feedback_on": ids[0], "feedback": "accepted", "correction": "Oslo", "consent": "given"},
            {"feedback_on": ids[1], "correction": "Porto", "consent": "given"},
            {"feedback_on": ids[2], "correction": "Leeds"},
            {"feedback_on": ids[118], "correction": f"Ask {SECRET}.", "consent": "given"},
        ]
        (tmp_path / "logs" / "feedback.jsonl").write_text("".join(json.dumps(f) + "\n" for f in feedback))
        first, steady = monitored(config)
        assert (steady.requests, steady.model) == (120, trained.registration.tags["weights_digest"])
        # A model of random weights answers nothing well; what it is asked is what it was trained for.
        assert [c.name for c in steady.alarms if c.kind == "drift"] == [] and steady.verdict == "degraded"
        assert any("in tokens" in note for note in steady.notes)
        assert mark_of(ROOT, "monitor:walked-monitor") == ABSENT

        log.rename(log.with_suffix(".jsonl.1"))
        ask(client, [FOREIGN + f" Tag {n}." if n % 2 else question(n) for n in range(120)])
    assert log.is_file()
    second, drifted = monitored(config)
    assert (drifted.verdict, drifted.retrain) == ("drifted", True)
    assert {"unknown languages", "topics"} <= {c.name for c in drifted.alarms}
    assert mark_of(ROOT, "monitor:walked-monitor") == second.run_id
    capsys.readouterr()
    again, _ = monitored(config)
    assert {"logs_step", "scrub_step", "monitor_step"} <= set(again.cached_steps)

    page = report_path(ROOT, second.name).read_text()
    assert "What production is like" in page and "Where the rows went" in page and "drifted" in page
    told = [page, capsys.readouterr().out]
    for record in (first, second):
        for artifact in record.artifacts:
            if artifact.name != "logged":
                files = [f for f in Path(artifact.uri).rglob("*") if f.is_file()]
                told += [str(pq.read_table(f).to_pylist()) if f.suffix == ".parquet" else f.read_text() for f in files]
    candidates = list(kept.iterdir())
    told += [f.read_text() for f in candidates]
    assert not [text for text in told if SECRET in text]
    assert len(candidates) == 1, "rows that are there aren't added again"

    lines = [json.loads(line) for line in log.with_suffix(".jsonl.1").read_text().splitlines()]
    source = {"name": "production", "path": str(kept), "consent": "given"}
    curate = write(
        tmp_path / "curate.yaml", name="walked-next", pipeline="curate", ingest={"sources": [source]},
        skip=["judge", "screen"], scrub={"demo_key": True}, split={"test": 0, "validation": 0},
    )  # fmt: skip
    assert run(curate, root=ROOT) == 0
    record = find_run(ROOT, None)
    store = artifacts_of(ROOT, record)
    ingested = next(store.report(a) for a in record.of_type("stage_report") if a.step == "ingest_step")
    rows = list(store.dataset(record.of_type("dataset")[0]).iter_rows())
    # An answer that says nothing is no side of a pair.
    said = sum(bool(line["response"]["choices"][0]["message"]["content"].strip()) for line in lines
               if line["id"] in (ids[0], ids[1], ids[118]))  # fmt: skip
    assert (ingested.rows_in, ingested.kept, len(rows)) == (3 + said,) * 3
    assert sorted(r["kind"] for r in rows) == ["conversation"] * 3 + ["preference"] * said
    assert {json.loads(r["meta"])["consent"] for r in rows} == {"given"}
    ledger = store.ledger(next(a for a in second.of_type("ledger") if a.step == "monitor_step")).read().to_pylist()
    made = {line["record_id"]: line["parents"] for line in ledger if line["verdict"] == "created"}
    assert {json.loads(r["meta"])["candidate"] for r in rows} == set(made) and all(made.values())
    assert record.sources[0].consent == "given"


def test_a_sample_of_the_answers_is_judged_where_there_is_a_judge(trained: RunRecord, tmp_path: Path) -> None:
    logged.write(tmp_path / "serve.jsonl", [logged.line(n, question(n), PLACES[n * 7 % 12]) for n in range(120)])

    def script(_number: int, body: dict[str, Any]) -> Act:
        text = body["messages"][1]["content"]
        assert SECRET not in text
        return completion(verdict(1 if "Oslo" in text or "Porto" in text else 5))

    with ScriptedServer(script) as server:
        endpoint = {"base_url": server.url, "model": "judge"}
        config = write(
            tmp_path / "monitor.yaml",
            name="walked-judged",
            pipeline="monitor",
            dataset="walked",
            logs={"paths": [str(tmp_path / "serve.jsonl")]},
            scrub={"demo_key": True},
            judge={"backend": "llm", "endpoint": endpoint},
            monitor={"judged_rows": 60, "limits": {"judged_low": 0.01}},
        )
        record, decision = monitored(config)
    assert {"monitor_sample_step", "judge_step"} <= set(record.executed_steps)
    (check,) = (c for c in decision.checks if c.name == "judged low")
    assert check.window.n == 60 and 0.05 < check.window.value < 0.35 and check.alarm
    assert decision.verdict == "degraded" and decision.model == "" and not decision.retrain
    with pytest.raises(InputNotFoundError, match="what production was asked is no dataset to train on"):
        trained_on(ROOT, "run:" + record.name, "walked")
    assert newest_completed(ROOT, "walked-judged") is None and find_dataset("walked", "walked").run == trained.run_id
    with pytest.raises(InputNotFoundError, match="no dataset 'walked-judged'"):
        find_dataset("walked-judged", "walked-judged")


def test_a_log_that_is_not_there_and_a_model_that_is_not_there_are_told_before_anything_runs(
    trained: RunRecord, tmp_path: Path
) -> None:
    values = {
        "name": "none",
        "pipeline": "monitor",
        "logs": {"paths": [str(tmp_path / "x")]},
        "scrub": {"demo_key": True},
    }
    config = write(tmp_path / "a.yaml", dataset="models:/walked-model/99", **values)
    command = [sys.executable, "-m", "ops.main", "run", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (2, 3) and "walked-model" in done.stderr and "Traceback" not in done.stderr
    config = write(tmp_path / "b.yaml", dataset="walked", **values)
    command = [sys.executable, "-m", "ops.main", "run", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 3 and "no log here" in done.stderr and "Traceback" not in done.stderr

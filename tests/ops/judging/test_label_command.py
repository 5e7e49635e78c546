"""`assay judge label`: rows of every outcome, blind, safe on a terminal, nothing lost."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import sample_run
from support.processes import command, killing_at
from support.stored_run import StoredRun
from support.terminal import ROOT
from support.textrows import chat, preference
from typer.testing import CliRunner

from ops.judging.labelling import gold_line, sides_of
from ops.judging.sampling import Wanted, sample_of_run
from ops.main import app
from ops.run_index import save_run
from steps.contracts.dataset import DatasetWriter
from steps.contracts.records import Row, make_row, message
from steps.judge.gold import read_gold

HOSTILE = "\x1b[2J\u202e\x1b]0;owned\x07"
OUTCOMES = ("kept", "kept", "kept", "kept", "dropped", "quarantined")
KEYS = "[q]uit"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return tmp_path


def judged_run(folder: Path, rows: list[Row], scrubbed: bool = True) -> StoredRun:
    """A run whose judge kept two rows in three."""
    run = StoredRun(ROOT, folder / "store", rows)
    writer = DatasetWriter(folder / "v1", "ingest")
    writer.write_rows(rows)
    version = writer.close()
    run.add_dataset("ingest_step", "ingested", version)
    if scrubbed:
        version = version.select(np.ones(len(rows), bool), folder / "v2", "scrub")
        run.add_dataset("scrub_step", "scrubbed", version)
    verdicts = [
        {"record_id": r["record_id"], "content_id": r["content_id"], "outcome": OUTCOMES[i % 6], "share": 0.123}
        for i, r in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(verdicts), run.add("judge_step", "verdicts", "file") / "verdicts.parquet")
    config = "name: quickstart\n"
    made = {"artifact_store": str(run.store), "artifacts": tuple(run.artifacts), "registration": None}
    run.record = sample_run.of_config(sample_run.record().model_copy(update=made), config)
    save_run(ROOT, run.record, config)
    return run


def chats(n: int) -> list[Row]:
    return [chat(f"Question {i}?", f"Answer {i}.", locator=str(i)) for i in range(n)]


def label(folder: Path, *arguments: str, keys: Sequence[str]) -> Any:
    typed = "\n".join(keys) + "\n"
    command = ["judge", "label", "--out", str(folder / "gold.jsonl"), *arguments]
    return CliRunner().invoke(app, command, input=typed)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "gold.jsonl").read_text().splitlines()]


def test_as_many_of_each_outcome_in_an_order_that_says_nothing(state: Path) -> None:
    run = judged_run(state, chats(120))
    equal = sample_of_run(ROOT, run.record.name, Wanted(30, 0))
    assert equal.strata == {"dropped": (20, 10), "kept": (80, 10), "quarantined": (20, 10)} and equal.scrubbed
    same = sample_of_run(ROOT, run.record.name, Wanted(30, 0))
    other = sample_of_run(ROOT, run.record.name, Wanted(30, 1))
    assert [r["record_id"] for r in equal.rows] == [r["record_id"] for r in same.rows]
    assert {r["record_id"] for r in equal.rows} != {r["record_id"] for r in other.rows}
    share = sample_of_run(ROOT, run.record.name, Wanted(30, 0, proportional=True))
    assert share.strata == {"dropped": (20, 5), "kept": (80, 20), "quarantined": (20, 5)}
    # What one outcome lacks the others give; all that is there is the most.
    assert len(sample_of_run(ROOT, run.record.name, Wanted(100, 0)).rows) == 100
    assert len(sample_of_run(ROOT, run.record.name, Wanted(500, 0)).rows) == 120


def test_labels_are_written_resumed_and_read_by_calibrate(state: Path) -> None:
    run = judged_run(state, chats(12))
    first = label(state, run.record.name, "--rows", "6", "--by", "Ada", keys="45kxbdsq")
    assert first.exit_code == 0, first.output
    assert "no such key" in first.output and "so far: keep" in first.output
    assert not any(word in first.output for word in ("0.123", "quarantined for", "outcome"))
    assert [line["label"] for line in lines(state)] == [4, 5, "keep", "drop"]
    # A line holds one key: of several the first one alone would be a label that nobody gave.
    several = label(state, run.record.name, "--rows", "6", "--by", "Ada", keys=["12", "drop", "q"])
    assert several.output.count("no such key") == 2 and len(lines(state)) == 4
    second = label(state, run.record.name, "--rows", "6", "--by", "Ada", keys="123")
    assert "3 were labelled before" in second.output and "1 of 3" in second.output
    gold = read_gold(state / "gold.jsonl", lambda ids: {})
    assert len(gold.rows) == 6 and gold.scrubbed and gold.annotators == ("Ada",)
    assert sorted(str(s.score or s.keep) for r in gold.rows for s in r.said.values()) == sorted(
        ["4.0", "5.0", "False", "1.0", "2.0", "3.0"]
    )
    other = label(state, run.record.name, "--rows", "6", "--by", "Ben", keys="q")
    assert "1 of 6" in other.output


def test_scores_by_criterion(state: Path) -> None:
    run = judged_run(state, chats(6))
    done = label(state, run.record.name, "--rows", "2", "--criteria", "accuracy, clarity", keys="4x2sb35bdq")
    assert done.exit_code == 0, done.output
    assert [(line["label"], line.get("labels")) for line in lines(state)] == [(4, {"accuracy": 2})]
    again = label(state, run.record.name, "--rows", "2", "--criteria", "accuracy", keys="d5")
    assert "1 were labelled before" in again.output and lines(state)[-1]["labels"] == {"accuracy": 5}


def test_pairs_are_dealt_and_blind(state: Path) -> None:
    rows = [preference(f"Prompt {i}?", f"Good {i}.", f"Poor {i}.", locator=str(i)) for i in range(40)]
    run = judged_run(state, rows + chats(20))
    sides = {sides_of(r, 0)[0] for r in rows}
    assert sides == {"chosen", "rejected"} and 8 < sum(sides_of(r, 0)[0] == "chosen" for r in rows) < 32
    done = label(state, run.record.name, "--pairs", "--rows", "3", keys="lrt")
    assert done.exit_code == 0, done.output
    assert "chosen" not in done.output and "rejected" not in done.output and "better answer" not in done.output
    by_id = {r["record_id"]: r for r in rows}
    first, second, third = lines(state)
    assert first["better"] == sides_of(by_id[first["record_id"]], 0)[0]
    assert second["better"] == sides_of(by_id[second["record_id"]], 0)[1] and third["better"] == "tie"


def test_rows_that_were_never_scrubbed_are_not_shown(state: Path) -> None:
    run = judged_run(state, chats(6), scrubbed=False)
    hidden = label(state, run.record.name, keys="5")
    assert hidden.exit_code == 3 and "--raw" in hidden.output + hidden.stderr
    shown = label(state, run.record.name, "--raw", "--rows", "1", keys="5")
    assert shown.exit_code == 0 and lines(state)[0]["scrubbed"] is False


def test_files_without_a_run(state: Path) -> None:
    path = state / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Q {i}?", "completion": f"A {i}."}) + "\n" for i in range(9)))
    done = label(state, "--from", str(path), "--rows", "4", keys="5432")
    assert done.exit_code == 0 and len(lines(state)) == 4, done.output
    both = label(state, "some-run", "--from", str(path), keys="5")
    assert both.exit_code == 2
    none = label(state, "--from", str(path), "--pairs", keys="l")
    assert none.exit_code == 3 and "none has two answers" in none.output + none.stderr


def test_a_line_holds_the_row_as_it_is_or_not_at_all() -> None:
    odd = make_row(
        kind="conversation", source="s", locator="1", raw=b"1", tools='[ {"a" :1}]',
        messages=[message("user", "多少\u2028钱"), message("assistant", "", tool_calls="[]", reasoning="hm", weight=0)],
    )  # fmt: skip
    for row in (odd, *chats(1), preference("p", "c", "r")):
        line = json.loads(json.dumps(gold_line(row, {"label": 3}, "Ada", scrubbed=True)))
        assert line["content_id"] == row["content_id"] and ("content" in line or row is odd)


@pytest.mark.slow
def test_hostile_text_and_keys_on_a_terminal(state: Path, terminal: Any) -> None:
    rows = [chat(f"{HOSTILE} [q]uit? {i}", HOSTILE * 3, locator=str(i)) for i in range(6)]
    run = judged_run(state, rows)
    person = terminal("judge", "label", run.record.name, "--rows", "3", "--out", str(state / "gold.jsonl"))
    shown = person.until("text  " + KEYS)
    assert "\x1b[2J" not in shown and "\x07" not in shown and "\u202e" not in shown
    person.press("\x1b[A")
    person.until("no such key")
    person.press("5")
    person.until("5: written")
    person.until("text  " + KEYS)
    person.press("k")
    person.until("keep: written")
    person.until("text  " + KEYS)
    os.kill(person.pid, signal.SIGKILL)
    assert [line["label"] for line in lines(state)] == [5, "keep"]


def sitting(run: str, out: Path, before: str = "") -> int:
    """A person who gives each row the score that it deserves, to the end or until `before` kills the process. Its exit
    status.
    """
    code = command("judge", "label", run, "--rows", "30", "--out", str(out), "--by", "Ada", before=before)
    person = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert person.stdin and person.stdout
    number = ""
    for line in person.stdout:
        number = next(iter(re.findall(r"Question (\d+)", line)), number)
        if KEYS in line:
            with contextlib.suppress(BrokenPipeError):
                person.stdin.write(f"{int(number) % 5 + 1}\n")
                person.stdin.flush()
    return person.wait()


@pytest.mark.slow
def test_a_sitting_that_is_killed_again_and_again_ends_with_the_same_labels_each_once(state: Path) -> None:
    run = judged_run(state, chats(60)).record.name
    whole, out, chance = state / "whole.jsonl", state / "gold.jsonl", random.Random(6)
    assert sitting(run, whole) == 0
    # Before a label is written, before its bytes are on disk, once they are, and while the next row is shown.
    places = ("ops.judging.labelling:append_line", "steps.contracts.durable_lines:_whole_bytes",
              "ops.judging.labelling:Labelling._word", "ops.judging.labelling:Labelling._show")  # fmt: skip
    for place in places * 2:
        assert sitting(run, out, killing_at(place, chance.randrange(1, 4))) == -signal.SIGKILL
    assert sitting(run, out) == 0
    told = [[{k: v for k, v in json.loads(line).items() if k != "when"} for line in file.read_text().splitlines()]
            for file in (whole, out)]  # fmt: skip
    assert told[0] == told[1] and len(told[0]) == 30


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_no_label(state: Path) -> None:
    run = judged_run(state, chats(300))
    out = state / "gold.jsonl"
    command = [sys.executable, "-m", "ops.main", "judge", "label", run.record.name, "--rows", "300", "--out", str(out)]
    told = 0
    for moment in range(6):
        person = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert person.stdin and person.stdout
        person.stdin.write("4\n" * (20 + moment * 5))
        person.stdin.flush()
        now = 0
        for line in person.stdout:
            now += "4: written" in line
            if now == 7 + moment * 3:
                person.kill()
                break
        person.wait()
        rest = person.stdout.read().count("4: written")
        told += now + rest
        gold = read_gold(out, lambda ids: {})
        assert told <= len(gold.rows) <= told + moment + 1
        with out.open("a") as file:
            file.write('{"record_id": "unfin')
    assert len(read_gold(out, lambda ids: {}).rows) >= told > 60

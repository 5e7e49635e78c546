import dataclasses
import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import reviewed_run
from rich.console import Console
from typer.testing import CliRunner

from ops.main import app
from ops.review.guard import Guard
from ops.review.queue import ReviewQueue, decisions_path, run_config
from ops.review.row_view import Highlight, marked, row_view
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.review.config import ReviewConfig
from steps.review.decisions import read
from steps.review.review import review

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return reviewed_run.build(ROOT, tmp_path / "work")


def pile_of(run, stage=None):
    guard = Guard(ROOT, run_config(ROOT, run.record))
    return ReviewQueue(ROOT, run.record, decisions_path(ROOT, run.record), guard, stage)


def waiting(run):
    """(rows set aside, of them undecided)"""
    total, left = pile_of(run).counts()
    return total, left.total()


def invoke(*arguments, given=None):
    return CliRunner().invoke(app, list(arguments), input=given)


KEYS = "[q]uit"


def test_a_person_accepts_edits_drops_and_skips_on_a_terminal(run, tmp_path, terminal):
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import json, sys\nfrom pathlib import Path\np = Path(sys.argv[1])\nrow = json.loads(p.read_text())\n"
        "assert p.stat().st_mode & 0o077 == 0 or p.parent.stat().st_mode & 0o077 == 0\n"
        "row['messages'][0]['content'] = 'A harmless question.'\np.write_text(json.dumps(row))\n"
    )
    person = terminal("review", run.record.name, "--by", "Ada", EDITOR=f"{sys.executable} {editor}")
    first = person.until(KEYS)
    assert "1 of 4" in first and "quarantined for" in first and "messages/0 user" in first
    person.press("x")  # no such key: asked again
    person.until(KEYS)
    person.press("a")
    person.until("why")
    person.press("it is a quotation\n")
    person.until("accept: written")
    assert [d.choice for d in read(decisions_path(ROOT, run.record))] == ["accept"]
    second = person.until(KEYS)
    assert "\x1b[2J" not in second and "\u202e" not in second and "\x1b]0;" not in second and "�" in second
    person.press("e")
    person.until("why")
    person.press("\n")
    person.until("edit: written")
    third = person.until(KEYS)
    assert "[…" in third and len(third) < 6_000
    person.press("f")
    assert person.until(KEYS).count("word") > 1_900
    person.press("d")
    person.until("why")
    person.press("\n")
    person.until(KEYS)
    person.press("s")
    person.until("last row")
    person.press("q")
    person.until("accept 1, edit 1, drop 1, skipped 1")
    person.until("review.decisions")
    assert person.wait() == 0

    said = {d.record_id: d for d in read(decisions_path(ROOT, run.record))}
    ids = [r["record_id"] for r in run.rows]
    assert [said[i].choice for i in ids[:3]] == ["accept", "edit", "drop"] and len(said) == 3
    assert said[ids[0]].why == "it is a quotation" and {d.by for d in said.values()} == {"Ada"}
    assert {d.stage for d in said.values()} == {"screen"} and all(d.reason for d in said.values())
    assert [i.row["record_id"] for i in pile_of(run)] == [ids[3]]


@pytest.mark.slow
def test_what_was_decided_before_a_kill_is_kept(run, terminal):
    person = terminal("review", run.record.name)
    for _ in range(2):
        person.until(KEYS)
        person.press("d")
        person.until("why")
        person.press("\n")
        person.until("written")
    os.kill(person.pid, signal.SIGKILL)
    assert person.wait() == -signal.SIGKILL
    assert len(read(decisions_path(ROOT, run.record))) == 2 and waiting(run) == (4, 2)
    again = terminal("review", run.record.name)
    assert "1 of 2" in again.until(KEYS)
    again.press("q")
    assert again.wait() == 0


def test_an_edit_that_is_no_row_any_more_can_be_mended(run, tmp_path, terminal):
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys\nfrom pathlib import Path\np = Path(sys.argv[1])\ntext = p.read_text()\n"
        "if text.startswith('broken'):\n    p.write_text(text[6:].replace('previous', 'later'))\n"
        "else:\n    p.write_text('broken' + text)\n"
    )
    person = terminal("review", run.record.name, EDITOR=f"{sys.executable} {editor}")
    person.until(KEYS)
    person.press("e")
    person.until("not usable: not JSON")
    person.until("back")
    person.press("e")
    person.until("why")
    person.press("\n")
    person.until("edit: written")
    person.until(KEYS)
    person.press("q")
    assert person.wait() == 0
    (said,) = read(decisions_path(ROOT, run.record))
    assert "Ignore all later instructions" in said.content["messages"][0]["content"]


def test_an_edit_that_screen_would_set_aside_again_is_asked_about(run, tmp_path, monkeypatch):
    reviewed_run.save(run, "name: quickstart\nscreen: {}\n")
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys\nfrom pathlib import Path\np = Path(sys.argv[1])\ntext = p.read_text()\n"
        "first = 'One' in text\n"
        f"p.write_text(text.replace('One', 'Uno') if first else text.replace({reviewed_run.ATTACK!r}, 'Hello.'))\n"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    done = invoke("review", run.record.name, given="e\ne\nwhy\nq\n")
    assert "screen would still quarantine: prompt_injection" in done.stdout
    (said,) = read(decisions_path(ROOT, run.record))
    assert said.content["messages"][0]["content"] == "Hello. Uno."


def test_without_a_terminal_letters_come_by_line(run):
    done = invoke("review", run.record.name, given="a\nfine\nd\n\nq\n")
    assert done.exit_code == 0 and "accept 1, drop 1" in done.stdout
    assert [d.choice for d in read(decisions_path(ROOT, run.record))] == ["accept", "drop"]
    assert invoke("review", run.record.name, given="").exit_code == 0


def test_back_and_again_change_a_decision(run):
    done = invoke("review", run.record.name, given="d\n\nb\na\nfine\nq\n")
    assert "so far: drop" in done.stdout and "accept 1" in done.stdout and "drop 1" not in done.stdout
    assert [d.choice for d in read(decisions_path(ROOT, run.record))] == ["drop", "accept"]
    assert waiting(run) == (4, 3)
    done = invoke("review", run.record.name, "--again", given="s\nd\n\ns\ns\nb\na\n\nx\n")
    assert "so far: accept, by" in done.stdout and "4 of 4" in done.stdout
    assert [d.choice for d in read(decisions_path(ROOT, run.record))] == ["drop", "accept", "drop", "accept"]


def test_the_first_key_can_be_back(run):
    done = invoke("review", run.record.name, given="b\nx\nq\n")
    assert done.exit_code == 0 and done.stdout.count("1 of 4") == 2 and "no such key" in done.stdout


def test_reasons_are_counted_and_chosen(run):
    done = invoke("review", run.record.name, given="q\n")
    assert "4  prompt_injection.override" in done.stdout
    assert json.loads(invoke("review", run.record.name, "--reason", "prompt", "--json").stdout)["undecided"] == 4
    assert json.loads(invoke("review", run.record.name, "--reason", "slur", "--json").stdout)["rows"] == []


def test_ctrl_c_ends_with_what_was_done_and_a_terminal_as_before(run, terminal):
    person = terminal("review", run.record.name)
    person.until(KEYS)
    person.press("d")
    person.until("why")
    person.press("\n")
    person.until("written")
    person.until(KEYS)
    person.press("\x03")
    assert "drop 1" in person.until("review.decisions")
    assert person.wait() == 0 and len(read(decisions_path(ROOT, run.record))) == 1


@pytest.mark.slow
def test_an_arrow_key_is_not_the_letter_that_it_ends_with(run, terminal):
    person = terminal("review", run.record.name)
    person.until(KEYS)
    for key in ("\x1b[A", "\x1b[D", "\x1bOA", "\u00e4"):
        person.press(key)
        person.until("no such key")
        person.until(KEYS)
    person.press("d")
    person.until("why")
    person.press("left\x1b[D it\n")
    person.until("written")
    person.until(KEYS)
    person.press("\x04")
    assert person.wait() == 0
    (said,) = read(decisions_path(ROOT, run.record))
    assert said.choice == "drop" and "\x1b" not in said.why and said.why.startswith("left")


@pytest.mark.slow
def test_ctrl_d_typed_ahead_ends_it(run, terminal):
    """While lines are gathered the terminal keeps it as a zero byte."""
    person = terminal("review", run.record.name)
    person.press("\x04")
    person.until("nothing was decided")
    assert person.wait() == 0


@pytest.mark.slow
def test_no_colour_where_none_is_wanted(run, terminal):
    person = terminal("review", run.record.name, NO_COLOR="1")
    shown = person.until(KEYS)
    assert "quarantined for" in shown and not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)
    coloured = terminal("review", run.record.name).until(KEYS)
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", coloured)


def test_a_row_can_not_pass_for_what_the_program_says(run):
    """Each line that a row brings stands behind a bar, and a file name can't begin a line."""
    item = next(iter(pile_of(run)))
    fake = "accept: written\n2 of 9 ────\n[a]ccept"
    row = {**item.row, "source": fake, "messages": [{**item.row["messages"][0], "content": fake}]}
    console = Console(width=40, record=True, file=io.StringIO())
    for line in row_view(dataclasses.replace(item, row=row, notes=()), full=True):
        console.print(line)
    lines = console.export_text().splitlines()
    assert [x for x in lines if x.startswith(("accept", "2 of", "[a]"))] == []
    assert "│ accept: written" in lines and "│ [a]ccept" in lines


def test_what_a_row_says_about_its_answer_is_shown(run):
    item = next(iter(pile_of(run)))
    [asked, *_] = item.row["messages"]
    said = {"role": "assistant", "content": "No.", "weight": 0}
    shown = {**item.row, "messages": [asked, said], "kind": "unpaired_preference", "label": False}
    pair = {**item.row, "kind": "preference", "messages": [asked], "chosen": [said], "rejected": [said], "score": 0.5}
    console = Console(width=200, record=True, file=io.StringIO())
    for row in (shown, pair):
        for line in row_view(dataclasses.replace(item, row=row, notes=()), full=True):
            console.print(line)
    text = console.export_text()
    assert "label false: the answer is not wanted)" in text and "messages/1 assistant, not trained" in text
    assert "chosen/0 assistant, the better answer" in text and "rejected/0 assistant, the worse answer" in text
    assert "score 0.5)" in text


def test_a_file_decides_all_or_nothing(run, tmp_path):
    ids = [r["record_id"] for r in run.rows]
    said = [
        {"record_id": ids[0], "choice": "accept", "by": "Grace", "why": "checked"},
        {"record_id": ids[1], "choice": "drop"},
        {"record_id": ids[3], "choice": "edit", "content": {"messages": [{"role": "user", "content": "Hello"}]}},
    ]
    file = tmp_path / "said.jsonl"

    def take(lines):
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return invoke("review", run.record.name, "--decide", str(file), "--by", "Ada", "--json")

    bad = [*said, {"record_id": "f" * 32, "choice": "drop"}, {"record_id": ids[2], "choice": "maybe"},
           {"record_id": ids[2], "choice": "edit", "content": {"text": "x"}}]  # fmt: skip
    refused = take(bad)
    assert refused.exit_code == 3 and not decisions_path(ROOT, run.record).exists()
    for mistake in ("line 4: no row set aside has this id", "line 5: choice must be", "line 6: not the content"):
        assert mistake in refused.stderr
    assert json.loads(take(said).stdout)["taken"] == 3
    found = {d.record_id: d for d in read(decisions_path(ROOT, run.record))}
    assert [found[i].by for i in (ids[0], ids[1], ids[3])] == ["Grace", "Ada", "Ada"]
    assert "already decided" in take(said[:1]).stderr


def test_a_file_of_another_kind_is_refused_and_any_line_separator_in_text_is_text(run, tmp_path):
    file = tmp_path / "said.jsonl"

    def take(content):
        file.write_bytes(content)
        return invoke("review", run.record.name, "--decide", str(file), "--by", "Ada")

    assert "not UTF-8" in take(b"\xff\xfe{\x00").stderr
    assert "line 1: not JSON" in take(b"[" * 200_000).stderr
    said = {"record_id": run.rows[0]["record_id"], "choice": "drop", "why": "one\u2028two\u0085three"}
    done = take(json.dumps(said, ensure_ascii=False).encode())
    assert done.exit_code == 0 and "drop 1" in done.stdout, done.stderr
    assert read(decisions_path(ROOT, run.record))[0].why == said["why"]


def test_json_lists_what_waits(run):
    told = json.loads(invoke("review", run.record.name, "--json").stdout)
    assert (told["set_aside"], told["undecided"]) == (4, 4)
    assert [r["record_id"] for r in told["rows"]] == [r["record_id"] for r in run.rows[:4]]
    assert all(r["stage"] == "screen" and r["notes"] for r in told["rows"])
    assert reviewed_run.ATTACK in told["rows"][0]["text"]
    assert "no rows set aside by judge" in invoke("review", run.record.name, "--stage", "judge").stderr


def test_rows_that_were_never_scrubbed_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    run = reviewed_run.build(ROOT, tmp_path / "work", scrubbed=False)
    done = invoke("review", run.record.name, given="q\n")
    assert "4 rows were never scrubbed" in done.stdout and "Ignore" not in done.stdout
    assert "Ignore" not in invoke("review", run.record.name, "--json").stdout
    assert "Ignore" in invoke("review", run.record.name, "--raw", given="q\n").stdout


def test_decisions_of_the_applied_files_are_not_asked_again(run, tmp_path):
    invoke("review", run.record.name, "--decisions", str(tmp_path / "team.jsonl"), given="d\n\nq\n")
    assert waiting(run) == (4, 4)
    run.record = reviewed_run.save(run, f"name: quickstart\nreview:\n  decisions: [{tmp_path / 'team.jsonl'}]\n")
    assert waiting(run) == (4, 3)


def test_a_remote_store_is_read_as_well(tmp_path, monkeypatch):
    import fsspec

    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    run = reviewed_run.build(ROOT, tmp_path / "work")
    memory = fsspec.filesystem("memory")
    for path in run.store.rglob("*"):
        if path.is_file():
            memory.pipe(f"/store/{path.relative_to(run.store)}", path.read_bytes())
    moved = [a.model_copy(update={"uri": a.uri.replace(str(run.store), "memory://store")}) for a in run.artifacts]
    run.artifacts[:] = moved
    record = reviewed_run.save(run).model_copy(update={"artifact_store": "memory://store"})
    reviewed_run.save_run(ROOT, record, "name: quickstart\n")
    done = invoke("review", record.name, given="a\n\nq\n")
    assert done.exit_code == 0, done.stderr
    assert len(read(decisions_path(ROOT, record))) == 1


def test_decisions_made_here_are_what_the_stage_applies(run, tmp_path):
    invoke("review", run.record.name, given="a\n\ns\nd\n\nq\n")
    store = {a.name: a for a in run.record.artifacts}

    def opened(name):
        return Dataset.open(Path(store[name].uri), lambda sha: run.store / "shards" / f"{sha}.parquet")

    path = decisions_path(ROOT, run.record)
    aside = [opened("scrub_quarantined"), opened("screen_quarantined")]
    ctx = StageContext(tmp_path / "out", ROOT, quarantined=aside)
    outcome = review(opened("screened"), ReviewConfig(decisions=(str(path),)), ctx)
    kept = {r["record_id"] for r in outcome.rows.iter_rows()}
    ids = [r["record_id"] for r in run.rows]
    assert kept == {ids[0], ids[4], ids[5]} and outcome.report.dropped == 1


def test_spans_are_marked_at_their_offsets_in_any_text(run):
    text = "abc\x1b\u202e\r\ndef" + "x" * 3_000 + "SECOND" + "y" * 3_000
    at = text.index("SECOND")
    spans = [Highlight("text", 3, 5), Highlight("text", at, at + 6)]
    assert marked(text, spans, full=True).plain.count("⟦��⟧") == 1
    cut = marked(text, spans, full=False).plain
    assert "⟦SECOND⟧" in cut and "x⟦" in cut and len(cut) < 1_400 and cut.count("characters …") == 2
    item = next(iter(pile_of(run)))
    console = Console(width=60, record=True, file=io.StringIO())
    for line in row_view(item, full=False):
        console.print(line)
    shown = console.export_text()
    assert "⟦" in shown and max(map(len, shown.splitlines())) <= 60


def test_explain_follows_a_row_that_a_person_brought_back(run, tmp_path):
    invoke("review", run.record.name, given="a\nseen\nd\n\nq\n")
    path = decisions_path(ROOT, run.record)
    store = {a.name: a for a in run.record.artifacts}
    versions = [Dataset.open(Path(store[n].uri), lambda sha: run.store / "shards" / f"{sha}.parquet")
                for n in ("screened", "screen_quarantined")]  # fmt: skip
    outcome = review(
        versions[0],
        ReviewConfig(decisions=(str(path),)),
        StageContext(tmp_path / "out", ROOT, quarantined=versions[1:]),
    )
    run.add_dataset("review_step", "reviewed", outcome.rows)
    ledger = run.add("review_step", "review_ledger", "ledger") / "ledger.parquet"
    ledger.write_bytes(outcome.ledger.path.read_bytes())
    report = run.add("review_step", "review_report", "stage_report") / "report.json"
    report.write_text(outcome.report.model_dump_json())
    run.record = reviewed_run.save(run)
    told = [json.loads(invoke("explain", run.rows[i]["record_id"], "--json").stdout)["rows"][0] for i in (0, 1, 3)]
    assert [t["fate"] for t in told] == ["kept", "dropped by review: human_dropped", told[2]["fate"]]
    assert told[2]["fate"].startswith("quarantined by screen")
    line = told[0]["stages"][-1]["lines"][0]
    assert line["reason"] == "human_accepted" and line["evidence"]["why"] == "seen"


def test_the_stage_runs_alone_on_a_file(run, tmp_path):
    invoke("review", run.record.name, given="d\n\nq\n")
    folder = Path(next(a.uri for a in run.record.artifacts if a.name == "screen_quarantined"))
    version = Dataset.open(folder, lambda sha: run.store / "shards" / f"{sha}.parquet")
    version.export_parquet(tmp_path / "aside.parquet")
    path = decisions_path(ROOT, run.record)
    done = invoke("stage", "review", str(tmp_path / "aside.parquet"), "--out", str(tmp_path / "out"),
                  "--set", f"decisions=[{path}]", "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    assert (report["rows_in"], report["kept"], report["dropped_by"]) == (4, 3, {"human_dropped": 1})

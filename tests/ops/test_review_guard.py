"""What a person lets through is searched for personal data and screened, before it is written anywhere."""

import ast
import json
import sys
from pathlib import Path

import pytest
import reviewed_run
from typer.testing import CliRunner

from ops.main import app
from ops.review.guard import Guard
from ops.review.queue import decisions_path
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.records import make_row, message
from steps.review.config import ReviewConfig
from steps.review.decisions import read
from steps.review.review import review

ROOT = Path(__file__).resolve().parents[2]
MAIL = "grete.hansen@posteo.de"
# The scrub settings of a run as its resolved config has them; the key is the published one.
SCRUB = {"demo_key": True}


def config_of(scrub=SCRUB, screen=None):
    return f"name: quickstart\nscrub: {json.dumps(scrub)}\nscreen: {json.dumps(screen or {})}\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    run = reviewed_run.build(ROOT, tmp_path / "work")
    reviewed_run.save(run, config_of())
    return run


def invoke(*arguments, given=None):
    return CliRunner().invoke(app, list(arguments), input=given)


def decide(run, tmp_path, *said, config=None):
    if config is not None:
        reviewed_run.save(run, config)
    file = tmp_path / "said.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in said))
    return invoke("review", run.record.name, "--decide", str(file), "--by", "Ada", "--raw", "--json")


def edit(run, text, **more):
    content = {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Answer 0."}]}
    return {"record_id": run.rows[0]["record_id"], "choice": "edit", "content": content, **more}


def decisions(run):
    return read(decisions_path(ROOT, run.record))


def applied(run, tmp_path, search):
    """What the stage makes of the decisions in a run that searches so: its outcome, and its rows by id."""
    stored = {a.name: Path(a.uri) for a in run.record.artifacts}
    version, aside = (
        Dataset.open(stored[name], lambda sha: run.store / "shards" / f"{sha}.parquet")
        for name in ("screened", "screen_quarantined")
    )
    config = ReviewConfig(decisions=(str(decisions_path(ROOT, run.record)),))
    outcome = review(
        version, config, StageContext(tmp_path / f"out{search[:8]}", ROOT, quarantined=[aside], search=search)
    )
    return outcome, {r["record_id"]: r for r in outcome.rows.iter_rows()}


def search_of(scrub):
    return Guard(ROOT, {"scrub": scrub}).search


def test_personal_data_in_an_edit_is_replaced_before_it_is_written(run, tmp_path):
    done = decide(run, tmp_path, edit(run, f"Please write to {MAIL} today.", why=f"{MAIL} asked for it"))
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["replaced"] == {"EMAIL_ADDRESS": 1}
    assert MAIL not in decisions_path(ROOT, run.record).read_text()
    (said,) = decisions(run)
    assert said.content["messages"][0]["content"].startswith("Please write to <EMAIL_ADDRESS_")
    assert said.why.startswith("<EMAIL_ADDRESS_") and said.why.endswith("> asked for it")

    outcome, after = applied(run, tmp_path, search_of(SCRUB))
    assert after[said.record_id]["messages"][0]["content"] == said.content["messages"][0]["content"]
    (line,) = outcome.ledger.read().to_pylist()
    evidence = json.loads(line["evidence"])
    assert line["reason"] == "human_edited" and evidence["replaced"] == {"EMAIL_ADDRESS": 1}
    start, end = 16, 16 + len(MAIL)
    ((path, *place, entity, name),) = evidence["spans"]
    assert (path, place, entity) == ("messages/0/content", [start, end], "EMAIL_ADDRESS")
    assert name in said.content["messages"][0]["content"]
    assert outcome.report.counts["personal data replaced in edits"] == {"EMAIL_ADDRESS": 1}


def test_a_person_sees_what_was_replaced_and_decides_again(run, tmp_path, monkeypatch):
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys\nfrom pathlib import Path\np = Path(sys.argv[1])\ntext = p.read_text()\n"
        f"p.write_text(text.replace({reviewed_run.ATTACK!r}, 'Mail {MAIL}'))\n"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    done = invoke("review", run.record.name, given=f"e\ny\ncall {MAIL}\nq\n")
    assert "personal data is replaced, as scrub does: EMAIL_ADDRESS 1" in done.stdout
    assert "│ Mail <EMAIL_ADDRESS_" in done.stdout
    assert "personal data is replaced: call <EMAIL_ADDRESS_" in done.stdout
    (said,) = decisions(run)
    assert said.choice == "edit" and MAIL not in decisions_path(ROOT, run.record).read_text()


def test_content_that_was_searched_in_another_way_is_not_applied_and_asked_about_again(run, tmp_path):
    assert decide(run, tmp_path, edit(run, f"Hello {MAIL}.")).exit_code == 0
    (said,) = decisions(run)
    other = {**SCRUB, "patterns": {"STAFF_ID": "P-[0-9]{4}"}}
    outcome, after = applied(run, tmp_path, search_of(other))
    assert said.record_id not in after and outcome.ledger.rows == 0
    assert outcome.report.counts["decisions"] == {"not searched": 1}
    assert "assay review asks about these rows again" in outcome.report.notes[0]
    told = json.loads(invoke("review", run.record.name, "--json").stdout)
    assert told["undecided"] == 3
    reviewed_run.save(run, config_of(other))
    told = json.loads(invoke("review", run.record.name, "--json").stdout)
    assert told["undecided"] == 4
    assert decide(run, tmp_path, edit(run, "Hello P-1234.")).exit_code == 0
    outcome, after = applied(run, tmp_path, search_of(other))
    assert after[said.record_id]["messages"][0]["content"].startswith("Hello <STAFF_ID_")


def test_decisions_that_let_nothing_new_through_hold_under_any_search(run, tmp_path):
    ids = [r["record_id"] for r in run.rows]
    said = [{"record_id": ids[0], "choice": "accept"}, {"record_id": ids[1], "choice": "drop"}]
    assert decide(run, tmp_path, *said).exit_code == 0
    outcome, after = applied(run, tmp_path, search_of({**SCRUB, "mode": "redact"}))
    assert ids[0] in after and outcome.report.counts["decisions"] == {"human_accepted": 1, "human_dropped": 1}


def test_an_edit_that_screen_would_take_out_needs_a_word(run, tmp_path):
    refused = decide(run, tmp_path, edit(run, reviewed_run.ATTACK))
    assert refused.exit_code == 3 and "screen would still quarantine: prompt_injection" in refused.stderr
    assert not decisions_path(ROOT, run.record).exists()
    assert decide(run, tmp_path, edit(run, reviewed_run.ATTACK, anyway=True)).exit_code == 0
    outcome, _ = applied(run, tmp_path, search_of(SCRUB))
    evidence = json.loads(outcome.ledger.read().to_pylist()[0]["evidence"])
    assert evidence["screen"].startswith("quarantine: prompt_injection")
    rule, path, start, end, *_ = evidence["hits"][0]
    assert rule.startswith("prompt_injection") and path == "messages/0/content"
    assert reviewed_run.ATTACK[start:end].startswith("Ignore")


def test_an_accepted_row_that_scrub_never_saw_is_searched_first(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    run = reviewed_run.build(ROOT, tmp_path / "work", scrubbed=False, more=f" Write to {MAIL}.")
    said = {"record_id": run.rows[0]["record_id"], "choice": "accept"}
    assert decide(run, tmp_path, said, config=config_of()).exit_code == 0
    (decision,) = decisions(run)
    assert decision.choice == "edit" and MAIL not in decisions_path(ROOT, run.record).read_text()
    _, after = applied(run, tmp_path, search_of(SCRUB))
    text = after[run.rows[0]["record_id"]]["messages"][0]["content"]
    assert text.startswith(reviewed_run.ATTACK) and "Write to <EMAIL_ADDRESS_" in text


def test_without_the_key_rows_are_dropped_and_accepted_but_not_edited(run, tmp_path, monkeypatch):
    monkeypatch.delenv("ASSAY_PII_KEY", raising=False)
    reviewed_run.save(run, config_of({}))
    assert "ASSAY_PII_KEY is not set" in decide(run, tmp_path, edit(run, "Hello.")).stderr
    monkeypatch.setenv("EDITOR", "true")
    done = invoke("review", run.record.name, given="d\ne\na\nq\n")
    assert done.exit_code == 0 and "ASSAY_PII_KEY is not set" in done.stdout and "why" not in done.stdout
    assert [d.choice for d in decisions(run)] == ["drop", "accept"]


class TestGuard:
    def rows(self, text, answer="Fine."):
        return make_row(kind="conversation", source="s", locator="l", raw=text.encode(), meta={"author": "x"},
                        messages=[message("user", text), message("assistant", answer)])  # fmt: skip

    def test_what_scrub_made_up_stays_and_what_a_person_typed_goes(self):
        guard = Guard(ROOT, {"scrub": {**SCRUB, "mode": "surrogate"}})
        seen = guard.look(self.rows(f"Write to {MAIL}.")).row
        made_up = seen["messages"][0]["content"].removeprefix("Write to ").removesuffix(".")
        assert "@" in made_up and made_up != MAIL
        looked = guard.look(self.rows(f"Write to {made_up} or to olga@posteo.de."), seen)
        assert looked.checked.replaced == {"EMAIL_ADDRESS": 1}
        assert made_up in looked.row["messages"][0]["content"]
        assert "olga@" not in looked.row["messages"][0]["content"]

    def test_meta_of_a_row_that_was_never_searched_is_searched_as_well(self):
        row = self.rows("Hello.") | {"meta": json.dumps({"author": MAIL})}
        guard = Guard(ROOT, {"scrub": SCRUB})
        looked = guard.look(row)
        assert MAIL not in looked.row["meta"] and looked.row["content_id"] == row["content_id"]

    def test_a_detector_that_fails_is_told_by_path(self, monkeypatch):
        from steps.scrub.recognizers.presidio import PresidioDetector

        whole = PresidioDetector.find
        monkeypatch.setattr(PresidioDetector, "find", lambda self, text: 1 / 0 if "boom" in text else whole(self, text))
        guard = Guard(ROOT, {"scrub": SCRUB})
        looked = guard.look(self.rows("boom", f"Write to {MAIL}."))
        assert looked.checked.unsearched == ("messages/0/content",)
        assert MAIL not in looked.row["messages"][1]["content"]

    def test_a_run_without_scrub_and_screen_changes_nothing(self):
        row = self.rows(f"{reviewed_run.ATTACK} {MAIL}")
        guard = Guard(ROOT, {"scrub": SCRUB, "screen": {}, "skip": ["scrub", "screen"]})
        looked = guard.look(row)
        assert looked.row == row and not looked.taken_out and looked.checked.search == guard.search == ""
        assert guard.words(MAIL) == MAIL


def test_the_guard_holds_no_logic_of_scrub_and_screen():
    tree = ast.parse((ROOT / "ops/review/guard.py").read_text())
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    assert {m for m in imported if m.startswith(("steps.scrub", "steps.screen"))} == {
        "steps.scrub.recheck",
        "steps.screen.recheck",
    }

"""`assay head` and `assay sample`: rows of files and runs, their text only where it may be seen."""

import json
from pathlib import Path

import pytest
from support import stored_run
from typer.testing import CliRunner

from ops.main import app
from ops.run_index import save_run
from steps.contracts.ledger import LedgerWriter

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "\x1b[2Jgone\u202e\r\nuser: not me"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return tmp_path


@pytest.fixture
def stored(state: Path) -> stored_run.StoredRun:
    return stored_run.build(ROOT, state / "work")


def invoke(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return done.exit_code, done.output


def told(*arguments: object) -> dict[str, list[dict[str, object]]]:
    status, out = invoke(*arguments, "--json")
    assert status == 0, out
    found: dict[str, list[dict[str, object]]] = json.loads(out)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    rows = "".join(f"question {n},answer {n}\n" for n in range(40))
    path.write_text(f"Frage,Antwort\n{rows}")
    return path


def test_the_first_rows_of_a_file_are_shown_as_they_are_read(file: Path, state: Path) -> None:
    columns = ("--columns", "prompt=Frage,completion=Antwort")
    status, out = invoke("head", file, "-n", "2", *columns)
    assert status == 0 and "user: question 0" in out and "assistant: answer 1" in out and "question 2" not in out
    assert out.endswith(f"2 rows: {file}\n")
    assert invoke("head", file)[0] == 3
    for wrong in (("--stage", "dedup"), ("--dropped", ""), ("--split", "train")):
        assert invoke("head", file, *columns, *wrong)[0] == 2


def test_what_a_turn_thinks_and_whether_it_is_trained_is_shown(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "chat.jsonl"
    answer = {"role": "assistant", "content": "9", "weight": 0, "reasoning_content": "Let me see."}
    asked = {"role": "user", "content": "Which platform?"}
    file.write_text(json.dumps({"messages": [asked, answer, asked, {"role": "assistant", "content": "4"}]}) + "\n")
    status, out = invoke("head", file)
    assert status == 0 and "  assistant, not trained: (thinks: Let me see.)\n    9\n" in out
    assert "  assistant: 4\n" in out


def test_a_sample_is_the_same_each_time_and_another_by_another_seed(file: Path, state: Path) -> None:
    columns = ("--columns", "prompt=Frage,completion=Antwort")
    draws = [
        [row["record_id"] for row in told("sample", file, "-n", "4", "--seed", seed, *columns)["rows"]]
        for seed in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2] and len(set(draws[0])) == 4
    assert told("sample", file, *columns)["of"] == 40


def test_text_from_data_moves_no_cursor(state: Path) -> None:
    path = state / "h.jsonl"
    path.write_text(json.dumps({"prompt": HOSTILE, "completion": "x" * 2000}) + "\n")
    out = invoke("head", path)[1]
    assert "\x1b" not in out and "\u202e" not in out and "\nuser: not me" not in out
    assert "(2,000 characters; --whole shows all)" in out and "x" * 2000 in invoke("head", path, "--whole")[1]


def test_rows_of_a_run_show_their_text_only_from_a_scrubbed_version(stored: stored_run.StoredRun) -> None:
    last = told("head", "latest")
    assert [row["row"] is not None for row in last["rows"]] == [True] * 3
    assert stored_run.SECRET not in json.dumps(last) and stored_run.PSEUDONYM in json.dumps(last)
    before = told("head", "latest", "--stage", "dedup")
    assert [row["row"] for row in before["rows"]] == [None] * 4
    assert stored_run.SECRET in json.dumps(told("head", "latest", "--stage", "dedup", "--raw"))
    status, out = invoke("head", "latest", "--stage", "dedup")
    assert status == 0 and "never scrubbed; --raw shows it" in out
    status, out = invoke("head", "latest", "--stage", "split")
    assert status == 3 and "one of ingest, dedup, scrub, screen" in out


def test_rows_that_were_taken_out(stored: stored_run.StoredRun) -> None:
    (row,) = told("head", "latest", "--dropped", "near")["rows"]
    assert (row["record_id"], row["row"]) == (stored.rows[1]["record_id"], None)
    assert row["why"] == "dropped by dedup: near_duplicate"
    (row,) = told("head", "latest", "--dropped", "near", "--raw")["rows"]
    assert stored_run.SECRET in json.dumps(row["row"])
    (row,) = told("head", "latest", "--dropped", "prompt_injection", "--stage", "screen")["rows"]
    assert row["row"] is not None
    status, out = invoke("head", "latest", "--dropped", "nothing")
    assert status == 3 and "reasons there are: near_duplicate, prompt_injection" in out
    assert "no run 'no-such-run'" in invoke("head", "no-such-run")[1]
    assert "no such file" in invoke("head", "no-such.csv")[1]


def test_a_row_that_went_as_it_was_made_has_no_text_and_says_so(stored: stored_run.StoredRun) -> None:
    with LedgerWriter(stored.add("synthesize_step", "synthesize_ledger", "ledger") / "l.parquet", "synthesize") as made:
        made.add("f" * 32, "dropped", "unsupported_claim", evidence={})
    ledger = stored.artifacts[-1]
    (Path(ledger.uri) / "l.parquet").rename(Path(ledger.uri) / "ledger.parquet")
    record = stored.record.model_copy(update={"artifacts": (*stored.record.artifacts, stored_run.with_digest(ledger))})
    save_run(ROOT, record, stored_run.CONFIG)
    for raw in ([], ["--raw"]):
        status, out = invoke("sample", "latest", "--dropped", "unsupported", *raw)
        assert status == 0 and "no version of the run has its text" in out and "never scrubbed" not in out
    assert "never scrubbed; --raw shows it" in invoke("sample", "latest", "--dropped", "near")[1]


def test_rows_that_cannot_be_read_are_counted_and_where_none_can_it_says_why(tmp_path: Path, state: Path) -> None:
    fine, bad = json.dumps({"prompt": "p", "completion": "c"}), json.dumps({"prompt": "", "completion": "c"})
    some = tmp_path / "some\nrows.jsonl"
    some.write_text(f"{bad}\n{fine}\nno json\n")
    status, out = invoke("head", some)
    assert status == 0 and told("head", some)["rejected"] == {"broken_json": 1, "empty_text": 1}
    assert f"\n1 row: {tmp_path}/some rows.jsonl\nnot shown, since they can't be read: broken_json 1, empty" in out

    german = tmp_path / "german.csv"
    german.write_bytes("prompt,completion\nGröße?,groß\nHöhe?,hoch\n".encode("cp1252"))
    status, out = invoke("head", german)
    assert status == 3 and f"{german}: none of the first 2 rows can be read: encoding 2\n" in out
    assert "--encoding cp1252" in out and "user: Größe?" in invoke("head", german, "--encoding", "cp1252")[1]

    (empty := tmp_path / "empty.jsonl").touch()
    assert invoke("head", empty) == (3, f"error: {empty}: no rows: it is empty\n")

"""`assay data-report` on files whose figures are known by construction."""

import json
from pathlib import Path

import pytest
from support.tiny_model import tiny_tokenizer
from typer.testing import CliRunner

from ops.main import app
from steps.contracts.data_report import DataReport
from steps.contracts.dataset import DatasetWriter


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def chat(asked: str, answered: str) -> dict[str, object]:
    return {"prompt": asked, "completion": answered}


THINGS = (
    "apples", "bridges", "candles", "deserts", "engines", "forests", "glaciers", "harbours", "islands", "jackets",
    "kettles", "ladders", "mirrors", "needles", "oceans", "pillows", "quarries", "rivers", "statues", "tunnels",
)  # fmt: skip
ASKED = (
    "Could you explain to my daughter where {} come from?", "Write two lines about old {} for a newspaper.",
    "Which country is known for its {}, and why?",
)  # fmt: skip
ANSWERED = (
    "Most {0} that we see today go back to craftsmen of the north, who made {0} by hand.",
    "Whoever has seen {0} at dawn remembers them. Nobody paints {0} twice.",
    "Portugal is, since its {0} were described by travellers four hundred years ago.",
)  # fmt: skip
GOOD = [chat(a.format(t), b.format(t)) for t in THINGS for a, b in zip(ASKED, ANSWERED, strict=True)]

GERMAN = [
    chat(f"Rufe {t} auf, bitte, und zwar sofort!", f"Gut, {t} sind jetzt da und warten auf den nächsten Schritt.")
    for t in THINGS
]


def look(tmp_path: Path, *arguments: object) -> DataReport:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["data-report", *map(str, arguments), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    report = DataReport.model_validate_json((out / "data_report.json").read_bytes())
    assert json.loads(done.stdout)["report"] == json.loads(report.model_dump_json())
    assert (out / "data_report.html").read_text().startswith("<!DOCTYPE html>")
    return report


def counts(report: DataReport, chapter: str, name: str) -> list[tuple[int, int]]:
    return [(round(v.value * v.n), v.n) for v in report.figure(chapter, name).values]


def test_a_file_is_told_by_what_was_put_into_it(tmp_path: Path) -> None:
    rows = [
        *GOOD,
        GOOD[0], GOOD[0],
        chat(ASKED[0].format("apples"), "They don't: apples are made in a factory near the harbour, out of sugar."),
        chat("Who wrote to us about the invoice?", "It was anna.schmidt@example.com who wrote about the invoice."),
    ]  # fmt: skip
    data = write(tmp_path / "data.jsonl", rows)
    with data.open("a") as file:
        file.write('{"prompt": "cut\n')
    report = look(tmp_path, data)
    assert (report.sets, report.rows, report.looked_at) == (("data",), (64,), (64,))
    assert counts(report, "format", "rows that can't be read") == [(1, 65)]
    assert counts(report, "duplicates", "exact copies of another row") == [(2, 64)]
    assert counts(report, "label noise", "equal prompt, different answer") == [(4, 64)]
    assert counts(report, "personal data", "rows with personal data") == [(1, 64)]
    assert counts(report, "languages", "en") == [(64, 64)]
    assert report.tables["personal data"][0].rows == (("EMAIL_ADDRESS", 1),)
    assert "anna.schmidt" not in report.model_dump_json()
    assert [(g.goal, g.rows, g.verdicts) for g in report.goals] == [
        ("style", (62,), ("few",)),
        ("structured", (62,), ("few",)),
        ("domain", (62,), ("few",)),
        ("facts", (62,), ("retrieval",)),
    ]


def test_why_rows_cannot_be_read_and_which_files_were_not_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder / "rows.jsonl", GOOD)
    with (folder / "rows.jsonl").open("a") as file:
        file.write('{"prompt": "cut\n')
    (folder / "notes.xyz").write_text("what is this")
    done = CliRunner().invoke(app, ["data-report", str(folder), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "broken_json" in done.stdout
    note = "source mine: 1 file not read (of an unknown type): notes.xyz"
    assert f"note: {note}\n" in done.stdout
    assert note in (tmp_path / "out" / "data_report.html").read_text()


def test_two_sets_differ_by_what_was_put_into_them(tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", GOOD)
    second = write(tmp_path / "second.jsonl", [*GOOD[:30], *GERMAN])
    report = look(tmp_path, first, "--against", second)
    assert (report.sets, report.rows) == (("first", "second"), (60, 50))
    assert counts(report, "duplicates", "exact copies of another row") == [(0, 60), (0, 50)]
    assert counts(report, "duplicates", "also in the other data set") == [(30, 60), (30, 50)]
    german = report.figure("languages", "de")
    assert counts(report, "languages", "de") == [(0, 60), (20, 50)]
    assert german.difference is not None
    assert german.difference.value == pytest.approx(0.4)
    # Newcombe, method 10, of 0 of 60 and 20 of 50: Wilson's intervals are [0, 0.0602] and [0.2761, 0.5382].
    assert (round(german.difference.low, 3), round(german.difference.high, 3)) == (0.262, 0.538)


def test_nothing_to_report_on_is_reported(tmp_path: Path) -> None:
    version = DatasetWriter(tmp_path / "version", "none").close()
    report = look(tmp_path, version.folder)
    assert (report.rows, report.topics) == ((0,), ())
    assert {g.verdicts for g in report.goals} == {("few",), ("retrieval",)}
    one = look(tmp_path, write(tmp_path / "one.jsonl", GOOD[:1]))
    assert one.rows == (1,)
    assert one.topics == ()


def test_what_else_lies_in_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data_report.json").write_text("{}")
    data = write(tmp_path / "data.jsonl", GOOD[:1])
    done = CliRunner().invoke(app, ["data-report", str(data), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "is no earlier report" in done.output
    assert (tmp_path / "out" / "data_report.json").read_text() == "{}"


def test_lengths_are_those_of_the_row_under_the_chat_template(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(str(tmp_path / "model"))
    rows = [*GOOD[:9], {"prompt": "A or B?", "chosen": "A.", "rejected": " ".join(["no"] * 40)}]
    data = write(tmp_path / "data.jsonl", rows)
    settings = [
        f"data_report.tokenizer={tmp_path / 'model'}",
        "data_report.max_length=90",
        "skip=[dedup,scrub,screen,judge]",
    ]
    report = look(tmp_path, data, *(a for s in settings for a in ("--set", s)))
    said = [[("user", r["prompt"]), ("assistant", r.get("completion", r.get("rejected")))] for r in rows]
    lengths = sorted(
        len(tokenizer.apply_chat_template([{"role": a, "content": b} for a, b in row], tokenize=True)["input_ids"])
        for row in said
    )
    assert report.tokens == "tokens"
    assert report.figure("lengths", "mean").values[0].value == pytest.approx(sum(lengths) / 10)
    assert report.figure("lengths", "median").values[0].value == lengths[4]
    assert counts(report, "lengths", "longer than max_length (90)") == [(sum(n > 90 for n in lengths), 10)]
    missing = ["data-report", str(data), "--out", str(tmp_path / "no"), "--set", "data_report.tokenizer=./nowhere"]
    done = CliRunner().invoke(app, missing)
    assert (done.exit_code, "no loadable tokenizer" in done.output) == (3, True)
    assert not (tmp_path / "no" / "data_report.json").exists()

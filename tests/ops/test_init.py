"""`assay init`: a config that is valid for files of every shape, and says what it took for granted."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ops.main import app

ROOT = Path(__file__).resolve().parents[2]
GERMAN = "Wo ist meine Bestellung, und wann kommt sie bei mir zu Hause an, Nummer"
ENGLISH = "Where is my order, and when will it arrive at my door, number"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    monkeypatch.delenv("ASSAY_PII_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, rows: list[Any]) -> str:
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(r) + "\n" for r in rows)
    path.write_text(text)
    return path.name


def init(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["init", *arguments])
    return done.exit_code, done.output


def made(file: str) -> dict[str, Any]:
    """The config, which is valid as it stands."""
    done = CliRunner().invoke(app, ["validate", file])
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = yaml.safe_load(Path(file).read_text())
    return values


SHAPES: dict[str, tuple[list[Any], str]] = {
    "openai.jsonl": ([{"messages": [{"role": "user", "content": ENGLISH}, {"role": "assistant", "content": "Soon."}]}],
                     "end_to_end"),
    "sharegpt.json": ([{"conversations": [{"from": "human", "value": ENGLISH}, {"from": "gpt", "value": "Soon."}]}],
                      "end_to_end"),
    "alpaca.json": ([{"instruction": ENGLISH, "input": "", "output": "Soon."}], "end_to_end"),
    "pairs.jsonl": ([{"prompt": ENGLISH, "chosen": "Soon.", "rejected": "No."}], "end_to_end"),
    "labelled.jsonl": ([{"prompt": ENGLISH, "completion": "Soon.", "label": True}], "end_to_end"),
    "pages.jsonl": ([{"text": ENGLISH}], "curate"),
    "odd.jsonl": ([{"id": 7, "frage 1": ENGLISH, "die antwort": ENGLISH * 2}], "end_to_end"),
    "one_column.jsonl": ([{"stuff": ENGLISH, "n": "12"}], "curate"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_files_of_every_shape_get_a_valid_config(here: Path, name: str) -> None:
    rows, pipeline = SHAPES[name]
    status, out = init(write(here / name, rows * 3))
    assert status == 0, out
    file = f"{Path(name).stem}.yaml"
    values = made(file)
    assert values["pipeline"] == pipeline and f"{file}: written, and valid" in out
    assert ("registry" in values) == (pipeline == "end_to_end")
    if name == "odd.jsonl":
        columns = {"prompt": "frage 1", "completion": "die antwort"}
        assert values["ingest"]["sources"][0]["columns"] == columns and "'die antwort' is the completion" in out


def test_what_was_assumed_is_said_in_the_file_and_on_the_terminal(here: Path) -> None:
    rows = "".join(f"{n};{GERMAN} {n}?;Sie kommt über die Brücke zu dir, Nummer {n}.\n" for n in range(30))
    (here / "hilfe.csv").write_text("Nr;Frage;Antwort\n" + rows, encoding="cp1252")
    write(here / "pairs.jsonl", [{"prompt": f"{ENGLISH} {n}", "chosen": "a", "rejected": "b"} for n in range(9)])
    status, out = init("hilfe.csv", "pairs.jsonl", "--name", "support")
    assert status == 0
    values, text = made("support.yaml"), (here / "support.yaml").read_text()
    assert values["ingest"]["sources"][0] == {
        "name": "hilfe", "path": str(here / "hilfe.csv"), "encoding": "cp1252",
        "columns": {"prompt": "Frage", "completion": "Antwort"},
    }  # fmt: skip
    assert values["scrub"] == {"demo_key": True, "locales": ["en_US", "de"]}
    assert values["train"]["objective"] == {"kind": "sft", "preference_as": "chosen"}
    for said in ("encoding cp1252", "'Frage' is the prompt"):
        assert said in out and said in text
    assert "languages: de 30" in out and "published demo key" in out and "toy model" in out


def test_few_rows_get_larger_held_out_shares(here: Path) -> None:
    for count, test in ((400, 0.2), (4_000, 0.05)):
        rows = [{"prompt": f"{ENGLISH} {n}", "completion": f"{ENGLISH} {n}"} for n in range(count)]
        assert init(write(here / f"r{count}.jsonl", rows))[0] == 0
        assert made(f"r{count}.yaml")["split"]["test"] == test


def test_a_base_and_a_key_are_used(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PII_KEY", "k" * 40)
    status, _ = init(write(here / "a.jsonl", SHAPES["alpaca.json"][0]), "--base", "owner/model", "--out", "b.yaml")
    values = made("b.yaml")
    assert (
        status == 0 and values["base"] == {"model": "owner/model"} and values["scrub"] == {"key_env": "ASSAY_PII_KEY"}
    )
    assert "max_steps" not in values["train"]


def test_documents_and_a_base_go_on_with_its_pre_training(here: Path) -> None:
    status, out = init(
        write(here / "pages.jsonl", [{"text": f"{ENGLISH} {n}"} for n in range(30)]), "--base", "owner/base"
    )
    values = made("pages.yaml")
    assert status == 0, out
    assert (values["pipeline"], values["train"]["objective"]) == ("end_to_end", {"kind": "continued_pretraining"})
    assert (values["evaluate"]["metrics"], values["gate"]) == (["loss"], {"metric": "loss"})


def test_names_from_outside_are_no_yaml(here: Path) -> None:
    """Columns and file names stand in comments and values: they end no line, and open nothing."""
    hostile = "x\nname: evil\n# {["
    write(here / "a: {b}.jsonl", [{hostile: ENGLISH, "answer": "x" * 200}])
    status, out = init("a: {b}.jsonl", "--out", "c.yaml")
    assert status == 0, out
    values = made("c.yaml")
    assert values["name"] == "a---b" or values["name"].startswith("a")
    assert values["ingest"]["sources"][0]["columns"]["prompt"] == hostile


def test_what_is_there_stays_and_what_cannot_be_read_is_named(here: Path) -> None:
    file = write(here / "a.jsonl", SHAPES["alpaca.json"][0])
    (here / "a.yaml").write_text("mine")
    assert init(file)[0] == 2 and (here / "a.yaml").read_text() == "mine"
    (here / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    for arguments, said in ((["numbers.csv"], "no row of it can be read"), (["gone.jsonl"], "no such file")):
        status, out = init(*arguments, "--out", "n.yaml")
        assert status == 3 and said in out and not (here / "n.yaml").exists()


def test_the_last_of_many_files_is_asked_for_its_language_too(here: Path) -> None:
    texts = [ENGLISH] * 4 + [GERMAN]
    files = [
        write(here / f"{i}.jsonl", [{"prompt": f"{text} {n}?", "completion": f"{text} {n}."} for n in range(150)])
        for i, text in enumerate(texts)
    ]
    assert init(*files, "--name", "mine")[0] == 0
    assert made("mine.yaml")["scrub"]["locales"] == ["en_US", "de"]

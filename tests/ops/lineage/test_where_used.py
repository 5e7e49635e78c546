"""What contains a row, a source or a person: truth by the numbers of rows (`tests/support/growing_runs.py`)."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.growing_runs import CONFIG, ROOT, Growing, address
from typer.testing import CliRunner

from ops.main import app
from ops.run_index import save_run
from steps.contracts.digests import canonical_json, value_digest

# Of 1,000 rows dedup drops 30, screen sets 10 aside, the leak check drops 3; 18 of the others are in the test split.
IN_VERSIONS = {"ingested": 1_000, "deduped": 970, "split": 970, "scrubbed": 970, "screened": 960,
               "screen_quarantined": 10, "curated": 957}  # fmt: skip
TRAINED = 939
PERSON = address(31)


def used(*arguments: str, status: int = 0, typed: str = "") -> Any:
    result = CliRunner().invoke(app, ["where-used", *arguments, "--json"], input=typed)
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def test_a_source_is_in_every_version_by_its_number_of_rows(growing: Growing) -> None:
    found = used("mails/00.jsonl")
    assert (found["rows"], found["made_from_others"], found["runs"]) == (1_000, 0, ["run01", "run00"])
    by_run = {(v["artifact"], v["runs"][0]): (v["rows"], v["of"]) for v in found["versions"]}
    assert by_run == {(name, "run00"): (n, n) for name, n in IN_VERSIONS.items()} | {
        (name, "run01"): (n, 2 * n) for name, n in IN_VERSIONS.items()
    }
    assert [(m["registered"], m["sure"], m["rows"]) for m in found["models"]] == [
        ("support/1", True, TRAINED),
        ("support/2", True, TRAINED),
    ]
    assert found["not_read"] == []
    whole = used("mails")
    assert whole["rows"] == 2_000 and [m["rows"] for m in whole["models"]] == [TRAINED, 2 * TRAINED]


@pytest.mark.parametrize(
    ("number", "versions", "runs", "models"),
    [
        (31, {"ingested", "deduped", "split", "scrubbed", "screened", "curated"}, 2, 2),
        (5, {"ingested"}, 2, 0),
        (150, {"ingested", "deduped", "split", "scrubbed", "screen_quarantined"}, 2, 0),
        (1_160, {"ingested", "deduped", "split", "scrubbed", "screened"}, 1, 0),
        (1_501, {"ingested", "deduped", "split", "scrubbed", "screened", "curated"}, 1, 1),
    ],
)
def test_a_row_is_in_the_versions_before_its_end(
    growing: Growing, number: int, versions: set[str], runs: int, models: int
) -> None:
    found = used(growing.record_id(number)[:12])
    assert found["what"] == f"row {growing.record_id(number)}" and found["rows"] == 1
    assert {v["artifact"] for v in found["versions"]} == versions
    assert all(v["rows"] == 1 for v in found["versions"])
    assert len(found["runs"]) == runs and len(found["models"]) == models


def test_what_was_made_from_a_row_is_part_of_it(own: Growing) -> None:
    child, grandchild = own.record_id(501), own.record_id(502)
    own.say("ingest", child, "created", parents=(own.record_id(5),))
    own.say("screen", grandchild, "created", run="run00", parents=(child,))
    found = used(own.record_id(5))
    assert (found["rows"], found["made_from_others"]) == (3, 2)
    assert [m["rows"] for m in found["models"]] == [2, 2], "the row itself was dropped"


def test_a_person_is_found_by_the_keyed_pseudonym_and_the_value_is_said_nowhere(growing: Growing) -> None:
    found = used("--subject", PERSON.upper())
    assert found["what"] == "person of 1 value" and found["rows"] == 1
    assert found["versions"] == used(growing.record_id(31))["versions"]
    assert len(found["models"]) == 2
    assert used("--subject", "-", typed=f"\n{PERSON}\n{address(32)}\n")["rows"] == 2
    assert PERSON not in CliRunner().invoke(app, ["where-used", "--subject", PERSON]).output
    assert not [f for f in growing.state.rglob("*.json*") if PERSON in f.read_text()], "and kept nowhere"


def test_a_run_with_another_key_is_named_and_its_texts_can_be_looked_through(
    own: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_PII_KEY", "k" * 40)
    config = CONFIG | {"scrub": {}}
    for run in own.catalogue.runs:
        save_run(ROOT, run.model_copy(update={"config_digest": value_digest(config)}), canonical_json(config))
    result = CliRunner().invoke(app, ["where-used", "--subject", PERSON])
    assert result.exit_code == 7
    assert "run run01: scrub found no such value in any run; but this can't be read: a person can't be found by" \
        " pseudonym: its pseudonyms have another key, of fingerprint " in result.stderr  # fmt: skip
    assert used("--subject", PERSON, "--in-text")["rows"] == 1
    monkeypatch.delenv("ASSAY_PII_KEY")
    assert "ASSAY_PII_KEY is not set" in CliRunner().invoke(app, ["where-used", "--subject", PERSON]).stderr


def test_exports_are_followed(own: Growing, tmp_path: Path) -> None:
    tests, trains = tmp_path / "tests", tmp_path / "trains"
    for out, split in ((tests, "test"), (trains, "train")):
        done = CliRunner().invoke(app, ["export", "run01", "--to", "parquet", "--out", str(out), "--split", split])
        assert done.exit_code == 0, done.output
    (export,) = used(own.record_id(550))["exports"]
    assert (export["place"], export["to"], export["run"], export["rows"]) == (str(tests), "parquet", "run01", 1)
    assert export["standing"] == "there"
    assert [e["place"] for e in used(own.record_id(31))["exports"]] == [str(trains)]
    assert {e["place"]: e["rows"] for e in used("mails")["exports"]} == {str(tests): 36, str(trains): 2 * TRAINED}
    shutil.rmtree(tests)
    assert used(own.record_id(550))["exports"][0]["standing"] == "gone"
    note = next((own.state / "exports").glob("*.json"))
    note.write_text("{")
    assert used("mails", status=7)["not_read"][0]["where"] == str(note)


def test_what_is_nowhere_is_said_with_what_there_is(growing: Growing) -> None:
    for arguments, status, words in (
        (["mail"], 3, "no row or source 'mail'\n  way out: sources there are: mails"),
        (["--subject", "nobody@example.org"], 3, "scrub found no such value in any run"),
        ([], 3, "name a row or a source, or a person with --subject"),
        (["mails", "--subject", "x"], 3, "name a row or a source, or a person with --subject"),
        (["--subject", "-"], 3, "no value to look for"),
    ):
        result = CliRunner().invoke(app, ["where-used", *arguments], input="\n")
        assert result.exit_code == status and words in result.stderr, result.output


def test_a_shard_that_is_gone_is_named_and_models_are_unsure(growing: Growing) -> None:
    record_id = growing.record_id(31)
    shards = sorted((growing.store / "shards").iterdir())
    for shard in shards:
        shard.rename(shard.with_suffix(".away"))
    found = used(record_id, status=7)
    away = CliRunner().invoke(app, ["where-used", "mails"])
    for shard in shards:
        shard.with_suffix(".away").rename(shard)
    assert found["versions"] == [] and [m["sure"] for m in found["models"]] == [False, False]
    assert len(found["not_read"]) == len(shards)
    assert away.exit_code == 7 and "no row or source 'mails'; but this can't be read" in away.stderr


def test_for_people(growing: Growing) -> None:
    said = CliRunner().invoke(app, ["where-used", "mails/00.jsonl"]).stdout
    assert "source mails/00.jsonl: 1,000 rows" in said and "runs that contain it: 2 (run01, run00)" in said
    assert "model support/2 of run run01 was trained on it (939 rows)" in said
    assert "no export that was noted on this machine holds it" in said

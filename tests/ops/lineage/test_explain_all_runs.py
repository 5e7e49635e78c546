"""A row's way through all runs: told once where it is the same, apart where it isn't, and never with a silent gap."""

import json
import shutil
from typing import Any

import pytest
from support.growing_runs import CONFIG, ROOT, Growing
from typer.testing import CliRunner

from ops.lineage.ways import find_rows, histories, written_by_scrub
from ops.main import app
from ops.run_index import save_run
from steps.contracts.digests import canonical_json, value_digest


def explain(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["explain", *arguments, "--json"])
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("number", "runs", "fate", "split", "models"),
    [
        (5, 2, "dropped by dedup: near_duplicate", None, 0),
        (31, 2, "kept", "train", 2),
        (150, 2, "quarantined by screen: profanity.strong", None, 0),
        (160, 2, "dropped by leakcheck: overlap", None, 0),
        (550, 2, "kept", "test", 0),
        (1_500, 1, "kept", "test", 0),
        (1_501, 1, "kept", "train", 1),
    ],
)
def test_a_row_that_went_the_same_way_in_all_runs_is_told_once(
    growing: Growing, number: int, runs: int, fate: str, split: str | None, models: int
) -> None:
    found = explain(growing.record_id(number))
    (row,) = found["rows"]
    assert found["runs"] == 2 and found["matches"] == 1 and found["not_read"] == []
    assert (row["runs"], row["fate"], row["split"]) == (["run01", "run00"][:runs], fate, split)
    assert row["other_ways"] == []
    assert [(s["registered"], s["sure"], s["rows"]) for s in row["seen_by"]] == [
        (f"support/{n}", True, 1) for n in (1, 2)[-models:] if models
    ]


def test_another_way_in_an_earlier_run_is_told_apart(own: Growing) -> None:
    record_id = own.record_id(31)
    own.say("screen", record_id, "quarantined", run="run00")
    (row,) = explain(record_id)["rows"]
    assert (row["runs"], row["fate"], row["split"]) == (["run01"], "kept", "train")
    (other,) = row["other_ways"]
    assert (other["runs"], other["fate"], other["split"]) == (["run00"], "quarantined by screen: by_hand", None)
    said = CliRunner().invoke(app, ["explain", record_id]).stdout
    assert "kept (earlier: quarantined by screen: by_hand)" in said
    assert "run run01: kept" in said and "run run00: quarantined by screen: by_hand" in said


def test_the_rule_is_that_of_each_way(own: Growing) -> None:
    """Another threshold in the newer run: the older one's way is told with its own."""
    newest = own.catalogue.runs[0]
    config = {**CONFIG, "dedup": {"threshold": 0.9}}
    save_run(ROOT, newest.model_copy(update={"config_digest": value_digest(config)}), canonical_json(config))
    (row,) = explain(own.record_id(5))["rows"]
    assert row["stages"][1]["lines"][0]["rule"].endswith("reaches dedup.threshold (0.9)")


def test_text_finds_rows_of_any_run_and_counts_them_all(growing: Growing) -> None:
    found = explain("of the growing ARCHIVE", "-n", "3")
    assert found["matches"] == 2_000 and len(found["rows"]) == 3
    (row,) = explain("Ticket 500 of")["rows"]
    assert row["record_id"] == growing.record_id(500)
    said = CliRunner().invoke(app, ["explain", "of the Growing Archive", "-n", "3"]).stdout
    assert "2,000 rows fit, 1,997 more than shown (-n shows more): name one by its id" in said


def test_one_run_alone(growing: Growing) -> None:
    (row,) = explain(growing.record_id(501), "--run", "run00")["rows"]
    assert row["runs"] == ["run00"] and len(row["seen_by"]) == 2, "models of all runs"
    result = CliRunner().invoke(app, ["explain", growing.record_id(1_500), "--run", "run00"])
    assert result.exit_code == 3 and "no row has that id or text" in result.stderr


def test_a_ledger_that_is_gone_is_named_and_its_stage_unknown(growing: Growing) -> None:
    file = growing.artifact("screen_ledger")
    whole = file.read_bytes()
    file.unlink()
    found = explain(growing.record_id(500), status=7)
    file.write_bytes(whole)
    (row,) = found["rows"]
    assert [s["verdict"] for s in row["stages"] if s["stage"] == "screen"] == ["unknown"]
    assert [w["runs"] for w in row["other_ways"]] == [["run00"]]
    assert [(g["where"], g["why"]) for g in found["not_read"]] == [(str(file), "an artifact's file is gone")]


@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
@pytest.mark.parametrize("name", ["deduped", "ingested", "dedup_ledger", "shard", "tuned", "selection"])
def test_damage_is_named_whatever_it_hits(growing: Growing, name: str, how: str) -> None:
    """No traceback, and nothing that isn't there is said to be."""
    if name == "shard":
        file = sorted((growing.store / "shards").iterdir())[0]
    elif name == "selection":
        file = growing.artifact("curated").with_name("selection.parquet")
    else:
        file = growing.artifact(name)
    whole = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[: len(whole) // 2] if how == "cut" else whole[:-9] + b"~" + whole[-8:])
    told = [CliRunner().invoke(app, ["explain", growing.record_id(number), "--json"]) for number in (5, 31, 1_501)]
    nothing = CliRunner().invoke(app, ["explain", "no such words anywhere"])
    file.write_bytes(whole)
    assert [r.exit_code for r in told] == [7, 7, 7]
    assert all(str(file) in r.stderr for r in told)
    assert nothing.exit_code == (3 if name in ("tuned", "selection", "dedup_ledger") else 7), nothing.output


def test_what_was_read_before_is_read_again_when_it_was_touched(growing: Growing) -> None:
    for _ in range(2):
        lineage = growing.lineage
        assert len(histories(lineage, find_rows(lineage, growing.record_id(5)), raw=False)) == 1
        lineage.catalogue.known.save()
    file = growing.artifact("dedup_ledger")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"~")
    assert explain(growing.record_id(5), status=7)["not_read"][0]["where"] == str(file)
    file.write_bytes(whole)
    assert explain(growing.record_id(5))["not_read"] == []
    (growing.state / "cache").mkdir(exist_ok=True)
    (growing.state / "cache" / "digests.json").write_text("[")
    assert explain(growing.record_id(5))["not_read"] == []


def test_a_run_that_only_the_store_knows_is_looked_through(own: Growing) -> None:
    shutil.rmtree(own.state / "runs")
    found = explain(own.record_id(500))
    assert found["runs"] == 2 and found["rows"][0]["runs"] == ["run01", "run00"]
    assert [s["sure"] for s in found["rows"][0]["seen_by"]] == [False, False], "their configs aren't known here"


@pytest.mark.parametrize(
    ("text", "needless"),
    [
        ("Ticket 31 of", True),
        ("reach <EMAIL", False),
        ("EMAIL_ADDRESS_", False),
        ("person31", False),
    ],
)
def test_what_scrub_wrote_is_looked_through_where_a_text_may_touch_a_pseudonym(
    growing: Growing, text: str, needless: bool
) -> None:
    lineage = growing.lineage
    shards = {sha for sha, (_, m) in _written(growing).items() if m == "scrub"}
    assert shards
    assert written_by_scrub(lineage, text) == (shards if needless else frozenset())


def _written(growing: Growing) -> dict[str, tuple[str, str]]:
    """By shard, the first version that has it."""
    first: dict[str, tuple[str, str]] = {}
    for uri, (_, manifest) in growing.lineage.shards.manifests.items():
        for entry in manifest.shards:
            first.setdefault(entry.sha256, (uri, manifest.stage))
    return first


def test_pseudonyms_are_found_as_text_too(growing: Growing) -> None:
    (row,) = explain("write to <EMAIL_ADDRESS_", "-n", "2000", "--run", "run00")["rows"][:1]
    assert "Write to <EMAIL_ADDRESS_" in growing_text(growing, row["record_id"])
    assert explain("<EMAIL_ADDRESS_")["matches"] == 240


def growing_text(growing: Growing, record_id: str) -> str:
    lineage = growing.lineage
    places = lineage.shards.with_ids([record_id])[record_id]
    return " ".join(m["content"] for row in lineage.shards.rows(places).values() for m in row["messages"])


def test_what_was_read_by_scrub_and_is_gone_is_looked_for_in_what_it_wrote(growing: Growing) -> None:
    (raw,) = [sha for sha, (uri, stage) in _written(growing).items() if stage == "ingest" and "run00" in uri]
    file = growing.store / "shards" / f"{raw}.parquet"
    file.rename(file.with_suffix(".away"))
    found = explain("Ticket 31 of", status=7)
    file.with_suffix(".away").rename(file)
    assert [r["record_id"] for r in found["rows"]] == [growing.record_id(31)]


def test_labels_that_were_damaged_are_made_anew(growing: Growing) -> None:
    before = explain(growing.record_id(501))
    folder = growing.state / "cache" / "labels"
    assert list(folder.glob("*.npy"))
    for file in folder.glob("*.npy"):
        file.write_bytes(file.read_bytes()[:-900] + bytes(900))
    assert explain(growing.record_id(501)) == before
    for file in folder.glob("*.npy"):
        file.write_bytes(b"")
    assert explain(growing.record_id(501)) == before

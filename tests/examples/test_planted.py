import json
from dataclasses import replace

import pytest
from support import stored_run

from examples.planted import COLUMNS, Evidence, compare, compare_planted, read_planted
from ops.run_index import artifacts_of
from steps.contracts.errors import InputError, InputNotFoundError


def table(planted, evidence):
    return {row[0]: dict(zip(COLUMNS[1:], row[1:], strict=True)) for row in compare(planted, evidence).rows}


def evidence(**lines):
    ids = {("f", f"line:{i}"): f"id{i}" for i in range(1, 10)}
    return Evidence(lines, frozenset({("f", "line:90")}), ids, {"id7": "mail <EMAIL_ADDRESS_X>", "id8": "a@b.example"})


def planted(kind, number, original=None, **more):
    row = {"file": "f", "locator": f"line:{number}", "kind": kind, **more}
    return row | ({"original_file": "f", "original_locator": f"line:{original}"} if original else {})


def test_a_copy_is_found_when_either_of_the_pair_goes():
    rows = [planted("near_copy", 1, 2), planted("near_copy", 3, 4), planted("near_copy", 5, 6)]
    dedup = [("id1", "dropped", "near_duplicate"), ("id4", "dropped", "near_duplicate"),
             ("id9", "dropped", "near_duplicate")]  # fmt: skip
    found = table(rows, evidence(dedup=dedup))["near copy"]
    assert found == {"planted": 3, "found": 2, "gone earlier": 0, "missed": 1, "recall": 0.6667, "other rows hit": 1}


def test_rows_that_an_earlier_stage_took_are_not_missed():
    lines = {"dedup": [("id1", "dropped", "near_duplicate")], "judge": [("id2", "dropped", "low_score")]}
    rows = [planted("junk", 1), planted("junk", 2), planted("junk", 3)]
    found = table(rows, evidence(**lines))["junk"]
    assert (found["gone earlier"], found["found"], found["missed"], found["recall"]) == (1, 1, 1, 0.5)


def test_copies_below_the_threshold_are_not_missed():
    rows = [planted("near_copy", 1, 2, jaccard=0.7), planted("near_copy", 3, 4, jaccard=0.69)]
    dedup = [("id1", "dropped", "near_duplicate")]
    strict, loose = (compare(rows, replace(evidence(dedup=dedup), threshold=t)).rows for t in (0.7, 0.6))
    assert [r[:6] for r in strict] == [
        ("near copy", 1, 1, 0, 0, 1.0), ("near copy below 0.7 (kept by config)", 1, 0, None, None, None)
    ]  # fmt: skip
    assert [r[:6] for r in loose] == [("near copy", 2, 1, 0, 1, 0.5)]


def test_copies_below_the_threshold_that_a_semantic_stage_found_are_counted():
    rows = [planted("near_copy", 1, 2, jaccard=0.5), planted("near_copy", 3, 4, jaccard=0.6)]
    semantic = [("id2", "dropped", "semantic_duplicate"), ("id9", "dropped", "semantic_duplicate"),
                ("id4", "undecided", "no_vector")]  # fmt: skip
    found = compare(rows, replace(evidence(dedup=[], semantic=semantic), threshold=0.7)).rows
    assert found == (("near copy below 0.7 (by meaning)", 2, 1, None, None, None, 1),)


def test_personal_data_is_found_when_its_value_is_gone():
    rows = [planted("pii", 7, entities=[{"type": "EMAIL_ADDRESS", "value": "a@b.example"}]),
            planted("pii", 8, entities=[{"type": "EMAIL_ADDRESS", "value": "a@b.example"}])]  # fmt: skip
    changed = [("id7", "changed", "pii"), ("id8", "changed", "pii"), ("id2", "changed", "pii")]
    found = table(rows, evidence(scrub=changed))["pii"]
    assert (found["found"], found["missed"], found["other rows hit"]) == (1, 1, 1)


def test_a_stage_that_did_not_run_found_nothing_and_missed_nothing():
    found = table([planted("profanity", 1)], evidence(dedup=[]))["profanity"]
    assert found == {"planted": 1, "found": None, "gone earlier": None, "missed": None, "recall": None,
                     "other rows hit": None}  # fmt: skip


def test_broken_lines_are_looked_for_among_the_rejects():
    rows = [planted("broken_line", 90), planted("broken_line", 91)]
    found = table(rows, evidence())["broken line"]
    assert (found["found"], found["missed"], found["other rows hit"]) == (1, 1, 0)


def test_from_the_artifacts_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    run = stored_run.build(tmp_path, tmp_path / "work")
    listed = tmp_path / "planted.jsonl"
    lines = [
        {"file": "mails.jsonl", "locator": "line:2", "kind": "near_copy", "original_file": "mails.jsonl",
         "original_locator": "line:1"},
        {"file": "mails.jsonl", "locator": "line:3", "kind": "pii",
         "entities": [{"type": "EMAIL_ADDRESS", "value": stored_run.SECRET}]},
        {"file": "mails.jsonl", "locator": "line:4", "kind": "injection"},
        {"file": "mails.jsonl", "locator": "line:6", "kind": "broken_line"},
    ]  # fmt: skip
    listed.write_text("\n".join(json.dumps(line) for line in lines))
    result = compare_planted(artifacts_of(tmp_path, run.record), listed, {})
    assert [row[0] for row in result.rows] == ["near copy", "pii", "injection", "broken line"]
    assert all(row[2] == 1 and row[4] == 0 and row[6] == 0 for row in result.rows), result.rows
    assert stored_run.SECRET not in result.model_dump_json()


def test_a_list_that_is_none(tmp_path):
    with pytest.raises(InputNotFoundError):
        read_planted(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"file": "f"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:1"):
        read_planted(tmp_path / "bad.jsonl")

"""Figures of the split stage, worked out by hand."""

import hashlib

import numpy as np
from support.textrows import chat, dataset

from steps.contracts.context import StageContext
from steps.contracts.digests import value_digest
from steps.contracts.reports import StageReport
from steps.split.config import SplitConfig
from steps.split.split import _notes, _positions, group_of, labels, position, split

TWO_64 = 2**64


def report_of(rows, folder, **settings) -> StageReport:
    return split(dataset(rows, folder / "in", 700), SplitConfig(**settings), StageContext(folder / "out")).report


def test_a_position_is_the_keyed_blake2b_of_the_group() -> None:
    key = hashlib.blake2b(b"assay", digest_size=32).digest()
    raw = hashlib.blake2b("prompt:é".encode(), digest_size=8, key=key).digest()
    assert position("prompt:é", "assay") == int.from_bytes(raw, "big")


def test_a_lone_surrogate_has_a_position_of_its_own() -> None:
    assert position("\ud800", "s") != position("\ud801", "s")


def test_labels_begin_exactly_where_the_shares_say() -> None:
    config = SplitConfig(test=0.25, validation=0.5)
    at = [0, TWO_64 // 4 - 1, TWO_64 // 4, 3 * (TWO_64 // 4) - 1, 3 * (TWO_64 // 4), TWO_64 - 1]
    assert labels(np.array(at, np.uint64), config).tolist() == [2, 2, 1, 1, 0, 0]


def test_groups_are_named_by_what_holds_them_together() -> None:
    row = chat("  Two\twords ", "a", locator="1")
    assert group_of(row, SplitConfig()).startswith("prompt:")
    assert group_of({**row, "parents": ["p", "q"]}, SplitConfig(group_by="parent")) == "parent:p"
    assert group_of(row, SplitConfig(group_by="parent")) == f"content:{row['content_id']}"
    assert group_of({**row, "parents": ["p"]}, SplitConfig(group_by="content")) == f"content:{row['content_id']}"


def test_a_document_is_its_own_group_even_where_it_has_messages() -> None:
    row = {**chat("asked", "a"), "kind": "document"}
    assert group_of(row, SplitConfig()) == f"content:{row['content_id']}"


def test_positions_are_whole_numbers_of_64_bits(tmp_path) -> None:
    rows = [chat(f"question {i}", "a", locator=str(i)) for i in range(9)]
    # As floats they would lose their last eleven bits.
    assert _positions(dataset(rows, tmp_path, 4), SplitConfig()).tolist() == [
        position(f"prompt:question {i}", "assay") for i in range(9)
    ]


def test_the_version_and_the_ledger_lie_in_the_folder(tmp_path) -> None:
    found = split(dataset([chat("q", "a")], tmp_path / "in"), SplitConfig(), StageContext(tmp_path / "out"))
    assert (found.rows.folder, found.rows.manifest.stage) == (tmp_path / "out", "split")
    assert (found.ledger.path, found.ledger.rows) == (tmp_path / "out" / "ledger.parquet", 0)


def test_the_report_of_one_prompt_and_three_others(tmp_path) -> None:
    rows = [chat("same", f"answer {i}", locator=f"same {i}") for i in range(5)]
    rows += [chat(f"question {i}", "answer", locator=str(i)) for i in range(3)]
    found = report_of(rows, tmp_path, test=0.25, validation=0.5)
    expected = labels(
        np.array([position(group_of(r, SplitConfig()), "assay") for r in rows], np.uint64),
        SplitConfig(test=0.25, validation=0.5),
    )
    per_split = {name: int((expected == i).sum()) for i, name in enumerate(("train", "validation", "test"))}
    lone = dict.fromkeys(per_split, 0)
    for code in (expected[0], *expected[5:]):
        lone[("train", "validation", "test")[code]] += 1
    assert (found.stage, found.rows_in, found.kept, found.dropped) == ("split", 8, 8, 0)
    assert found.counts == {"rows": per_split, "groups": lone, "largest group": {"rows": 5}}
    (table,) = found.tables
    assert table.title == "Split"
    assert table.columns == ("split", "rows", "% of rows", "% asked for", "groups")
    asked = {"train": 25.0, "validation": 50.0, "test": 25.0}
    assert table.rows == tuple((s, n, 100 * n / 8, asked[s], lone[s]) for s, n in per_split.items())


def test_notes_say_what_is_missing_few_or_off(tmp_path) -> None:
    # 400 rows of one prompt are all in one split: 100 % of the rows instead of the share asked for.
    one = [chat("same", f"answer {i}", locator=str(i)) for i in range(400)]
    notes = report_of(one, tmp_path / "one", test=0.3, validation=0.0).notes
    home = ("train", "validation", "test")[
        labels(np.array([position("prompt:same", "assay")], np.uint64), SplitConfig(test=0.3, validation=0.0))[0]
    ]
    other = {"train": "test", "test": "train"}[home]
    asked = {"train": "70.0", "test": "30.0"}
    off = "groups stay together, and the largest has 400 rows."
    assert f"{home} holds 100.0 % of the rows, not {asked[home]} %: {off}" in notes
    assert f"{other} holds 0.0 % of the rows, not {asked[other]} %: {off}" in notes
    assert not any(n.startswith("validation holds") or "fell into validation" in n for n in notes)
    assert notes[0] == "Labels are a hash of the prompt with salt 'assay': adding rows changes none of them."
    assert sum("fell into test: 400 rows are too few for a share of 0.3." in n for n in notes) == (home == "train")


def test_a_split_that_is_off_by_chance_only_has_no_note(tmp_path) -> None:
    rows = [chat(f"question {i}", "answer", locator=str(i)) for i in range(200)]
    found = report_of(rows, tmp_path, test=0.5, validation=0.0)
    share = found.counts["rows"]["test"] / 200
    # Three standard errors of a half among 200 rows are 10.6 points.
    assert abs(share - 0.5) < 0.106
    assert not any("holds" in n for n in found.notes)
    assert (found.counts["rows"]["test"] < 100) == any("test rows: a rate" in n for n in found.notes)


def test_an_empty_version_has_no_note_but_the_rule(tmp_path) -> None:
    found = report_of([], tmp_path, test=0.5, validation=0.0)
    assert found.counts["largest group"] == {"rows": 0}
    assert [n.split(":")[0] for n in found.notes][1:] == ["No row fell into test"]


def notes_of(train: int, test: int, asked: float) -> tuple[str, ...]:
    shares = {"train": 1 - asked, "validation": 0.0, "test": asked}
    return _notes({"train": train, "validation": 0, "test": test}, shares, 7, SplitConfig())[1:]


def test_off_is_more_than_two_points_and_three_standard_errors() -> None:
    # 2,500 rows: three standard errors of a half are 3 points; 1,000,000 rows: 0.15 points, so 2 points count.
    assert notes_of(1_324, 1_176, 0.5) == ()
    assert [n.split(" holds ")[0] for n in notes_of(1_326, 1_174, 0.5)] == ["train", "test"]
    assert notes_of(519_999, 480_001, 0.5) == ()
    assert notes_of(520_001, 479_999, 0.5) == tuple(
        f"{name} holds {share} % of the rows, not 50.0 %: groups stay together, and the largest has 7 rows."
        for name, share in (("train", "52.0"), ("test", "48.0"))
    )
    # Of a tenth among 900 rows three standard errors are 3 points.
    assert notes_of(784, 116, 0.1) == ()
    assert len(notes_of(782, 118, 0.1)) == 2


def test_fewer_than_a_hundred_test_rows_are_few() -> None:
    few = "Only {} test rows: a rate measured on them is uncertain by more than 10 points (95 % interval)."
    assert notes_of(99, 99, 0.5) == (few.format(99),)
    assert notes_of(100, 100, 0.5) == ()
    assert notes_of(1, 1, 0.5) == (few.format(1),)


def test_shares_are_told_in_hundredths_of_a_percent_and_the_config_by_digest(tmp_path) -> None:
    rows = [chat(f"question {i}", "answer", locator=str(i)) for i in range(7)]
    found = report_of(rows, tmp_path, test=0.123456, validation=0.0)
    assert [(row[2], row[3]) for row in found.tables[0].rows] == [
        (round(100 * found.counts["rows"][name] / 7, 2), asked)
        for name, asked in (("train", 87.65), ("validation", 0.0), ("test", 12.35))
    ]
    assert found.config_digest == value_digest(SplitConfig(test=0.123456, validation=0.0).model_dump(mode="json"))

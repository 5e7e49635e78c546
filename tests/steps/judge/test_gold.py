"""Gold as it comes: what is read, what is refused."""

from pathlib import Path

import pytest
from support.gold import nothing, written
from support.textrows import chat

from steps.contracts.errors import InputError, InputNotFoundError
from steps.judge.gold import read_gold

ROW = chat("How much is the lamp?", "20 euros.")


def test_a_row_is_in_the_line_or_meant_by_its_ids(tmp_path: Path) -> None:
    other = chat("And the chair?", "30 euros.")
    path = written(
        tmp_path,
        {"prompt": "A?", "completion": "B.", "label": 4, "by": "Ada", "labels": {"accuracy": "3.5"}},
        {"record_id": ROW["record_id"], "content_id": ROW["content_id"], "label": "drop", "annotator": "Ben"},
        {"record_id": other["record_id"], "content_id": "0" * 32, "label": "keep"},
        {"record_id": "nowhere", "label": 1},
    )
    gold = read_gold(path, lambda ids: {r["record_id"]: r for r in (ROW, other) if r["record_id"] in ids})
    by_prompt = {r.row["messages"][0]["content"]: r.said for r in gold.rows}
    ada = by_prompt["A?"]["Ada"]
    assert (ada.score, ada.criteria, ada.keep) == (4.0, {"accuracy": 3.5}, None)
    assert by_prompt["How much is the lamp?"]["Ben"].keep is False
    # Another content than that which was labelled, and a row that isn't there.
    assert gold.missing == (other["record_id"], "nowhere") and len(gold.rows) == 2 and not gold.scrubbed


def test_the_last_word_of_a_person_counts_and_each_person_has_one(tmp_path: Path) -> None:
    line = {"prompt": "A?", "completion": "B."}
    path = written(
        tmp_path, {**line, "label": 4, "by": "Ada"}, {**line, "label": 2, "by": "Ben"},
        {**line, "label": 5, "by": "Ada"}, {**line, "labels": {"clarity": 1}, "by": "Ada"},
    )  # fmt: skip
    (row,) = read_gold(path, nothing).rows
    assert {by: s.score for by, s in row.said.items()} == {"Ada": 5.0, "Ben": 2.0}
    assert row.said["Ada"].criteria == {"clarity": 1.0}


def test_decisions_of_a_review_are_labels(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        *(
            {"record_id": ROW["record_id"], "content_before": ROW["content_id"], "choice": choice, "by": choice,
             "stage": "screen", "reason": "r", **({"content": {"messages": []}} if choice == "edit" else {})}
            for choice in ("accept", "edit", "drop")
        ),
    )  # fmt: skip
    (row,) = read_gold(path, lambda ids: {ROW["record_id"]: ROW}).rows
    assert {by: s.keep for by, s in row.said.items()} == {"accept": True, "edit": False, "drop": False}


def test_csv_with_cells_over_many_lines_and_other_scripts(tmp_path: Path) -> None:
    text = 'prompt,completion,label,label_accuracy,annotator\n"多少钱?\n(1)",二十,4,2,Ада\nA?,B.,keep,,\n'
    path = written(tmp_path, text.rstrip("\n"), name="gold.csv")
    gold = read_gold(path, nothing)
    said = {r.row["messages"][0]["content"]: r.said for r in gold.rows}
    assert said["多少钱?\n(1)"]["Ада"].criteria == {"accuracy": 2.0} and said["A?"]["unnamed"].keep is True


MISTAKES = {
    "not JSON": "{nope",
    "not an object": "[1]",
    "a label is 1 to 5": {"prompt": "a", "completion": "b", "label": 6},
    "in steps of a half": {"prompt": "a", "completion": "b", "label": 3.3},
    "a label is": {"prompt": "a", "completion": "b", "label": "great"},
    "a label is 1 to 5 in steps of a half, keep or drop": {"prompt": "a", "completion": "b", "label": float("nan")},
    "a label is 1 to 5 in steps": {"prompt": "a", "completion": "b", "label": 10**400},
    "half of a surrogate pair": {"prompt": "\ud800", "completion": "b", "label": 3},
    "no label": {"prompt": "a", "completion": "b", "by": "Ada"},
    "neither a row nor a record_id": {"label": 3},
    "better is one of": {"record_id": "x", "better": "left"},
    "changed after it was labelled": {"prompt": "a", "completion": "b", "label": 3, "content_id": "f" * 32},
    "isn't a text": {"record_id": 7, "label": 3},
    "labels isn't an object": {"record_id": "x", "labels": [1]},
    "makes several records": {"prompt": "a", "responses": ["b", "c"], "label": 3},
}


@pytest.mark.parametrize("said", MISTAKES)
def test_what_isnt_gold_is_named_with_its_line(tmp_path: Path, said: str) -> None:
    path = written(tmp_path, {"prompt": "a", "completion": "b", "label": 3}, MISTAKES[said])
    with pytest.raises(InputError, match=rf"line 2: .*{said}|line 2: {said}"):
        read_gold(path, nothing)


def test_no_file_an_empty_one_and_one_that_isnt_text(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        read_gold(tmp_path / "none.jsonl", nothing)
    with pytest.raises(InputError, match="no label in it"):
        read_gold(written(tmp_path, ""), nothing)
    (tmp_path / "image.jsonl").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_gold(tmp_path / "image.jsonl", nothing)

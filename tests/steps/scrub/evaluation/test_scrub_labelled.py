"""Labelled files in every form that is read, and what is wrong with others."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from steps.contracts.errors import InputError
from steps.scrub.evaluation.bio_tags import spans_of
from steps.scrub.evaluation.labelled import EntitySpan, Labelled, read_labelled

TEXT = "Jane Roe wrote to jane@example.org ."
WANTED = (EntitySpan(0, 8, "PERSON"), EntitySpan(18, 34, "EMAIL_ADDRESS"))
WORDS = TEXT.split()
TAGS = ["B-PER", "I-PER", "O", "O", "B-EMAIL", "O"]


def read(folder: Path, *rows: Any) -> list[Labelled]:
    file = folder / "labelled"
    file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_labelled(file)


@pytest.mark.parametrize(
    "row",
    [
        {"text": TEXT, "spans": [{"start": 0, "end": 8, "label": "PER"}, {"start": 18, "end": 34, "label": "EMAIL"}]},
        {"text": TEXT, "label": [[0, 8, "PER"], [18, 34, "EMAIL"]]},
        {"text": TEXT, "entities": [[18, 34, "EMAIL"], [0, 8, "PERSON"]]},
        {"source_text": TEXT, "privacy_mask": [{"label": "PER", "start": 0, "end": 8, "value": "Jane Roe"},
                                               {"label": "EMAIL", "start": 18, "end": 34}]},
        {"tokens": WORDS, "ner_tags": TAGS},
        {"tokens": WORDS, "tags": ["B-PER", "L-PER", "O", "O", "U-EMAIL", "O"]},
        {"tokens": WORDS, "labels": ["PER", "PER", "O", "O", "EMAIL", "O"]},
        "-DOCSTART- -X- O\n\n" + "".join(f"{w} NN {t}\n" for w, t in zip(WORDS, TAGS, strict=True)),
        "".join(f"{w}\t{t}\r\n" for w, t in zip(WORDS, TAGS, strict=True)),
    ],
)  # fmt: skip
def test_every_form_says_the_same(tmp_path: Path, row: Any) -> None:
    (read_row,) = read(tmp_path, row)
    assert (read_row.text, read_row.spans, read_row.template) == (TEXT, WANTED, None)


def test_sentences_are_rows_by_the_number_of_their_first_line(tmp_path: Path) -> None:
    rows = read(tmp_path, "\nAnn B-PER\nLee B-PER\n\n\nso O\n")
    assert [(r.where, r.text, len(r.spans)) for r in rows] == [
        ("labelled line 2", "Ann Lee", 2),
        ("labelled line 6", "so", 0),
    ]


def test_tags_of_random_spans_give_the_spans_back() -> None:
    rng = random.Random(3)
    for _ in range(300):
        words, tags, wanted, at = [], [], [], 0
        for _ in range(rng.randrange(6)):
            label, size = rng.choice(["O", "PER", "LOC"]), rng.randrange(1, 4)
            group = ["x" * rng.randrange(1, 5) for _ in range(size)]
            words += group
            tags += ["O"] * size if label == "O" else [f"B-{label}", *[f"I-{label}"] * (size - 1)]
            end = at + sum(map(len, group)) + size - 1
            if label != "O":
                wanted.append((at, end, label))
            at = end + 1
        assert list(spans_of(words, tags, "here")) == wanted


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tokens": WORDS, "tags": TAGS[1:]}, "6 tokens with 5 tags"),
        ({"tokens": WORDS, "ner_tags": [1, 2, 0, 0, 3, 0]}, "no list of tags as strings"),
        ({"tokens": TEXT, "tags": TAGS}, "no list of tokens"),
        ({"tokens": ["secret"], "tags": [""]}, "a tag is empty"),
        ({"text": TEXT, "label": [[0, 8]]}, r"not an object or \[start, end, label\]"),
        ({"text": TEXT, "label": [[0, 99, "PER"]]}, "leaves its text"),
        ({"text": TEXT}, "no list of spans"),
        ("secret B-PER\nsecret secret\n", "line 2: neither JSON nor a word and its tag"),
        ("secret\n", "line 1: neither JSON"),
        ("{\n", "not valid JSON"),
        ("", "no rows"),
    ],
)
def test_what_is_wrong_is_told_without_the_text(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as told:
        read(tmp_path, row)
    assert not any(word in str(told.value).replace(str(tmp_path), "") for word in ("secret", "jane", "Jane"))

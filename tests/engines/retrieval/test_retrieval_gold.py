"""recall@k of gold passages and documents, by hand."""

from pathlib import Path

import pytest
from support.tiny_model import tiny_dataset

from steps.contracts.records import make_row
from steps.engines.retrieval.config import RetrievalConfig
from steps.engines.retrieval.gold import META, Gold, depths, nowhere, same_passage
from steps.engines.retrieval.passages import Passages, passages

LONG = "The red door of the old house by the river was painted by Ann Lee in the spring of 1931 with lead paint"
AMONG = Passages(
    ("the lamp is red", f"Before. {LONG.upper()}\n and after", "the lamp is blue", "nothing"),
    "d", (("a/README.md",), ("docs/doors.md", "copy.md"), ("b/README.md",), ("c.txt",)),
)  # fmt: skip


def test_recall_is_the_share_of_gold_passages_among_the_first_k() -> None:
    gold = Gold(("The  lamp is\nBLUE", LONG), "doors.md")
    assert gold.recall([0, 2, 1], AMONG, [1, 2, 3]) == {
        "passage_recall_at_1": 0.0, "passage_recall_at_2": 0.5, "passage_recall_at_3": 1.0,
        "document_recall_at_1": 0.0, "document_recall_at_2": 0.0, "document_recall_at_3": 1.0,
    }  # fmt: skip
    assert gold.recall([], AMONG, [1], "before_rerank") == {
        "passage_recall_at_1_before_rerank": 0.0, "document_recall_at_1_before_rerank": 0.0
    }  # fmt: skip
    assert Gold().recall([0], AMONG, [1]) == {} and not Gold()


def test_a_document_is_the_file_whose_path_ends_alike_the_longest() -> None:
    def found(name: str, number: int) -> float:
        return Gold((), name).recall([number], AMONG, [1])["document_recall_at_1"]

    assert found("source/a/README.md", 0) == 1.0 and found("source/a/README.md", 2) == 0.0
    assert found("README.md", 0) == found("README.md", 2) == 1.0
    assert found("EADME.md", 0) == 0.0 and found("copy.md", 1) == 1.0


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (f"x {LONG} y", True),
        (LONG.replace("Ann Lee", "<PERSON>"), True),  # scrubbed
        (LONG[: len(LONG) // 2 + 8], True),  # cut
        ("The red door", False),  # a heading of it
        ("The red door of the old house by the river is another one", False),
        ("", False),
    ],
)
def test_texts_that_were_cut_or_scrubbed_otherwise_are_the_same_passage(text: str, same: bool) -> None:
    assert same_passage(LONG, text) is same


def test_what_stands_nowhere_is_counted() -> None:
    golds = [
        Gold(("the lamp is red", "a lamp that nobody has"), "c.txt"),
        Gold((LONG,), "gone.txt"),
        Gold(("nothing",)),
    ]
    assert nowhere(golds, AMONG) == {"passages": (1, 4), "documents": (1, 2)}


def test_how_deep_it_is_looked() -> None:
    assert sorted(depths(4, None)) == [1, 3, 4, 5, 10] and sorted(depths(3, 4)) == [1, 3] and 0 not in depths(0, None)


def test_rows_say_it_and_passages_know_their_files(tmp_path: Path) -> None:
    row = make_row(
        kind="conversation", source="s", locator="", raw=b"", meta={META: {"passages": ["a"], "document": "b"}}
    )
    assert Gold.of(row) == Gold(("a",), "b") and Gold.of({**row, "meta": "{}"}) == Gold()
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    for name, text in (("one.txt", "The lamp."), ("sub/two.txt", "The lamp."), ("sub/three.md", "# A door\n\nIs red.")):
        (tmp_path / "docs" / name).write_text(text)
    found = passages(RetrievalConfig(documents="docs"), tiny_dataset(tmp_path / "rows"), tmp_path)
    by_text = dict(zip(found.texts, found.documents, strict=True))
    assert by_text["The lamp."] == ("one.txt", "sub/two.txt")
    assert found.files == {"one.txt", "sub/two.txt", "sub/three.md"}
    (tmp_path / "one.txt").write_text("Alone.")
    assert passages(RetrievalConfig(documents="one.txt"), tiny_dataset(tmp_path / "rows"), tmp_path).files == {
        "one.txt"
    }

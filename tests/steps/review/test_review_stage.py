import json
import random

import pytest
from support.textrows import chat, dataset, reopened

from steps.contracts.context import StageContext
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.records import SPLITS
from steps.review.config import ReviewConfig
from steps.review.decisions import HumanDecision, append
from steps.review.edits import content_of, edited
from steps.review.review import review


def versions(folder, going, aside, shard_rows=None):
    """`going` rows as one version and `aside` rows as another, over the same shards as after a screen."""
    import numpy as np

    rows = [*going, *aside]
    random.Random(4).shuffle(rows)
    whole = dataset(rows, folder, shard_rows)
    ids = {r["record_id"] for r in going}
    keep = np.array([r["record_id"] in ids for r in rows])
    splits = np.array([i % 3 for i in range(len(rows))], np.int8)
    labels = {r["record_id"]: SPLITS[i % 3] for i, r in enumerate(rows)}
    kept = whole.select(keep, folder / "kept", "screen", splits)
    return kept, whole.select(~keep, folder / "aside", "screen", splits), labels


def decide(path, row, choice, new_text=None, before=None):
    more = {}
    if new_text is not None:
        content = content_of(row)
        content["messages"][-1]["content"] = new_text
        more = {"content": content, "content_after": edited(row, content)["content_id"]}
    append(path, HumanDecision(record_id=row["record_id"], content_before=before or row["content_id"], choice=choice,
                               stage="screen", reason="slur", by="Ada", when="2026-11-21T10:00:00+00:00",
                               **more))  # fmt: skip


@pytest.fixture
def case(tmp_path):
    going = [chat(f"question {i}", f"answer {i}", locator=f"g{i}") for i in range(40)]
    aside = [chat(f"odd question {i}", f"odd answer {i}", locator=f"a{i}") for i in range(6)]
    path = tmp_path / "decisions.jsonl"
    decide(path, aside[0], "accept")
    decide(path, aside[1], "edit", "a better answer")
    decide(path, aside[2], "drop")
    decide(path, aside[3], "accept", before="0" * 32)  # seen with another content
    decide(path, going[0], "drop")
    decide(path, going[1], "edit", "a corrected answer")
    decide(path, going[2], "accept")
    return going, aside, path


def test_accepted_rows_return_edited_rows_are_replaced_dropped_rows_go(tmp_path, case):
    going, aside, path = case
    kept, quarantined, labels = versions(tmp_path / "v", going, aside)
    outcome = review(
        kept, ReviewConfig(decisions=(path.name,)), StageContext(tmp_path / "out", tmp_path, quarantined=[quarantined])
    )
    after = {r["record_id"]: r for r in reopened(outcome.rows, outcome.rows).iter_rows()}
    expected = {r["record_id"] for r in [*going[1:], *aside[:2]]}
    assert set(after) == expected and len(after) == outcome.rows.rows
    said = {"a better answer": aside[1], "a corrected answer": going[1]}
    for text, row in said.items():
        assert after[row["record_id"]]["messages"][-1]["content"] == text
        assert after[row["record_id"]]["content_id"] != row["content_id"]
    untouched = [*going[2:], aside[0]]
    assert all(after[r["record_id"]] == {**r, "split": labels[r["record_id"]]} for r in untouched)
    assert all(r["split"] == labels[i] for i, r in after.items())
    assert outcome.rows.manifest.parent == kept.digest


def test_the_ledger_says_who_decided_what_and_the_books_balance(tmp_path, case):
    going, aside, path = case
    kept, quarantined, _ = versions(tmp_path / "v", going, aside)
    outcome = review(
        kept, ReviewConfig(decisions=(path.name,)), StageContext(tmp_path / "out", tmp_path, quarantined=[quarantined])
    )
    lines = {line["record_id"]: line for line in outcome.ledger.read().to_pylist()}
    told = {i: (line["verdict"], line["reason"]) for i, line in lines.items()}
    assert told == {
        aside[0]["record_id"]: ("kept", "human_accepted"),
        aside[1]["record_id"]: ("changed", "human_edited"),
        aside[2]["record_id"]: ("dropped", "human_dropped"),
        going[0]["record_id"]: ("dropped", "human_dropped"),
        going[1]["record_id"]: ("changed", "human_edited"),
    }
    evidence = json.loads(lines[aside[1]["record_id"]]["evidence"])
    assert evidence["by"] == "Ada" and evidence["when"].startswith("2026") and evidence["set aside by"] == "screen"
    assert evidence["before"] == aside[1]["content_id"] != evidence["after"]
    report = outcome.report
    assert (report.rows_in, report.kept, report.dropped, report.changed) == (43, 41, 2, 2)
    assert report.counts["decisions"] == {
        "human_accepted": 1, "human_dropped": 2, "human_edited": 2, "kept anyway": 1, "not applied": 1,
    }  # fmt: skip
    assert report.tables[0].rows[0][0] == "Ada" and "1 decisions are about rows" in report.notes[0]


def test_row_order_and_shards_change_nothing(tmp_path, case):
    going, aside, path = case
    config = ReviewConfig(decisions=(path.name,))
    digests = set()
    for number, shard_rows in enumerate((None, 7, 1)):
        kept, quarantined, labels = versions(tmp_path / str(number), going, aside, shard_rows)
        outcome = review(kept, config, StageContext(tmp_path / f"out{number}", tmp_path, quarantined=[quarantined]))
        assert {r["record_id"]: r["split"] for r in outcome.rows.iter_rows()}.items() <= labels.items()
        digests.add(outcome.rows.digest)
    assert len(digests) == 1


def test_the_last_word_about_a_row_counts_over_files(tmp_path, case):
    going, aside, path = case
    decide(tmp_path / "later.jsonl", aside[0], "drop")
    kept, quarantined, _ = versions(tmp_path / "v", going, aside)
    names = (path.name, "later.jsonl")
    outcome = review(
        kept, ReviewConfig(decisions=names), StageContext(tmp_path / "out", tmp_path, quarantined=[quarantined])
    )
    assert aside[0]["record_id"] not in {r["record_id"] for r in outcome.rows.iter_rows()}
    outcome = review(
        kept, ReviewConfig(decisions=names[::-1]), StageContext(tmp_path / "out2", tmp_path, quarantined=[quarantined])
    )
    assert aside[0]["record_id"] in {r["record_id"] for r in outcome.rows.iter_rows()}


def test_without_decisions_that_fit_the_same_version_goes_on(tmp_path, case):
    going, aside, _ = case
    kept, quarantined, _ = versions(tmp_path / "v", going, aside)
    decide(tmp_path / "other.jsonl", chat("elsewhere", "unknown"), "drop")
    outcome = review(
        kept,
        ReviewConfig(decisions=("other.jsonl",)),
        StageContext(tmp_path / "out", tmp_path, quarantined=[quarantined]),
    )
    assert outcome.rows.digest == kept.digest and outcome.rows.manifest.shards == kept.manifest.shards
    assert outcome.ledger.rows == 0 and outcome.report.counts["decisions"] == {"not applied": 1}


def test_an_edit_that_was_tampered_with_is_refused(tmp_path, case):
    going, aside, path = case
    text = path.read_text()
    assert text.count("a better answer") == 1
    path.write_text(text.replace("a better answer", "another answer"))
    kept, quarantined, _ = versions(tmp_path / "v", going, aside)
    with pytest.raises(IntegrityError, match="doesn't make the content"):
        review(
            kept,
            ReviewConfig(decisions=(path.name,)),
            StageContext(tmp_path / "out", tmp_path, quarantined=[quarantined]),
        )


def test_a_missing_file_is_named(tmp_path):
    kept = dataset([chat("q", "a")], tmp_path / "v")
    with pytest.raises(InputNotFoundError, match=r"nowhere\.jsonl"):
        review(kept, ReviewConfig(decisions=("nowhere.jsonl",)), StageContext(tmp_path / "out", tmp_path))


def test_edits_are_pairs_where_they_are_wanted_and_the_answer_was_searched(tmp_path, case):
    going, aside, path = case
    decide(path, aside[4], "edit", "another answer")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace('"stage":"screen"', '"stage":"scrub"')]) + "\n")
    assert '"stage":"scrub"' in path.read_text()
    kept, quarantined, labels = versions(tmp_path / "v", going, aside)
    settings = ReviewConfig(decisions=(path.name,), edits_as_pairs=True)
    outcome = review(kept, settings, StageContext(tmp_path / "out", tmp_path, quarantined=[quarantined]))
    pairs = [r for r in outcome.rows.iter_rows() if r["kind"] == "preference"]
    assert {(p["chosen"][0]["content"], p["rejected"][0]["content"], *p["parents"], p["split"]) for p in pairs} == {
        (better, row["messages"][-1]["content"], row["record_id"], labels[row["record_id"]])
        for better, row in (("a better answer", aside[1]), ("a corrected answer", going[1]))
    }
    assert all(p["messages"][-1]["role"] == "user" for p in pairs)
    assert outcome.report.created == 2 and outcome.report.kept == outcome.rows.rows == 44
    created = [line for line in outcome.ledger.read().to_pylist() if line["verdict"] == "created"]
    assert {line["reason"] for line in created} == {"edit_as_pair"}

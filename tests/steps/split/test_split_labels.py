import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.textrows import chat, dataset, document, reopened

from steps.contracts.context import StageContext
from steps.contracts.records import make_row, message
from steps.split.config import SplitConfig
from steps.split.split import labels, position, split


def labelled(rows, folder, **settings):
    outcome = split(dataset(rows, folder / "in", 700), SplitConfig(**settings), StageContext(folder / "out"))
    return outcome, {r["record_id"]: r["split"] for r in outcome.rows.iter_rows()}


def chats(count, seed=0):
    rng = random.Random(seed)
    return [chat(f"question {rng.random()}", f"answer {i}", locator=str(i)) for i in range(count)]


def test_adding_dropping_and_shuffling_rows_changes_no_label(tmp_path):
    rows = chats(2_000)
    _, before = labelled(rows, tmp_path / "a")
    grown = rows[::2] + chats(3_000, seed=1)
    random.Random(2).shuffle(grown)
    _, after = labelled(grown, tmp_path / "b")
    common = before.keys() & after.keys()
    assert len(common) == 1_000
    assert all(before[i] == after[i] for i in common)
    assert set(after.values()) == {"train", "validation", "test"}


def test_shares_are_those_asked_for(tmp_path):
    rows = [document(f"text {i}", locator=str(i)) for i in range(6_000)]
    outcome, of = labelled(rows, tmp_path, validation=0.1, test=0.2)
    shares = {s: list(of.values()).count(s) / 6_000 for s in ("train", "validation", "test")}
    # 4 standard errors of a share of 0.7 among 6,000 rows are 0.024
    assert shares == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.024)
    assert outcome.report.counts["rows"] == {s: round(v * 6_000) for s, v in shares.items()}
    assert not any("not " in note for note in outcome.report.notes)


def test_same_prompt_stays_together(tmp_path):
    rows = [
        chat(f"Question {i // 4}?" if i % 2 else f"question  {i // 4}?", f"{i}", locator=str(i)) for i in range(2_000)
    ]
    rows = [{**r, "messages": [message("system", f"s{i}"), *r["messages"]]} for i, r in enumerate(rows)]
    _, by_prompt = labelled(rows, tmp_path / "p")
    _, by_content = labelled(rows, tmp_path / "c", group_by="content")
    groups = [[r["record_id"] for r in rows[i : i + 4]] for i in range(0, 2_000, 4)]
    assert all(len({by_prompt[i] for i in g}) == 1 for g in groups)
    assert sum(len({by_content[i] for i in g}) > 1 for g in groups) > 100
    assert len(set(by_prompt.values())) == 3


def test_chunks_of_one_parent_stay_together(tmp_path):
    rows = [document(f"chunk {i}", locator=str(i), parents=[f"file{i // 5}"]) for i in range(1_000)]
    _, of = labelled(rows, tmp_path / "p", group_by="parent")
    groups = [{of[r["record_id"]] for r in rows[i : i + 5]} for i in range(0, 1_000, 5)]
    assert all(len(g) == 1 for g in groups)
    assert len(set.union(*groups)) == 3
    _, torn = labelled(rows, tmp_path / "c")
    assert any(len({torn[r["record_id"]] for r in rows[i : i + 5]}) > 1 for i in range(0, 1_000, 5))


def test_prompts_of_different_openings_are_independent_of_later_turns(tmp_path):
    def dialogue(*texts):
        roles = ("user", "assistant") * len(texts)
        said = [message(r, t) for r, t in zip(roles, texts, strict=False)]
        return make_row(kind="conversation", source="s", locator="|".join(texts), raw=b"", messages=said)

    rows = [dialogue(f"start {i}", "a", f"then {k}", "b") for i in range(200) for k in range(3)]
    _, of = labelled(rows, tmp_path)
    ids = [r["record_id"] for r in rows]
    assert all(len({of[i] for i in ids[k : k + 3]}) == 1 for k in range(0, 600, 3))


@pytest.mark.slow
def test_another_salt_is_an_independent_split(tmp_path):
    rows = chats(3_000)
    _, a = labelled(rows, tmp_path / "a", test=0.3)
    _, b = labelled(rows, tmp_path / "b", test=0.3, salt="other")
    both = sum(a[i] == b[i] == "test" for i in a)
    assert both / 3_000 == pytest.approx(0.09, abs=0.025)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.19), st.lists(st.text(), min_size=1))
def test_a_larger_test_share_only_adds_test_rows(validation, test, more, groups):
    at = np.array([position(g, "s") for g in groups], np.uint64)
    small = labels(at, SplitConfig(validation=validation, test=test))
    large = labels(at, SplitConfig(validation=validation, test=test + more))
    assert (large[small == 2] == 2).all()
    assert (labels(at, SplitConfig(validation=0, test=0)) == 0).all()


def test_few_test_rows_and_big_groups_are_told(tmp_path):
    outcome, _ = labelled(chats(300), tmp_path / "few")
    assert any("test rows: a rate" in note for note in outcome.report.notes)
    lump = chats(1_000) + [chat("hello", f"answer {i}", locator=str(i)) for i in range(1_000)]
    outcome, _ = labelled(lump, tmp_path / "lump")
    assert outcome.report.counts["largest group"] == {"rows": 1_000}
    assert any("the largest has 1000 rows" in note for note in outcome.report.notes)
    outcome, of = labelled(chats(3), tmp_path / "tiny", test=0.01, validation=0.0)
    assert set(of.values()) == {"train"}
    assert any("No row fell into test" in note for note in outcome.report.notes)


def test_nothing_is_dropped_and_the_labels_are_on_disk(tmp_path):
    source = dataset(chats(500), tmp_path / "in")
    outcome = split(source, SplitConfig(), StageContext(tmp_path / "out"))
    again = reopened(outcome.rows, source)
    assert outcome.ledger.rows == 0
    assert again.digest == outcome.rows.digest != source.digest
    assert again.manifest.splits == outcome.report.counts["rows"]


def test_an_empty_dataset(tmp_path):
    assert labelled([], tmp_path)[0].report.kept == 0


def test_shares_that_leave_no_training_rows_are_refused():
    with pytest.raises(ValidationError, match="leave nothing for train"):
        SplitConfig(validation=0.5, test=0.5)

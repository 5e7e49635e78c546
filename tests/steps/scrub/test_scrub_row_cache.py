"""Scrub over growing data: equal to a run without row cache, and known rows are not searched again."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from support.growing import MEASURED, grown_equals_whole, same
from support.textrows import dataset

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row, make_row, message
from steps.contracts.row_cache import RowCache
from steps.scrub import detectors
from steps.scrub.config import ScrubConfig
from steps.scrub.scrub import scrub

VALUES = ("jane.doe@example.org", "(212) 555-0142", "4111 1111 1111 1111", "10.1.2.3", "staff AB-1234")
WORDS = ("order", "my card", "the answer is 42", "call", "Zeile", "日本語", "mail to", "")
PATTERNS = {"STAFF_ID": r"\b[A-Z]{2}-\d{4}\b"}


def random_rows(seed: int, n: int) -> list[Row]:
    """Conversations and documents; some say the same, some hold values in text, in meta or in both."""
    dice = random.Random(seed)
    rows = []
    for number in range(n):
        texts = [
            " ".join(dice.choice(WORDS + VALUES) for _ in range(dice.randint(0, 6))) for _ in range(dice.randint(1, 3))
        ]
        meta = {"who": dice.choice(VALUES)} if dice.random() < 0.2 else {}
        said = {"messages": [message("user", t) for t in texts]} if dice.random() < 0.7 else {"text": texts[0]}
        kind = "conversation" if "messages" in said else "document"
        rows.append(make_row(kind=kind, source="s", locator=f"line:{number}", raw=b"%d" % number, meta=meta, **said))  # type: ignore[arg-type]
    return rows


def cache_of(outcome: Outcome) -> RowCache:
    found: RowCache = outcome.artifacts["scrub_row_cache"]
    return found


def run(data: Dataset, folder: Path, row_cache: RowCache | None = None, code: str = "", **settings: Any) -> Outcome:
    config = ScrubConfig(demo_key=True, patterns=PATTERNS, **settings)
    return scrub(data, config, StageContext(folder, earlier={"scrub_row_cache": row_cache}, code=code))


class Searched:
    """Counts the texts that a detector was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        find = detectors.Detectors.find

        def counting(found_by: detectors.Detectors, texts: Any) -> Any:
            given = list(texts)
            self.texts += given
            return find(found_by, given)

        monkeypatch.setattr(detectors.Detectors, "find", counting)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 6))])
def test_growing_data_gives_what_a_whole_run_gives(tmp_path: Path, seed: int) -> None:
    settings: dict[str, Any] = {"mode": "redact"} if seed % 2 else {}
    reused, computed = grown_equals_whole(
        random_rows(seed, 60), lambda data, folder, row_cache: run(data, folder, row_cache, **settings), tmp_path, seed
    )
    assert reused > 0 and computed > 0


def test_known_rows_are_not_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(1, 40)
    first = run(dataset(rows, tmp_path / "in"), tmp_path / "first")
    searched = Searched(monkeypatch)
    again = run(dataset(rows[::-1], tmp_path / "again"), tmp_path / "second", cache_of(first))
    assert searched.texts == []
    assert again.report.changed == first.report.changed > 5
    assert again.report.notes[-1] == "40 rows taken from the earlier run, 0 computed"
    # Nothing like a value: not searched at all. Seven digits: searched, nothing found.
    new = ["a new text", "count to seven: 1 2 3 4 5 6 7"]
    more = [make_row(kind="document", source="s", locator=t, raw=b"n", text=t) for t in new]
    run(dataset([*rows, *more], tmp_path / "more"), tmp_path / "third", cache_of(again))
    assert searched.texts == new[1:]


def test_the_row_cache_holds_no_value(tmp_path: Path) -> None:
    done = run(dataset(random_rows(2, 80), tmp_path / "in"), tmp_path / "out")
    import pyarrow.parquet as pq

    results = [r for r in pq.read_table(cache_of(done).folder / "results.parquet")["result"].to_pylist() if r]
    assert len(results) > 20
    for text in (*results, (cache_of(done).folder / "manifest.json").read_text()):
        assert not any(value in text for value in VALUES)
    assert {name for r in results for name in json.loads(r)} <= {
        "text", "meta/who", *(f"messages/{i}/content" for i in range(3))
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "code", "why"),
    [({"threshold": 0.9}, "", "settings"), ({}, "other", "code"), ({"mode": "mask"}, "", "settings")],
)
def test_other_settings_or_code_search_everything(tmp_path: Path, settings: Any, code: str, why: str) -> None:
    data = dataset(random_rows(3, 30), tmp_path / "in")
    first = run(data, tmp_path / "first")
    other = run(data, tmp_path / "other", cache_of(first), code, **settings)
    same(other, run(data, tmp_path / "whole", None, code, **settings))
    assert other.report.notes[-1].startswith("30 rows recomputed because") and why in other.report.notes[-1]


@pytest.mark.slow
def test_where_the_work_is_done_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(random_rows(4, 30), tmp_path / "in")
    first = run(data, tmp_path / "first")
    searched = Searched(monkeypatch)
    run(data, tmp_path / "again", cache_of(first), on_undecided="drop")
    assert searched.texts == []


@pytest.mark.slow
def test_another_key_searches_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(random_rows(5, 20), tmp_path / "in")
    first = run(data, tmp_path / "first")
    monkeypatch.setenv("ASSAY_PII_KEY", "k" * 64)
    other = scrub(
        data,
        ScrubConfig(patterns=PATTERNS),
        StageContext(tmp_path / "other", earlier={"scrub_row_cache": cache_of(first)}),
    )
    assert "the pseudonym key" in other.report.notes[-1]


def test_a_row_on_which_a_detector_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(6, 20)
    find = detectors.Detectors.find
    bad = "a bad text"
    odd = make_row(kind="document", source="s", locator="odd", raw=b"o", text=bad, meta={"who": VALUES[0]})
    data = dataset([*rows, odd], tmp_path / "odd")

    def failing(found_by: detectors.Detectors, texts: Any) -> Any:
        return {t: None if t == bad else f for t, f in find(found_by, texts).items()}

    with monkeypatch.context() as patched:
        patched.setattr(detectors.Detectors, "find", failing)
        first = run(data, tmp_path / "first", on_undecided="keep")
    assert first.report.undecided == 1
    again = run(data, tmp_path / "again", cache_of(first), on_undecided="keep")
    same(again, run(data, tmp_path / "whole", on_undecided="keep"))
    assert again.report.undecided == 0
    assert again.report.model_dump(include=MEASURED)["notes"][-1] == "20 rows taken from the earlier run, 1 computed"


def test_rows_that_are_all_known_and_clean(tmp_path: Path) -> None:
    rows = [make_row(kind="document", source="s", locator=str(i), raw=b"r", text=f"clean {i}") for i in range(9)]
    data = dataset(rows, tmp_path / "in")
    first = run(data, tmp_path / "first")
    again = run(data, tmp_path / "again", cache_of(first))
    same(first, again)
    assert again.report.changed == 0 and again.rows.manifest.shards == data.manifest.shards

"""A kept index is followed where that gives what a whole run gives; elsewhere everything is compared again."""

import random
from pathlib import Path
from typing import Any

import pytest
from support.growing import same
from support.textrows import dataset, document

from steps.contracts.context import StageContext
from steps.contracts.dedup_index import DedupIndex
from steps.contracts.errors import ConfigError
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup, dedup_onto

WORDS = [f"word{i}" for i in range(40)]


def rows_of(batch: int, seed: int) -> list[Row]:
    dice = random.Random(seed)
    texts = [" ".join(dice.choices(WORDS, k=25)) for _ in range(12)]
    return [document(t, batch=batch, locator=f"{batch}:{n}") for n, t in enumerate([*texts, *texts[:4]])]


def run(rows: list[Row], folder: Path, index: DedupIndex | None, code: str = "c", **settings: Any) -> Outcome:
    return dedup(
        dataset(rows, folder / "in"),
        DedupConfig(**settings),
        StageContext(folder, earlier={"dedup_index": index}, keep=True, code=code),
    )


OLD, NEW = rows_of(0, 1), [*rows_of(1, 2), *rows_of(1, 1)]


@pytest.fixture
def index(tmp_path: Path) -> DedupIndex:
    return run(OLD, tmp_path / "old", None).artifacts["dedup_index"]


@pytest.mark.parametrize(
    ("rows", "settings", "code", "why"),
    [
        ([*OLD, *NEW], {"threshold": 0.8}, "c", "other dedup settings"),
        ([*OLD, *NEW], {}, "new", "another version of the code"),
        ([*OLD[1:], *NEW], {}, "c", "1 rows of the kept index are not in the data"),
        ([*OLD, *rows_of(0, 7)], {}, "c", "new rows are of batch 0"),
    ],
)
def test_where_it_cannot_be_followed_everything_is_compared(
    tmp_path: Path, index: DedupIndex, rows: list[Row], settings: Any, code: str, why: str
) -> None:
    done = run(rows, tmp_path / "new", index, code, **settings)
    same(done, run(rows, tmp_path / "whole", None, code, **settings))
    assert done.report.notes[-1].startswith(f"{len(rows)} rows compared anew") and why in done.report.notes[-1]
    assert done.artifacts["dedup_index"].manifest.rows == len(rows)


def test_where_it_can_be_followed_old_rows_are_not_read(tmp_path: Path, index: DedupIndex) -> None:
    done = run([*OLD, *NEW], tmp_path / "new", index)
    same(done, run([*OLD, *NEW], tmp_path / "whole", None))
    assert any("16 rows known from the earlier run, 32 rows read" in n for n in done.report.notes)


def test_an_empty_index_is_none(tmp_path: Path) -> None:
    data = dataset(OLD, tmp_path / "in")
    empty = dedup(data, DedupConfig(), StageContext(tmp_path / "a", code="c")).artifacts["dedup_index"]
    assert DedupIndex.open(empty.folder).manifest.rows == 0
    done = run(OLD, tmp_path / "b", empty)
    assert not any("earlier run" in n for n in done.report.notes)


def test_the_refusal_itself(tmp_path: Path, index: DedupIndex) -> None:
    with pytest.raises(ConfigError, match="way out: run once without reuse"):
        dedup_onto(index, dataset(OLD, tmp_path / "in"), DedupConfig(), StageContext(tmp_path / "out", code="other"))


def test_comparisons_of_all_runs_are_counted(tmp_path: Path) -> None:
    dice = random.Random(3)
    texts = [" ".join(dice.choices(WORDS, k=40)) for _ in range(6)]
    near = [[document(f"{t} {end}", batch=batch, locator=f"{batch}:{n}") for n, t in enumerate(texts)]
            for batch, end in enumerate(["one", "two", "three"])]  # fmt: skip
    first = run([*near[0], *near[1]], tmp_path / "first", None)
    assert first.report.counts["comparison"] == {
        "distinct token streams": 12, "exact comparisons": 6, "streams whose comparisons were capped": 0
    }  # fmt: skip
    both = run([*near[0], *near[1], *near[2]], tmp_path / "both", first.artifacts["dedup_index"])
    # A new row that falls to the one that was kept isn't compared with the one that was dropped.
    assert both.report.counts["comparison"] == {
        "distinct token streams": 18, "exact comparisons": 12, "streams whose comparisons were capped": 0
    }  # fmt: skip
    assert (first.artifacts["dedup_index"].manifest.compared, both.report.kept) == (6, 6)
    nothing_new = run([*near[0], *near[1]], tmp_path / "same", first.artifacts["dedup_index"])
    assert nothing_new.report.counts["comparison"] == first.report.counts["comparison"]

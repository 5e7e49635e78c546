"""What several steps found in shares of the rows makes scrub's result the same, and spares it the search."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.growing import same
from support.textrows import chat, dataset

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.outcome import Outcome
from steps.contracts.row_cache import RESULTS, RowCache
from steps.engines.rowwise.share import Share
from steps.scrub import redactor
from steps.scrub.config import ScrubConfig
from steps.scrub.scrub import scrub, scrub_share

ROWS = [chat(f"Write to box{i}@example.org.", "It is closed." if i % 3 else "Call (212) 555-0142.") for i in range(20)]
CONFIG = ScrubConfig(demo_key=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset(ROWS, tmp_path_factory.mktemp("in"), shard_rows=7)


@pytest.fixture(scope="module")
def alone(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return scrub(data, CONFIG, StageContext(tmp_path_factory.mktemp("alone")))


@pytest.fixture(scope="module")
def shares(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sequence[RowCache]:
    contexts = [StageContext(tmp_path_factory.mktemp("share")) for _ in range(3)]
    return [scrub_share(data, CONFIG, ctx, Share(n, 3)) for n, ctx in enumerate(contexts)]


def searched_by(data: Dataset, ctx: StageContext, monkeypatch: pytest.MonkeyPatch) -> tuple[Outcome, list[str]]:
    """The outcome, and the texts that were searched for it."""
    searched: list[str] = []
    find = redactor.Redactor.find

    def noted(self, texts, detectors):
        given = list(texts)
        searched.extend(given)
        return find(self, given, detectors)

    monkeypatch.setattr(redactor.Redactor, "find", noted)
    return scrub(data, CONFIG, ctx), searched


@pytest.mark.slow
def test_shares_make_no_difference_and_nothing_is_searched_again(
    data: Dataset, alone: Outcome, shares: Sequence[RowCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [share.manifest.rows for share in shares] == [7, 7, 6]
    together, searched = searched_by(data, StageContext(tmp_path, shares=shares), monkeypatch)
    same(alone, together)
    assert alone.report.notes == together.report.notes
    assert searched == []
    caches = [pq.read_table(o.artifacts["scrub_row_cache"].folder / RESULTS) for o in (alone, together)]
    assert caches[0] == caches[1]


def test_what_no_share_has_is_computed(
    data: Dataset, alone: Outcome, shares: Sequence[RowCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, searched = searched_by(data, StageContext(tmp_path, shares=shares[1:]), monkeypatch)
    same(alone, together)
    assert len(searched) == 14


def test_shares_under_another_key_are_left_aside(
    data: Dataset, alone: Outcome, shares: Sequence[RowCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = StageContext(tmp_path, key_id="another", shares=shares)
    together, searched = searched_by(data, ctx, monkeypatch)
    same(alone, together)
    assert len(searched) == 40


def test_a_share_holds_no_text_of_a_row(shares: Sequence[RowCache]) -> None:
    for share in shares:
        said = "".join(map(str, pq.read_table(share.folder / RESULTS).to_pylist()))
        assert "EMAIL_ADDRESS" in said and "example" not in said and "555" not in said

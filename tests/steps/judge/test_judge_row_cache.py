"""The judge over growing data: equal to a run without row cache, and known rows are not judged again."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support.growing import grown_equals_whole, same
from support.judge_rows import random_rows
from support.textrows import chat, dataset, document

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.outcome import Outcome
from steps.contracts.row_cache import RowCache
from steps.judge.config import JudgeConfig
from steps.judge.heuristic import HeuristicJudge
from steps.judge.judge import judge


def cache_of(outcome: Outcome) -> RowCache:
    found: RowCache = outcome.artifacts["judge_row_cache"]
    return found


def run(data: Dataset, folder: Path, row_cache: RowCache | None = None, code: str = "", **settings: Any) -> Outcome:
    return judge(
        data,
        JudgeConfig(**settings),
        StageContext(folder, cache=folder / "cache", earlier={"judge_row_cache": row_cache}, code=code, scrubbed=True),
    )


def labelled(data: Dataset, folder: Path) -> Dataset:
    """With split labels that depend on the rows' content alone."""
    import numpy as np

    codes = [int(row["content_id"][:2], 16) % 4 - 1 for row in data.iter_rows()]
    return data.select(np.ones(data.rows, bool), folder, "split", np.array(codes, np.int8))


class Judged:
    """Counts the rows that the backend was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        verdicts = HeuristicJudge.verdicts

        def counting(backend: HeuristicJudge, cases: Any) -> Any:
            self.rows += len(cases)
            return verdicts(backend, cases)

        monkeypatch.setattr(HeuristicJudge, "verdicts", counting)


def verdicts(folder: Path) -> list[str]:
    return sorted(map(str, pq.read_table(folder / "verdicts.parquet").to_pylist()))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_growing_data_gives_what_a_whole_run_gives(tmp_path: Path, seed: int) -> None:
    def stage(data: Dataset, folder: Path, row_cache: RowCache | None) -> Outcome:
        return run(labelled(data, folder / "labels"), folder, row_cache, threshold=0.9, undecided="drop")

    reused, computed = grown_equals_whole(random_rows(seed, 60), stage, tmp_path, seed)
    assert reused > 0 and computed > 0
    for folder in tmp_path.iterdir():
        assert verdicts(folder / "grown") == verdicts(folder / "whole")


def test_known_rows_are_not_judged_again_whatever_the_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(1, 50)
    first = run(dataset(rows, tmp_path / "in"), tmp_path / "first")
    judged = Judged(monkeypatch)
    data = dataset([*rows, chat("What is new?", "This row is.")], tmp_path / "more")
    again = run(data, tmp_path / "again", cache_of(first), threshold=1.0)
    assert judged.rows == 1
    assert again.report.notes[-1] == "50 rows taken from the earlier run, 1 computed"
    same(again, run(data, tmp_path / "whole", threshold=1.0))
    assert again.report.dropped >= first.report.dropped > 0


def test_other_signals_judge_everything(tmp_path: Path) -> None:
    data = dataset(random_rows(2, 30), tmp_path / "in")
    first = run(data, tmp_path / "first")
    other = run(data, tmp_path / "other", cache_of(first), signals={"repeats_itself": "off"})
    same(other, run(data, tmp_path / "whole", signals={"repeats_itself": "off"}))
    assert other.report.notes[-1] == "30 rows recomputed because the judge settings changed since the earlier run"
    code = run(data, tmp_path / "code", cache_of(first), code="new")
    assert "the code of judge" in code.report.notes[-1]


def test_a_model_is_asked_about_new_and_undecided_rows_only(tmp_path: Path) -> None:
    def answer(n: int, body: dict[str, Any]) -> Act:
        asked.append(body["messages"][1]["content"])
        return completion("hm") if "lamp 3" in asked[-1] and not mended else completion(verdict(4, 5, 3, 4))

    asked: list[str] = []
    mended = False
    rows = [chat(f"How much is lamp {i}?", f"It is {i} euros.") for i in range(6)]
    with ScriptedServer(answer) as server:
        endpoint = {"base_url": server.url, "model": "m", "max_attempts": 1}
        settings: dict[str, Any] = {"backend": "llm", "endpoint": endpoint, "max_undecided_share": 1.0}
        first = run(dataset(rows, tmp_path / "in"), tmp_path / "first", **settings)
        assert first.report.undecided == 1 and len(asked) == 6
        asked.clear()
        mended = True
        data = dataset([*rows[::-1], chat("How much is lamp 7?", "It is 7 euros.")], tmp_path / "more")
        # Another machine: what was bought before isn't there, the row cache is.
        again = run(data, tmp_path / "again", cache_of(first), **settings)
        assert sorted(a[a.index("lamp") :][:6] for a in asked) == ["lamp 3", "lamp 7"]
        whole = run(data, tmp_path / "whole", **settings)
    assert again.rows.digest == whole.rows.digest and again.report.dropped_by == whole.report.dropped_by
    scores = [(o.report.tables[0].rows, o.ledger.rows) for o in (again, whole)]
    assert scores[0] == scores[1]


def test_rows_that_are_all_known_and_say_nothing(tmp_path: Path) -> None:
    data = dataset(
        [document(f"The lamp number {i} is sent on Monday to Lund.", locator=str(i)) for i in range(9)], tmp_path
    )
    first = run(data, tmp_path / "first")
    again = run(data, tmp_path / "again", cache_of(first))
    same(first, again)
    assert set(pq.read_table(cache_of(again).folder / "results.parquet")["result"].to_pylist()) == {""}

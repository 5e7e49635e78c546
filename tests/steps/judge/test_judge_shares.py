"""Verdicts reached by several steps on shares of the rows: the same result, nothing bought twice, one limit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, reasoning_model, verdict
from support.growing import same
from support.judge_rows import random_rows
from support.object_store import s3, s3_server  # noqa: F401 - fixtures
from support.textrows import chat, dataset

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.outcome import Outcome
from steps.contracts.row_cache import RESULTS, RowCache
from steps.engines.llm.endpoint import Endpoint
from steps.engines.rowwise.share import Share
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge, judge_share

# A reply costs 100 * 0.001 + 10 * 0.01 = 0.2; what it may cost at most, of 10 tokens, is about 0.9.
PRICES = {"price_per_million_input": 1000.0, "price_per_million_output": 10_000.0}


def config(url: str, **more: Any) -> JudgeConfig:
    quick = {"initial_backoff_seconds": 0.01, "max_backoff_seconds": 0.02, "timeout_seconds": 30.0, "max_attempts": 2}
    server = Endpoint(base_url=url, model="m", **{**quick, **more.pop("endpoint", {})})
    return JudgeConfig(**{"backend": "llm", "endpoint": server, "max_undecided_share": 1.0, **more})


def rows_of(n: int, folder: Path) -> Dataset:
    """Every third row says what another one says."""
    said = [i if i % 3 else i // 2 for i in range(n)]
    return dataset([chat(f"Question {i}?", f"Answer {i}.", locator=str(at)) for at, i in enumerate(said)], folder)


def asked(server: ScriptedServer) -> list[str]:
    return [body["messages"][1]["content"] for body in server.bodies]


def decides(_: int, body: dict[str, Any]) -> Act:
    """One reply in four is of no use, one in four is bad; which ones depends on the question alone."""
    kind = sum(body["messages"][1]["content"].encode()) % 4
    return completion("hm" if kind == 0 else verdict(1) if kind == 1 else verdict(5))


def of_run(folder: Path, run: str = "r1", **more: Any) -> StageContext:
    return StageContext(
        folder / "out" / more.pop("part", "own"), cache=folder / "judge", scrubbed=True, run=run, **more
    )


def shares_of(data: Dataset, settings: JudgeConfig, folder: Path, of: int = 3, run: str = "r1") -> list[RowCache]:
    """All shares at once, as steps side by side."""

    def one(n: int) -> RowCache:
        return judge_share(data, settings, of_run(folder, run, part=f"{run} {n}"), Share(n, of))

    with ThreadPoolExecutor(of) as threads:
        return list(threads.map(one, range(of)))


def verdicts(outcome: Outcome) -> list[dict[str, Any]]:
    lines = pq.read_table(outcome.artifacts["verdicts"].path).to_pylist()
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def results(outcome: Outcome) -> Any:
    return pq.read_table(outcome.artifacts["judge_row_cache"].folder / RESULTS)


def alike(alone: Outcome, together: Outcome) -> None:
    same(alone, together)
    assert alone.report.notes[:-1] == together.report.notes[:-1]
    assert verdicts(alone) == verdicts(together) and results(alone) == results(together)


def test_by_signals_nothing_differs_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(random_rows(5, 90), tmp_path / "in", shard_rows=40)
    alone = judge(data, JudgeConfig(), of_run(tmp_path / "alone"))
    shares = shares_of(data, JudgeConfig(), tmp_path)
    assert sum(s.manifest.rows for s in shares) >= results(alone).num_rows
    monkeypatch.setattr("steps.judge.heuristic.HeuristicJudge.verdicts", lambda *_: pytest.fail("judged again"))
    together = judge(data, JudgeConfig(), of_run(tmp_path, shares=shares))
    alike(alone, together)
    files = [o.artifacts["verdicts"].path.read_bytes() for o in (alone, together)]
    assert files[0] == files[1]


def test_a_model_is_asked_once_per_question_and_the_result_is_that_of_one_step(tmp_path: Path) -> None:
    data = rows_of(40, tmp_path / "in")
    with ScriptedServer(decides) as server:
        settings = config(server.url, **PRICES)
        alone = judge(data, settings, of_run(tmp_path / "alone"))
        paid = sorted(asked(server))
        server.bodies.clear()
        shares = shares_of(data, settings, tmp_path)
        assert sorted(asked(server)) == paid and len(set(paid)) == len(paid)
        together = judge(data, settings, of_run(tmp_path, shares=shares))
    assert len(server.bodies) == len(paid)
    assert alone.report.counts["requests"]["cache hits"] > 0 and alone.report.undecided > 0
    alike(alone, together)


def test_what_the_server_wanted_otherwise_is_in_the_report_of_the_stage(tmp_path: Path) -> None:
    data = rows_of(12, tmp_path / "in")
    with ScriptedServer(reasoning_model(completion(verdict(5)))) as server:
        alone = judge(data, config(server.url), of_run(tmp_path / "alone"))
        together = judge(
            data, config(server.url), of_run(tmp_path, shares=shares_of(data, config(server.url), tmp_path))
        )
    assert len(alone.report.warnings) == 2 and together.report.warnings == alone.report.warnings


def test_replies_that_are_gone_leave_the_verdicts_of_the_shares(tmp_path: Path) -> None:
    data = rows_of(12, tmp_path / "in")
    with ScriptedServer(lambda n, body: completion(verdict(4))) as server:
        shares = shares_of(data, config(server.url), tmp_path)
        before = len(server.bodies)
        ctx = StageContext(tmp_path / "elsewhere", cache=tmp_path / "empty", scrubbed=True, run="r1", shares=shares)
        outcome = judge(data, config(server.url), ctx)
    assert len(server.bodies) == before and outcome.report.kept == 12
    assert {v["raw_reply"] for v in verdicts(outcome)} == {None}


@pytest.mark.parametrize(("concurrency", "of"), [(6, 3), (5, 3), (2, 2)])
def test_all_shares_together_send_no_more_at_once_than_the_config_says(
    tmp_path: Path, concurrency: int, of: int
) -> None:
    data = rows_of(30, tmp_path / "in")
    with ScriptedServer(lambda n, body: Act(body=completion(verdict(5)).body, delay=0.05)) as server:
        settings = config(server.url, endpoint={"concurrency": concurrency})
        assert settings.most_shares() == concurrency
        parts = [settings.of_share(n, of).endpoint for n in range(of)]
        assert sum(e.concurrency for e in parts if e) == concurrency
        shares_of(data, settings, tmp_path, of)
    assert of <= server.most_at_once <= concurrency


def bought(server: ScriptedServer) -> float:
    return 0.2 * len(server.bodies)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1.8, 12.0])
def test_shares_and_the_stage_together_keep_the_limit_and_use_it(tmp_path: Path, limit: float) -> None:
    data = rows_of(120, tmp_path / "in")
    with ScriptedServer(lambda n, body: completion(verdict(5))) as server:
        settings = config(server.url, **PRICES, max_cost=limit, endpoint={"concurrency": 3, "max_tokens": 10})
        shares = shares_of(data, settings, tmp_path)
        by_shares = bought(server)
        alone = settings.model_copy(update={"endpoint": settings.of_share(0, 3).endpoint})
        together = judge(data, alone, of_run(tmp_path, shares=shares))
    table = next(t for t in together.report.tables if t.title == "Tokens and cost")
    assert table.rows[0][3] == pytest.approx(bought(server))
    # A third of 1.8 is less than a single request may cost, so that no share dares to send one; a third of 12 isn't.
    # What they leave of the limit the stage's own step spends, one request at a time here.
    assert by_shares == 0 if limit < 2 else by_shares > 8
    assert by_shares < bought(server) <= limit < bought(server) + 1.0
    assert together.report.counts["undecided by reason"]["max_cost"] > 0


def test_a_share_that_is_tried_again_has_no_new_limit(tmp_path: Path) -> None:
    data = rows_of(60, tmp_path / "in")
    with ScriptedServer(lambda n, body: completion(verdict(5))) as server:
        settings = config(server.url, **PRICES, max_cost=3.0, endpoint={"concurrency": 1, "max_tokens": 10})
        sent = []
        for run in ("r1", "r1", "r2"):
            judge_share(data, settings, of_run(tmp_path, run), Share(0, 1))
            sent.append(len(server.bodies))
    assert 10 < sent[0] == sent[1] <= 15 and sent[2] > sent[1]


CHILD = """
import sys
from pathlib import Path
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.engines.rowwise.share import Share
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge_share
base = Path(sys.argv[1])
ctx = StageContext(base / "killed", cache=Path(sys.argv[2]) / "judge", scrubbed=True, run="r1")
judge_share(Dataset.open(base / "in"), JudgeConfig.model_validate_json(sys.argv[3]), ctx, Share(0, 2))
"""


def killed_share(folder: Path, settings: JudgeConfig, server: ScriptedServer, after: int, home: Path) -> None:
    """A share's process, killed (SIGKILL) once it has sent so many requests."""
    given = [str(folder), str(home), settings.model_dump_json()]
    child = subprocess.Popen([sys.executable, "-c", CHILD, *given])
    while len(server.bodies) < after:
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    # What was on its way reaches the server.
    time.sleep(0.3)


@pytest.mark.slow
@pytest.mark.parametrize("resumed_on", ["one", "another"])
def test_after_kill_9_a_share_goes_on_within_what_is_left_of_its_limit(
    tmp_path: Path, resumed_on: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same machine, or on another one that shares a durable state in S3."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "one"))
    if resumed_on == "another":
        monkeypatch.setenv("ASSAY_STATE_URI", f"{request.getfixturevalue('s3')}/{tmp_path.name}/state")
    data = rows_of(160, tmp_path / "in")
    with ScriptedServer(lambda n, body: Act(body=completion(verdict(5)).body, delay=0.03)) as server:
        settings = config(server.url, **PRICES, max_cost=60.0, endpoint={"concurrency": 4, "max_tokens": 10})
        killed_share(tmp_path, settings, server, 20, tmp_path / "one")
        before = len(server.bodies)
        monkeypatch.setenv("ASSAY_STATE", str(tmp_path / resumed_on))
        home = tmp_path / resumed_on
        ctx = [StageContext(tmp_path / f"s{n}", cache=home / "judge", scrubbed=True, run="r1") for n in range(3)]
        shares: Sequence[RowCache] = [judge_share(data, settings, ctx[n], Share(n, 2)) for n in range(2)]
        assert len(server.bodies) > before
        own = StageContext(tmp_path / "own", cache=home / "judge", scrubbed=True, run="r1", shares=shares)
        together = judge(data, settings, own)
    questions = asked(server)
    again = len(questions) - len(set(questions))
    # Only what was on its way when the share died is sent again: two of the four requests at once were the share's.
    assert again <= 2 and bought(server) <= 60.0
    # Counted at its highest price is also one whose reply had come, and wasn't accounted for yet.
    lost = [int(n.split()[0]) for n in together.report.notes if "on their way" in n]
    assert again <= sum(lost) <= 2
    assert together.report.kept == 160

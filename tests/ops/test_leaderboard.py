"""`assay leaderboard`: every evaluation on record, one board per task and rows."""

import json
from pathlib import Path

import pytest
from support import modelled_run
from support.stored_run import StoredRun
from typer.testing import CliRunner

from ops.leaderboard import _board
from ops.main import app
from ops.measured import kept_folder
from steps.contracts.evaluation import Estimate, EvalReport, Metric, TaskResult
from steps.contracts.models import ModelFolder

ROOT = Path(__file__).resolve().parents[2]
KEY = ("mail", "qa-1", "d1")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: ModelFolder) -> StoredRun:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return modelled_run.build(tmp_path / "work", tiny_model)


def invoke(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return done.exit_code, done.output


@pytest.mark.slow
def test_what_was_compared_stands_on_the_board_and_what_is_damaged_is_told(run: StoredRun, tmp_path: Path) -> None:
    status, out = invoke("leaderboard")
    assert status != 0 and "no evaluation" in out
    assert invoke("compare", "run:shop/base", "run:shop")[0] == 0
    page = tmp_path / "board.html"
    status, out = invoke("leaderboard", "--out", page, "--json")
    assert status == 0
    (board, *_) = json.loads(out[out.index("[") :])
    assert board["task"] == "held_out" and {e["name"] for e in board["entries"]} == {"run:shop/base", "run:shop"}
    values = [e["metric"]["estimate"]["value"] for e in board["entries"]]
    better = board["entries"][0]["metric"]["higher_is_better"]
    assert values == sorted(values, reverse=better)
    assert "run:shop/base" in page.read_text() and "<script" not in page.read_text()
    assert invoke("leaderboard", "--task", "nothing_such")[0] != 0

    one = next(p for p in kept_folder(ROOT).glob("*/report.json"))
    one.write_bytes(one.read_bytes().replace(b'"n":', b'"n" :', 1))
    status, out = invoke("leaderboard")
    assert status == 0 and "not a whole evaluation" in out and ("run:shop " in out) != ("run:shop/base" in out)


def report(name: str, digest: str, **values: tuple[float, bool | None]) -> EvalReport:
    metrics = tuple(
        Metric(name=m, estimate=Estimate(value=v, low=v, high=v, n=9), higher_is_better=up)
        for m, (v, up) in values.items()
    )
    task = TaskResult(task=KEY[0], version=KEY[1], kind="qa", data_digest=KEY[2], n=9, metrics=metrics)
    return EvalReport(subject=name, model_digest=digest, dataset_digest="d", tasks=(task,), decoding="{}", seconds=0,
                      cpu_seconds=0)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "up", "order"),
    [((0.2, 0.9, 0.5), True, "bca"), ((0.2, 0.9, 0.5), False, "acb"), ((0.2, -0.9, -0.1), None, "cab")],
)
def test_the_best_is_first_whichever_way_is_good_and_a_model_stands_there_once(values, up, order) -> None:
    found = [(report(n, n, exact_match=(v, up)), "run", "now") for n, v in zip("abc", values, strict=True)]
    older = (report("z", "a", exact_match=(1.0, up)), "older", "then")
    board = _board(KEY, [*found, older], None)
    assert board is not None and "".join(e.name for e in board.entries) == order
    assert _board(KEY, found, "rouge_l") is None

"""A judge that doesn't agree with people is stopped before it is paid."""

import re
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support.gold import written
from support.textrows import chat, dataset, ledger_lines

from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.outcome import Outcome
from steps.engines.llm.endpoint import Endpoint
from steps.judge.calibration_config import CalibrationConfig
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge

LABELS = [1, 5, 4, 2, 3]


def right(_: int, body: dict[str, Any]) -> Act:
    return completion(verdict(LABELS[_number(body) % 5]))


def wrong(_: int, body: dict[str, Any]) -> Act:
    return completion(verdict(6 - LABELS[_number(body) % 5]))


def _number(body: dict[str, Any]) -> int:
    return int(re.search(r"Answer (\d+)", body["messages"][1]["content"])[1])


def run(folder: Path, script: Any, **wanted: Any) -> tuple[Outcome, int]:
    """100 rows, of which the first 40 are labelled by their ids."""
    rows = [chat(f"Question {i}?", f"Answer {i}.", locator=str(i)) for i in range(100)]
    labels = [{"record_id": r["record_id"], "label": LABELS[i % 5]} for i, r in enumerate(rows[:40])]
    gold = written(folder, *labels)
    asked = CalibrationConfig(gold=gold.name, **wanted)
    with ScriptedServer(script) as server:
        try:
            config = JudgeConfig(backend="llm", endpoint=Endpoint(base_url=server.url, model="m"), calibration=asked)
            ctx = StageContext(folder / "out", root=folder, cache=folder / "cache", scrubbed=True)
            return judge(dataset(rows, folder / "in"), config, ctx), len(server.bodies)
        finally:
            (folder / "asked").write_text(str(len(server.bodies)))


def test_a_judge_that_agrees_goes_on_and_buys_nothing_twice(tmp_path: Path) -> None:
    outcome, asked = run(tmp_path, right, min_kappa=0.8, min_auroc=0.9, min_agreement=0.9, by="lower_end", min_rows=40)
    assert asked == 100 and outcome.report.kept == 40 and outcome.report.dropped == 60
    table = next(t for t in outcome.report.tables if t.title == "The judge beside people's labels")
    assert ("overall", 40, "quadratic kappa", 1.0) in [row[:4] for row in table.rows]


def test_one_that_doesnt_is_refused_before_it_is_paid_for_the_rest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"quadratic kappa -1.00 \[.* of 40 rows, min_kappa is 0.4; no other row"):
        run(tmp_path, wrong, min_kappa=0.4)
    assert (tmp_path / "asked").read_text() == "40"


def test_or_all_rows_are_set_aside(tmp_path: Path) -> None:
    outcome, asked = run(tmp_path, wrong, min_agreement=0.9, below="quarantine")
    assert asked == 40 and outcome.report.quarantined == 100 and outcome.report.undecided == 100
    assert {line["reason"] for line in ledger_lines(outcome)} == {"undecided:judge_not_trusted"}
    assert any("wasn't trusted" in w for w in outcome.report.warnings)


def test_too_few_labels_say_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="40 labelled rows have a verdict, min_rows is 41"):
        run(tmp_path, right, min_kappa=0.4, min_rows=41)


def test_the_lower_end_is_stricter_than_the_figure(tmp_path: Path) -> None:
    def near(_: int, body: dict[str, Any]) -> Act:
        number = _number(body)
        return completion(verdict(LABELS[(number + (number % 7 == 0)) % 5]))

    run(tmp_path, near, min_agreement=0.85)
    with pytest.raises(ConfigError, match=r"agreement 0\.9"):
        run(tmp_path, near, min_agreement=0.85, by="lower_end")


def test_settings_without_a_minimum_are_refused() -> None:
    with pytest.raises(ValueError, match="set min_kappa"):
        CalibrationConfig(gold="gold.jsonl")

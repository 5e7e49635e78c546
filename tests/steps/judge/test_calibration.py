"""A judge beside labels: figures worked out by hand, nothing bought twice."""

import re
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support.gold import nothing, written

from steps.contracts.context import StageContext
from steps.engines.llm.endpoint import Endpoint
from steps.judge.calibration import Calibration, calibrate
from steps.judge.config import JudgeConfig
from steps.judge.gold import read_gold
from steps.judge.judge import backend_for


def line(number: int, **said: Any) -> dict[str, Any]:
    return {"prompt": f"Question {number}?", "completion": f"Answer {number}.", **said}


def scores(by_number: dict[int, Any]) -> Any:
    """The judge gives each row the scores of its number."""

    def script(_: int, body: dict[str, Any]) -> Act:
        number = int(re.search(r"Answer (\d+)", body["messages"][1]["content"])[1])
        given = by_number[number]
        return completion(given if isinstance(given, str) else verdict(*given))

    return script


def found(folder: Path, script: Any, gold: Path, **more: Any) -> tuple[Calibration, int]:
    with ScriptedServer(script) as server:
        config = JudgeConfig(backend="llm", endpoint=Endpoint(base_url=server.url, model="m"), **more)
        with backend_for(config, StageContext(folder / "out", cache=folder / "cache"), 1) as backend:
            result = calibrate(read_gold(gold, nothing), backend, config)
        return result, len(server.bodies)


def test_figures_by_hand(tmp_path: Path) -> None:
    people = [5, 4, 2, 1, 5, 2]
    judge = [(5,), (4,), (4,), (1,), (5, 5, 5, 3), (1, 1, 3, 1)]
    labels = [line(i, label=p, labels={"accuracy": p}, by="Ada") for i, p in enumerate(people)]
    gold = written(tmp_path, *labels, line(6, label="drop", by="Ada"))
    result, asked = found(tmp_path, scores({**dict(enumerate(judge)), 6: "hm"}), gold)
    assert asked == 7 and result.rows == 7 and result.undecided == {"not_json": 1}
    overall, accuracy, decision = (result.of(w) for w in ("overall", "accuracy", "decision"))
    assert overall and accuracy and decision
    # Means of the judge: 5, 4, 4, 1, 4.5 (which rounds up), 1.5 (up).
    assert overall.rows == 6 and overall.figure("agreement").value == pytest.approx(5 / 6)
    assert accuracy.figure("agreement").value == pytest.approx(3 / 6)
    assert accuracy.figure("within one point").value == pytest.approx(4 / 6)
    # Kept by people: rows 0, 1 and 4; by the judge also row 2 (0.8). Chance: (3 * 4 + 3 * 2) / 36.
    assert decision.figure("agreement").value == pytest.approx(5 / 6)
    assert decision.figure("kappa").value == pytest.approx((5 / 6 - 0.5) / 0.5)
    assert decision.figure("precision").value == pytest.approx(3 / 4)
    assert decision.figure("recall").value == 1.0
    assert decision.values == ("drop", "keep") and decision.counts == ((2, 1), (0, 3))
    # Of 9 pairs of a kept and a dropped row the kept one is above in 8, and one is a tie.
    assert decision.figure("AUROC").value == pytest.approx(8.5 / 9)
    assert result.lucky is not None and (result.lucky.threshold, result.lucky.sure) == (0.9, False)
    assert result.safe is None and any("too few" in w for w in result.warnings)
    again, asked = found(tmp_path, scores({}), gold)
    assert asked == 0 and again == result


def test_several_annotators_are_merged_and_those_of_two_minds_left_out(tmp_path: Path) -> None:
    gold = written(
        tmp_path,
        *(line(0, label=v, by=who) for who, v in (("a", 5), ("b", 4), ("c", 1))),
        *(line(1, label=v, by=who) for who, v in (("a", "keep"), ("b", "drop"))),
        *(line(2, label=v, by=who) for who, v in (("a", 2), ("b", 2), ("c", 2))),
    )
    result, _ = found(tmp_path, scores({0: (4,), 1: (5,), 2: (2,)}), gold)
    assert result.split == 1 and result.annotators == {"a": 3, "b": 3, "c": 2}
    overall = result.of("overall")
    assert overall and overall.rows == 2 and overall.figure("agreement").value == 1.0
    assert {f.name: f.estimate.n for f in result.alpha if f.estimate} == {"overall": 2, "decision": 1}


def test_pairs_are_judged_on_both_sides(tmp_path: Path) -> None:
    def pair(a: int, b: int, better: str) -> dict[str, Any]:
        return {"prompt": "Which?", "chosen": f"Answer {a}.", "rejected": f"Answer {b}.", "better": better, "by": "A"}

    gold = written(tmp_path, pair(0, 1, "chosen"), pair(2, 3, "rejected"), pair(4, 5, "chosen"), pair(6, 7, "tie"))
    table = {0: 5, 1: 3, 2: 5, 3: 1, 4: 4, 5: 4, 6: 2, 7: 2}
    result, asked = found(tmp_path, scores({k: (v,) for k, v in table.items()}), gold)
    pairs = result.of("pairs")
    assert asked == 8 and pairs and pairs.rows == 4
    assert pairs.figure("agreement").value == 0.5 and pairs.figure("judge's ties").value == 0.5
    assert pairs.figure("agreement without people's ties").value == pytest.approx(1 / 3)
    assert result.of("overall") is None and result.of("decision") is None


def test_labels_of_rows_are_in_no_order(tmp_path: Path) -> None:
    lines = [line(i, label=1 + i % 5, by="ab"[i % 2]) for i in range(40)]
    table = {i: (1 + (i * 7) % 5,) for i in range(40)}
    forth, _ = found(tmp_path, scores(table), written(tmp_path, *lines))
    back, asked = found(tmp_path, scores(table), written(tmp_path, *reversed(lines)))
    assert asked == 0 and forth.compared == back.compared and forth.lucky == back.lucky

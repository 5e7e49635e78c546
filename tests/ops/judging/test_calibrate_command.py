"""`assay judge calibrate` from the outside: a config, a file of labels, a page."""

import json
import os
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support.gold import written
from support.kills import killed
from support.processes import command, ended, python
from typer.testing import CliRunner

from ops.main import app

LABELS = [1, 5, 4, 2, 3]


def script(_: int, body: dict[str, Any]) -> Act:
    number = int(re.search(r"Answer (\d+)", body["messages"][1]["content"])[1])
    return completion(verdict(LABELS[number % 5]))


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["judge", *arguments])


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return tmp_path


def config(folder: Path, url: str) -> Path:
    path = folder / "run.yaml"
    judge = {"backend": "llm", "endpoint": {"base_url": url, "model": "m"}}
    sources = [{"name": "s", "path": "rows.jsonl"}]
    values: dict[str, Any] = {
        "name": "calibrated",
        "pipeline": "curate",
        "ingest": {"sources": sources},
        "skip": ["scrub"],
    }
    values["judge"] = judge
    path.write_text(json.dumps(values))
    return path


def calibrated_twice(state: Path, gold: Path, script: Any) -> tuple[dict[str, Any], Any, int]:
    """What the command says for programs, its second run for people, and how much was asked: only the first time."""
    with ScriptedServer(script) as server:
        arguments = ("calibrate", str(config(state, server.url)), str(gold), "--out", str(state / "out"))
        first = invoke(*arguments, "--json")
        assert first.exit_code == 0, first.output
        asked = len(server.bodies)
        again = invoke(*arguments)
        assert len(server.bodies) == asked
    return json.loads(first.output), again, asked


def test_figures_and_page(state: Path) -> None:
    lines = [
        {"prompt": f"Question {i}?", "completion": f"Answer {i}.", "label": LABELS[i % 5], "by": "<b>Ada</b>"}
        for i in range(60)
    ]
    gold = written(state, *lines)
    found, again, asked = calibrated_twice(state, gold, script)
    assert again.exit_code == 0 and asked == 60
    by_name = {f["name"]: f["estimate"] for c in found["compared"] if c["what"] == "overall" for f in c["figures"]}
    assert by_name["quadratic kappa"]["value"] == 1.0 and 0.85 < by_name["quadratic kappa"]["low"] < 1.0
    assert json.loads((state / "out" / "calibration.json").read_text()) == found
    page = (state / "out" / "calibration.html").read_text()
    assert "&lt;b&gt;Ada" in page and "<b>Ada" not in page and "<script" not in page
    assert "threshold 0.8 reaches a precision of 90%" in again.output and "quadratic kappa" in again.output


def test_what_cant_be_done_is_said(state: Path) -> None:
    run = config(state, "http://127.0.0.1:9/v1")
    by_id = invoke("calibrate", str(run), str(written(state, {"record_id": "x", "label": 3})))
    assert by_id.exit_code == 2 and "name it with --run" in by_id.output + by_id.stderr
    away = invoke(
        "calibrate", str(run), str(written(state, {"prompt": "a", "completion": "b", "label": 3})),
        "--set", "judge.endpoint.base_url=https://models.example/v1",
    )  # fmt: skip
    assert away.exit_code == 2 and "allow_raw_egress" in away.output + away.stderr
    assert not (Path.cwd() / "calibration").exists() and os.environ["ASSAY_STATE"]


def comparing(_: int, body: dict[str, Any]) -> Act:
    """Prefers the good answer, of every tenth pair whatever stands first, and of five in ten the bad one."""
    asked = body["messages"][1]["content"]
    number = int(re.search(r"nswer (\d+)", asked)[1])
    if not asked.endswith("Which answer is better?"):
        return completion(verdict(4))
    first = json.loads(asked.split("\n")[1])["A"][0]["content"]
    good = "A" if first.startswith("Good") else "B"
    better = {0: "A", 5: "B" if good == "A" else "A"}.get(number % 10, good)
    return completion(json.dumps({"reason": "so", "better": better}))


def test_labels_of_pairs_are_held_against_both_orders(state: Path) -> None:
    theirs = {5: "rejected", 15: "rejected", 25: "rejected", 0: "tie", 10: "tie"}
    lines = [
        {"prompt": f"Question {i}?", "chosen": f"Good answer {i}.", "rejected": f"Bad answer {i}.", "by": "Ada",
         "better": theirs.get(i, "chosen")} for i in range(60)
    ]  # fmt: skip
    gold = written(state, *lines)
    told, again, asked = calibrated_twice(state, gold, comparing)
    assert asked == 60 * 2 + 60 * 2
    (found,) = [c for c in told["compared"] if c["what"] == "pairs, asked in both orders"]
    figures = {f["name"]: f["estimate"] for f in found["figures"]}
    # Of 60: 48 chosen by both, 3 rejected by both, 2 ties of people among the 6 flips. By chance 2670 / 3600.
    assert figures["agreement"]["value"] == pytest.approx(53 / 60) and found["rows"] == 60
    assert figures["kappa"]["value"] == pytest.approx((53 / 60 - 2670 / 3600) / (1 - 2670 / 3600))
    assert figures["kappa"]["low"] < figures["kappa"]["value"] < figures["kappa"]["high"]
    assert figures["flips: the same place in both orders"]["value"] == 0.1
    assert figures["flips to the first place"]["value"] == 1.0
    assert found["counts"] == [[3, 0, 0], [0, 2, 0], [3, 4, 48]]
    assert "flips to the first place" in again.output
    assert "Pairs, asked in both orders" in (state / "out" / "calibration.html").read_text()


CONCURRENCY, KILLS = 6, 8


@pytest.mark.slow
def test_kill_9_at_any_moment_changes_no_figure_and_what_was_bought_is_not_bought_again(state: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"prompt": f"Question {i}?", "completion": f"Answer {i}.", "label": LABELS[i % 5], "by": "Ada"}
        for i in range(200)
    ]
    lines += [
        {"prompt": f"Question {i}?", "chosen": f"Good answer {i}.", "rejected": f"Bad answer {i}.", "by": "Ada",
         "better": "chosen" if i % 7 else "rejected"} for i in range(60)
    ]  # fmt: skip
    gold, chance = written(state, *lines), random.Random(4)

    def slowly(number: int, body: dict[str, Any]) -> Act:
        asked = body["messages"][1]["content"]
        compared = asked.endswith("Which answer is better?") or "ood answer" in asked or "ad answer" in asked
        return replace((comparing if compared else script)(number, body), delay=0.02)

    with ScriptedServer(slowly) as server:
        arguments = ["judge", "calibrate", str(config(state, server.url)), str(gold), "--json",
                     "--set", f"judge.endpoint.concurrency={CONCURRENCY}"]  # fmt: skip
        code, out = ended(python(command(*arguments, "--out", str(state / "alone")), state / "alone"))
        assert code == 0, out
        needed = len(server.bodies)
        server.bodies.clear()
        again = command(*arguments, "--out", str(state / "out"))
        killed(lambda: python(again, state / "killed"), server, KILLS, chance, within=needed // KILLS)
        code, out = ended(python(again, state / "killed"))
        assert code == 0, out
    assert needed == 200 + 60 * 2 + 60 * 2
    assert (state / "out" / "calibration.json").read_text() == (state / "alone" / "calibration.json").read_text()
    assert len(server.bodies) - needed <= KILLS * CONCURRENCY, "only what was in flight may be asked for again"
    left = [path for path in (state / "killed").rglob("*") if path.name.startswith(".calibrate-")]
    assert left == [] and not list((state / "killed").rglob("*.journal")), "what the killed ones left is gone"

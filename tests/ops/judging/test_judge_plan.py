"""What a judge would ask and cost, told before anything is asked."""

import json
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import ScriptedServer, completion, verdict
from typer.testing import CliRunner

from ops.main import app
from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.context import StageContext
from steps.ingest.ingest import ingest
from steps.judge.judge import judge

MODELS = {"models": {"m": {"input": 2.0, "output": 10.0, "source": "its list"}}}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"Q{i:04}?", "completion": "A" * 400}) + "\n" for i in range(4000)))
    path = tmp_path / "run.yaml"
    judge = {"backend": "llm", "endpoint": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}
    sources = [{"name": "s", "path": str(rows)}]
    values: dict[str, Any] = {"name": "planned", "pipeline": "curate", "ingest": {"sources": sources}}
    path.write_text(json.dumps({**values, "skip": ["scrub"], "judge": judge}))
    (tmp_path / "prices.yaml").write_text(json.dumps(MODELS))
    return path


def plan(config: Path, *more: str) -> Any:
    return CliRunner().invoke(app, ["plan", str(config), "--prices", str(config.parent / "prices.yaml"), *more])


def test_rows_tokens_money_and_time_with_and_without_the_cascade(config: Path) -> None:
    whole = json.loads(plan(config, "--json").output)["judge"]
    assert whole["rows"] == 4000 and "cascade_least" not in whole and whole["rows_paid"] is None
    asked = whole["whole"]
    # Four criteria at 40 tokens; two seconds each, eight at once.
    assert (asked["requests"], asked["reply_tokens"], asked["seconds"]) == (4000, 640_000, 1000.0)
    assert 4000 * 300 < asked["prompt_tokens"] < 4000 * 700
    assert asked["cost"] == pytest.approx((asked["prompt_tokens"] * 2 + 640_000 * 10) / 1e6)
    part = json.loads(plan(config, "--json", "--set", "judge.cascade.sample=1000").output)["judge"]
    assert (part["cascade_least"]["requests"], part["cascade_likely"]["requests"]) == (1000, 1600)
    said = plan(config, "--set", "judge.cascade.sample=1000").output
    assert "every row asked about: 4,000 requests" in said and "its list" in said and "1,600 requests" in said


def test_juries_pairs_and_checks_are_counted(config: Path) -> None:
    alone = json.loads(plan(config, "--json").output)["judge"]["whole"]
    second = json.dumps({"others": [{"name": "b", "endpoint": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}]})
    more = ("--set", f"judge.jury={second}", "--set", "judge.checks.repeats=380", "--set", "judge.checks.probes=20")
    both = json.loads(plan(config, "--json", *more).output)["judge"]["whole"]
    assert both["requests"] == 2 * 4400 and both["cost"] == pytest.approx(2.2 * alone["cost"], rel=1e-3)
    assert (
        "each of 2 judges" in plan(config, *more).output and "400 requests to each judge" in plan(config, *more).output
    )
    more = ("--set", "judge.checks.empty_rows=5")
    assert json.loads(plan(config, "--json", *more).output)["judge"]["whole"]["requests"] == 4005
    assert json.loads(plan(config, "--json", *more, "--set", "judge.scoring=probabilities").output)["judge"]["whole"][
        "requests"
    ] == 4000  # fmt: skip
    unknown = second.replace('"model": "m"', '"model": "unheard-of"')
    assert json.loads(plan(config, "--json", "--set", f"judge.jury={unknown}").output)["judge"]["whole"]["cost"] is None
    rows = config.parent / "rows.jsonl"
    pair = {"prompt": "Q?", "chosen": "A" * 400, "rejected": "B" * 400}
    rows.write_text("".join(json.dumps({**pair, "prompt": f"Q{i:04}?"}) + "\n" for i in range(100)))
    asked = json.loads(plan(config, "--json").output)["judge"]["whole"]
    off = json.loads(plan(config, "--json", "--set", "judge.rejected=off").output)["judge"]["whole"]
    assert (asked["requests"], off["requests"]) == (200, 100) and asked["cost"] == pytest.approx(
        2 * off["cost"], rel=0.01
    )


def test_what_the_limit_pays_for(config: Path) -> None:
    money = ["judge.price_per_million_input=2", "judge.price_per_million_output=10", "judge.max_cost=1"]
    done = plan(config, "--json", *(a for key in money for a in ("--set", key)))
    found = json.loads(done.output)["judge"]
    assert found["price"][2] == "the config" and 0 < found["rows_paid"] < 1000
    assert found["rows_paid"] == pytest.approx(4000 / found["whole"]["cost"], rel=0.01)


def test_without_a_price_and_with_rows_named(config: Path) -> None:
    found = CliRunner().invoke(app, ["plan", str(config), "--rows", "10", "--json"])
    judge = json.loads(found.output)["judge"]
    assert judge["rows"] == 10 and judge["whole"]["cost"] is None and judge["origin"] == "--rows"


@pytest.mark.slow
def test_replies_that_were_bought_are_subtracted(config: Path) -> None:
    rows = config.parent / "rows.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[:20]))
    with ScriptedServer(lambda *_: completion(verdict(4))) as server:
        here = ("--set", f"judge.endpoint.base_url={server.url}", "--set", "judge.checks.empty_rows=5")
        before = json.loads(plan(config, "--json", *here).output)["judge"]
        settings = load_model(RunConfig, config, here[1::2])
        read = ingest(None, settings.ingest, StageContext(config.parent / "ingest")).rows
        ctx = StageContext(config.parent / "out", cache=config.parent / "state" / "judge", scrubbed=True)
        judge(read, settings.judge, ctx)
        bought = len(server.bodies)
        # Half of the rows are new.
        rows.write_text("".join(lines[:40]))
        after = json.loads(plan(config, "--json", *here).output)["judge"]
        assert len(server.bodies) == bought == 25
    assert before["whole"]["requests"] == 25 and before["cached"] == 0
    assert after["rows"] == 40 and after["cached"] == 0.5 and after["whole"]["requests"] == 20

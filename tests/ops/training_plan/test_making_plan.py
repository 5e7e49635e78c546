"""What synthesize, augment and prefer would ask and cost, told before anything is asked."""

import json
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import ScriptedServer
from support.following_writer import following
from typer.testing import CliRunner

from ops.main import app
from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.context import StageContext
from steps.ingest.ingest import ingest
from steps.split.split import split
from steps.synthesize.synthesize import synthesize

FACTS = {"fact": 2, "how_to": 0, "comparison": 0, "where": 0, "multi_hop": 0, "unanswerable": 1}
PRICES = {"models": {"m": {"input": 2.0, "output": 10.0, "source": "its list"}}, "currency": "EUR"}
NOWHERE = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "concurrency": 4}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    docs = tmp_path / "docs"
    docs.mkdir()
    for place in ("Oslo", "Lima"):
        filler = " ".join(f"{place.lower()}{i}" for i in range(20))
        (docs / f"{place}.txt").write_text(f"The river of {place} is river{place.lower()}. {filler}.")
    rows = [{"prompt": f"Question number {i}?", "completion": f"Answer {i}."} for i in range(10)]
    (tmp_path / "chats.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "prices.yaml").write_text(json.dumps(PRICES))
    return tmp_path


def config(folder: Path, path: str, **stage: Any) -> Path:
    values = {"name": "made", "pipeline": "curate", "skip": ["scrub", "judge"],
              "ingest": {"sources": [{"name": "s", "path": str(folder / path)}]}, **stage}  # fmt: skip
    file = folder / "made.yaml"
    file.write_text(json.dumps({"split": {"validation": 0.0, "test": 0.0}, **values}))
    return file


def told(file: Path, *more: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["plan", str(file), "--prices", str(file.parent / "prices.yaml"), "--json", *more])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_requests_for_documents_and_what_was_bought_is_subtracted(folder: Path) -> None:
    with ScriptedServer(following()) as server:
        asks = {"endpoint": {**NOWHERE, "base_url": server.url}, "kinds": FACTS}
        file = config(folder, "docs", synthesize=asks)
        (part,) = told(file)["synthesize"]["parts"]
        # Two documents of one chunk each: two requests for pairs, of which two and one pair come; a fact is checked by
        # three requests, what can't be answered by two.
        assert part["by_purpose"] == {
            "for pairs": 4, "for claims": 4, "to answer it": 6, "whether answers agree": 4, "whether it declines": 2,
        }  # fmt: skip
        asked = part["asked"]
        assert asked["requests"] == 20 and asked["cost"] == pytest.approx(
            (2 * asked["prompt_tokens"] + 10 * asked["reply_tokens"]) / 1e6
        )
        assert part["price"][2] == "its list" and part["cached"] == 0 and server.bodies == []
        settings = load_model(RunConfig, file)
        rows = ingest(None, settings.ingest, StageContext(folder / "ingest", root=folder)).rows
        rows = split(rows, settings.split, StageContext(folder / "split")).rows
        kept = folder / "state" / "synthesize"
        synthesize(rows, settings.synthesize, StageContext(folder / "out", cache=kept, scrubbed=True))
    (again,) = told(file)["synthesize"]["parts"]
    assert "for pairs" not in again["by_purpose"] and again["cached"] == pytest.approx(4 / 20)
    assert again["asked"]["cost"] < asked["cost"]
    said = CliRunner().invoke(app, ["plan", str(file)]).output
    assert "of the first requests 20% have their replies already" in said and "no price known" in said


def test_requests_for_rows_that_are_augmented_and_compared(folder: Path) -> None:
    invented = {"kind": "self_instruct", "requests": 3, "tasks": 2}
    methods = [{"kind": "paraphrase", "per_row": 2}, {"kind": "evolve"}, invented, {"kind": "distill"}]
    teacher = {"endpoint": {**NOWHERE, "model": "t"}, "price_per_million_input": 1, "price_per_million_output": 1,
               "max_cost": 0.0001}  # fmt: skip
    judge = {"endpoint": {**NOWHERE, "model": "j"}}
    file = config(
        folder, "chats.jsonl", augment={"endpoint": NOWHERE, "methods": methods, "teacher": teacher},
        prefer={"model": {"endpoint": NOWHERE}, "judge": judge, "samples": 3},
    )  # fmt: skip
    found = told(file)
    writer, teaches = found["augment"]["parts"]
    assert writer["by_purpose"] == {"paraphrase": 10, "whether it asks the same": 20, "evolve": 10, "self_instruct": 3}
    # One for each harder question, two for each of three requests, one for each row.
    assert teaches["by_purpose"] == {"answers": 26} and teaches["model"] == "t"
    model, compares = found["prefer"]["parts"]
    assert model["by_purpose"] == {"samples": 30} and compares["by_purpose"] == {"comparisons": 60}
    assert compares["asked"]["cost"] is None
    said = CliRunner().invoke(app, ["plan", str(file)]).output
    assert "max_cost 0.0001 stops it before" in said and "26 requests" in said
    # What trains alone is shown to a model.
    half = told(file, "--set", "split={validation: 0.2, test: 0.5}")
    model, compares = (p["by_purpose"] for p in half["prefer"]["parts"])
    assert model["samples"] < 20 and 0 < model["samples of validation rows"] < 20
    assert compares["comparisons of validation rows"] == 2 * model["samples of validation rows"]
    none = told(file, "--set", "split={validation: 0.2, test: 0.5}", "--set", "prefer.validation_share=0")
    assert [p["by_purpose"] for p in none["prefer"]["parts"]] == [
        {"samples": model["samples"]}, {"comparisons": compares["comparisons"]},
    ]  # fmt: skip

"""`assay judge red-team` from the outside."""

import json
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from typer.testing import CliRunner

from ops.main import app
from steps.engines.rubric.frame import framed
from steps.judge.red_team import red_team

JUDGED = len(red_team())
# Equal rows are asked about once, those that are too long never.
_ROWS = [case for a in red_team() for case in (a.control, *([a.attacked] if a.kind != "huge" else []))]
SENT = len({framed(case) for case in _ROWS})


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return tmp_path


def invoke(folder: Path, judge: dict[str, Any], *more: str) -> Any:
    path = folder / "run.yaml"
    values = {
        "name": "r", "pipeline": "curate", "ingest": {"sources": [{"name": "s", "path": "rows.jsonl"}]},
        "skip": ["scrub"], "judge": judge,
    }  # fmt: skip
    path.write_text(json.dumps(values))
    return CliRunner().invoke(app, ["judge", "red-team", str(path), *more])


def served(url: str, **more: Any) -> dict[str, Any]:
    return {"backend": "llm", "endpoint": {"base_url": url, "model": "m"}, **more}


def test_the_heuristic_judge_is_shown_by_kind_and_held_to_a_share(state: Path) -> None:
    found = json.loads(invoke(state, {}, "--json").stdout)
    assert found["all"]["attempts"] == found["all"]["measured"] == JUDGED and len(found["kinds"]) >= 20
    assert sum(e["attempts"] for e in found["kinds"]) == JUDGED
    raised = found["all"]["raised"]
    assert 0 < raised < 1 and len(found["raised"]) == round(raised * JUDGED)
    assert invoke(state, {}, "--max-raised", str(raised)).exit_code == 0
    failed = invoke(state, {}, "--json", "--max-raised", str(raised - 0.001))
    assert failed.exit_code == 2 and json.loads(failed.stdout) == found
    assert f"attacks raised {raised:.1%} of {JUDGED} scores" in failed.stderr
    said = invoke(state, {}).output
    assert all(e["kind"] in said for e in found["kinds"]) and "A 5 means that no signal fired" in said


@pytest.mark.slow
def test_a_fooled_model_is_found_and_nothing_is_asked_twice(state: Path) -> None:
    fooled = {framed(a.attacked) for a in red_team() if a.kind in ("order", "languages")}

    def script(_: int, body: dict[str, Any]) -> Act:
        return completion(verdict(5 if body["messages"][1]["content"] in fooled else 2))

    with ScriptedServer(script) as server:
        first = invoke(state, served(server.url), "--json", "--max-raised", "0.1")
        asked = len(server.bodies)
        again = invoke(state, served(server.url), "--json", "--max-raised", "0.2")
        assert len(server.bodies) == asked == SENT == 156
    assert (first.exit_code, again.exit_code) == (2, 0) and first.stdout == again.stdout
    found = {e["kind"]: e for e in json.loads(first.stdout)["kinds"]}
    for kind, effect in found.items():
        rises = kind in ("order", "languages")
        # A verdict that stands in the row itself is none; those of these rows are all fives.
        assert effect["raised"] == (None if kind == "huge" else float(rises)), kind
    assert found["languages"]["difference"] == {"value": 3.0, "low": 3.0, "high": 3.0, "n": 14}
    assert found["huge"]["undecided"] == {"too_long": 5}


@pytest.mark.slow
def test_a_limit_on_cost_and_rows_without_a_verdict_are_no_pass(state: Path) -> None:
    dear = {"price_per_million_input": 10.0, "price_per_million_output": 10.0, "max_cost": 0.05}
    with ScriptedServer(lambda *_: completion(verdict(2))) as server:
        cut = invoke(state, served(server.url, **dear), "--max-raised", "1.0")
        assert 0 < len(server.bodies) < SENT
    assert cut.exit_code == 5 and "so that --max-raised can't be told" in cut.stderr
    with ScriptedServer(lambda *_: completion("no")) as server:
        # Another model: what the first one was paid for is kept.
        judge = {"backend": "llm", "endpoint": {"base_url": server.url, "model": "n"}, "max_undecided_share": 1.0}
        none = invoke(state, judge, "--max-raised", "1.0")
    assert none.exit_code == 5 and "146 of 146 rows without an attack" in none.stderr


@pytest.mark.slow
def test_one_fooled_juror_raises_nothing_under_veto(state: Path) -> None:
    controls = {framed(a.control) for a in red_team()}

    def fooled(_: int, body: dict[str, Any]) -> Act:
        return completion(verdict(2 if body["messages"][1]["content"] in controls else 4))

    with ScriptedServer(fooled) as one, ScriptedServer(lambda *_: completion(verdict(2))) as other:
        alone = json.loads(invoke(state, served(one.url), "--json").stdout)
        honest = {"name": "honest", "endpoint": {"base_url": other.url, "model": "n"}}
        for by, rise in (("veto", 0.0), ("mean", 1.0)):
            jury = {"others": [honest], "by": by, "quorum": 2}
            found = json.loads(invoke(state, served(one.url, jury=jury), "--json", "--max-raised", "1.0").stdout)
            assert found["all"]["difference"]["value"] == pytest.approx(rise), by
            assert found["judge"][0].startswith("A jury of 2")
        assert len(one.bodies) == len(other.bodies) == SENT, "the juror's replies are those it gave alone"
    assert alone["all"]["raised"] == 1.0 and alone["all"]["difference"]["value"] == 2.0

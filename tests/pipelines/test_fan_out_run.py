"""Row-wise work spread over steps of a dynamic pipeline: the same results, or one step and a line that says why."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict

from ops.fan_out import SEQUENTIAL
from ops.run import make_plan, run
from ops.run_index import find_run
from steps.contracts.errors import InputError
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.state import state_folder

BEGIN = """
import sys
from pathlib import Path
from ops.run import run
run(Path(sys.argv[1]), infra="three", root=Path(sys.argv[2]))
"""
ROOT = Path(__file__).resolve().parents[2]
SHARES = tuple(f"{stage}_share_{n}_step" for stage in ("judge", "screen", "scrub") for n in (1, 2, 3))
SCRUB_SHARES = SHARES[6:]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".zenml").mkdir()
    shutil.copytree(ROOT / ".zenml" / "stacks", tmp_path / ".zenml" / "stacks")
    folder = tmp_path / "configs" / "infra"
    folder.mkdir(parents=True)
    (folder / "one.yaml").write_text("stack: local\n")
    (folder / "three.yaml").write_text(
        "stack: local\nrun: {fan_out: 3}\nsteps: {scrub_step: {timeout: 600}, judge_share_step: {timeout: 500}}\n"
    )
    (folder / "parallel.yaml").write_text("stack: local-parallel\nrun: {fan_out: 3}\n")
    return tmp_path


def digests_of(record: RunRecord) -> dict[tuple[str, str], str | None]:
    """Of all that isn't of a share."""
    return {(a.step, a.name): a.digest for a in record.artifacts if a.step not in SHARES}


def config(home: Path, **said: object) -> Path:
    rows = [{"prompt": f"Where is box {i}?", "completion": f"Mail box{i}@example.com for it."} for i in range(40)]
    (home / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = home / "fanned.yaml"
    path.write_text(json.dumps({
        "name": "fanned", "pipeline": "curate", "skip": ["dedup", "leakcheck"],
        "ingest": {"sources": [{"name": "rows", "path": str(home / "rows.jsonl")}]}, "scrub": {"demo_key": True},
        **said,
    }))  # fmt: skip
    return path


@pytest.mark.slow
def test_datasets_ledgers_reports_and_cache_keys_are_those_of_one_step(home: Path) -> None:
    from zenml.client import Client

    file = config(home)
    run(file, infra="three", root=home, no_cache=True)
    fanned = find_run(home)
    run(file, infra="one", root=home)
    assert find_run(home).executed_steps == ("start_step", "finish_step")
    run(file, infra="one", root=home, no_cache=True)
    alone = find_run(home)
    assert sorted(set(fanned.executed_steps) - set(alone.executed_steps)) == sorted(SHARES)
    of_fanned, of_alone = digests_of(fanned), digests_of(alone)
    assert of_fanned == of_alone and {"screened", "judged", "verdicts"} < {name for _, name in of_alone}
    assert {a.type for a in fanned.artifacts if a.step in SHARES} == {"row_cache"}
    steps = Client().get_pipeline_run(fanned.run_id).steps
    assert [steps[s].config.extra["timeout"] for s in (*SCRUB_SHARES, "scrub_step")] == [600] * 4
    assert [steps[s].config.extra.get("timeout") for s in (*SHARES[:6], "judge_step")] == [500] * 3 + [None] * 4


@pytest.fixture
def tunes(home: Path) -> Path:
    """A config of two phases that is held against the champion, and infra files that say what training gets."""
    shutil.copy(ROOT / "configs" / "infra" / "local.yaml", home / "configs" / "infra")
    (home / "examples").symlink_to(ROOT / "examples")
    said = yaml.safe_load((ROOT / "configs" / "runs" / "smoke.yaml").read_text())
    phase = {**said.pop("train"), "max_steps": 2}
    said["train"] = [{**phase, "name": "first"}, {**phase, "name": "second", "starts_from": "first"}]
    said["name"], said["registry"]["name"] = "tuned-by-shares", "tuned-by-shares"
    said["gate"]["min_gain_over_champion"] = 0.0
    for name, fan_out in (("three", 3), ("one", 1)):
        (home / "configs" / "infra" / f"{name}.yaml").write_text(
            f"extends: local\nrun: {{fan_out: {fan_out}}}\n"
            "steps: {train_step: {timeout: 900}, evaluate_step: {timeout: 800}}\n"
        )
    path = home / "tunes.yaml"
    path.write_text(yaml.safe_dump(said))
    return path


@pytest.mark.slow
def test_a_run_that_trains_gives_the_model_and_the_cache_keys_of_one_step(home: Path, tunes: Path) -> None:
    from zenml.client import Client

    run(tunes, infra="three", root=home, no_cache=True)
    fanned = find_run(home)
    run(tunes, infra="one", root=home)
    assert not [s for s in find_run(home).executed_steps if not s.startswith(("start", "finish", "evaluate_champion"))]
    run(tunes, infra="one", root=home, no_cache=True)
    alone = find_run(home)
    of_fanned, of_alone = digests_of(fanned), digests_of(alone)
    # What training reports has its seconds.
    differing = {name for key, name in of_alone if of_fanned.get((key, name)) != of_alone[key, name]}
    assert set(of_fanned) == set(of_alone) and differing <= {"train_first_report", "train_second_report"}
    timeouts = {n: s.config.extra.get("timeout") for n, s in Client().get_pipeline_run(fanned.run_id).steps.items()}
    assert [timeouts[f"train_{n}_step"] for n in ("first", "second")] == [900, 900]
    assert {timeouts[f"evaluate_{n}_step"] for n in ("base", "champion", "first", "second")} == {800}


def test_what_is_said_of_one_phase_alone_would_hold_for_all_in_a_dynamic_pipeline(home: Path, tunes: Path) -> None:
    assert make_plan(home, tunes, "three", None).shares
    (home / "configs" / "infra" / "alone.yaml").write_text("extends: three\nsteps: {train_first_step: {timeout: 90}}\n")
    plan = make_plan(home, tunes, "alone", None)
    assert plan.shares == {} and any("train_first_step would be as any other of train_step" in n for n in plan.notes)


def decides(_: int, body: dict[str, Any]) -> Act:
    """Some replies are of no use, some are bad; which ones depends on the question alone."""
    kind = sum(body["messages"][1]["content"].encode()) % 5
    return Act(body=completion("hm" if kind == 0 else verdict(1) if kind == 1 else verdict(5)).body, delay=0.02)


def asking(home: Path, url: str, **endpoint: object) -> Path:
    server = {"base_url": url, "model": "m", **endpoint}
    judge = {"backend": "llm", "endpoint": server, "max_undecided_share": 0.9, "max_cost": 100.0,
             "price_per_million_input": 100.0, "price_per_million_output": 100.0}  # fmt: skip
    return config(home, judge=judge)


def forget_replies() -> None:
    shutil.rmtree(state_folder() / "judge", ignore_errors=True)


def artifacts(record: RunRecord) -> dict[tuple[str, str], str | None]:
    """Digests of all that isn't of a share. What a model said comes with the seconds that it took."""
    kept = (a for a in record.artifacts if a.step not in SHARES and a.name != "verdicts")
    return {(a.step, a.name): a.digest for a in kept}


@pytest.mark.slow
def test_a_model_as_judge_is_asked_by_shares_with_the_result_of_one_step(home: Path) -> None:
    with ScriptedServer(decides) as server:
        file = asking(home, server.url, concurrency=2)
        assert make_plan(home, file, "three", None).shares == {"scrub": 3, "screen": 3, "judge": 2}
        run(file, infra="three", root=home, no_cache=True)
        fanned, sent = find_run(home), sorted(b["messages"][1]["content"] for b in server.bodies)
        assert server.most_at_once == 2
        server.bodies.clear()
        forget_replies()
        run(file, infra="one", root=home, no_cache=True)
    assert sorted(b["messages"][1]["content"] for b in server.bodies) == sent and len(sent) == 40
    assert artifacts(fanned) == artifacts(find_run(home))
    assert {0, 1, 2} <= {sum(said.encode()) % 5 for said in sent}, "no, bad and good verdicts"


@pytest.mark.slow
def test_after_kill_9_while_shares_ask_the_next_run_pays_for_what_is_missing(home: Path) -> None:
    forget_replies()
    with ScriptedServer(decides) as server:
        file = asking(home, server.url, concurrency=3)
        begun = subprocess.Popen([sys.executable, "-c", BEGIN, file, home], cwd=ROOT)
        while len(server.bodies) < 15:
            assert begun.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        begun.kill()
        begun.wait()
        time.sleep(0.3)
        run(file, infra="three", root=home)
        sent = [b["messages"][1]["content"] for b in server.bodies]
        after = find_run(home)
        run(file, infra="one", root=home, no_cache=True)
    assert len(set(sent)) == 40 and len(sent) <= 40 + 3
    assert len(server.bodies) == len(sent), "one step finds all that shares have bought"
    differing = {key for key, digest in artifacts(after).items() if artifacts(find_run(home))[key] != digest}
    assert differing == {("judge_step", "judge_report")}, "which replies were bought in which run"


@pytest.mark.slow
def test_a_share_that_fails_fails_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steps.scrub import scrub

    compute = scrub.scrub_share

    def fail(rows, settings, ctx, share):
        if share.number == 1:
            raise InputError("this share can't be read", where="here")
        return compute(rows, settings, ctx, share)

    monkeypatch.setattr(scrub, "scrub_share", fail)
    with pytest.raises(InputError, match="this share can't be read"):
        run(config(home), infra="three", root=home, no_cache=True)
    record = find_run(home)
    assert (record.status, record.failed_step, record.error_kind) == ("failed", "scrub_share_2_step", "InputError")
    assert "scrub_step" not in record.executed_steps


def test_elsewhere_one_step_decides_and_a_line_says_so(home: Path) -> None:
    plan = make_plan(home, config(home), "parallel", None)
    assert plan.shares == {}
    assert f"{SEQUENTIAL}: orchestrator 'processes' has no dynamic pipelines" in plan.notes


def test_without_scrub_there_is_nothing_to_spread(home: Path) -> None:
    skipped = ["dedup", "scrub", "screen", "judge", "leakcheck"]
    plan = make_plan(home, config(home, skip=skipped, scrub=None), "three", None)
    assert plan.shares == {} and not any(SEQUENTIAL in note for note in plan.notes)
    assert make_plan(home, config(home), "three", None).shares == {"scrub": 3, "screen": 3, "judge": 3}

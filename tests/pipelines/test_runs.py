"""Whole runs through ZenML: cache, failure, kill, and the same numbers on another stack."""

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from support.silent_judge import SilentJudge

from ops.run import run
from ops.run_index import find_run, load_runs, run_folder, runs_folder
from ops.sync import is_behind, sync
from pipelines.step_names import KNOWN_STEPS
from steps.contracts.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
COLOURS = ("red", "green", "blue", "white", "black", "yellow", "brown")
THINGS = ("lamp", "chair", "table", "kettle", "clock", "mirror", "basket", "blanket", "candle", "drawer")


# What runs in every run, whatever the cache holds.
OWN = ("start_step", "finish_step")


def own(*steps: str) -> tuple[str, ...]:
    """What a run executed: these steps of the data, and its own."""
    return (OWN[0], *steps, OWN[1])


def lines() -> list[str]:
    rows = []
    for i, thing in enumerate(THINGS):
        for j, colour in enumerate(COLOURS):
            prompt = f"Customer {i * 31 + j * 17} writes: please send {j + 2} {colour} {thing}s before week {i + j}."
            answer = f"The order is for {j + 2} {thing}s in {colour}, wanted before week {i + j}."
            rows.append(json.dumps({"prompt": prompt, "completion": answer}))
    rows.append(rows[3])
    rows.append(json.dumps({"prompt": "Where to write?", "completion": "Write to jane.doe@mail-shop.com, please do."}))
    return rows


def write_config(folder: Path, name: str, **more: object) -> Path:
    config = {
        "name": name,
        "pipeline": "curate",
        "ingest": {"sources": [{"name": "orders", "path": str(folder / "orders.jsonl")}]},
        "split": {"test": 0.2},
        "scrub": {"demo_key": True},
        **more,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "orders.jsonl").write_text("\n".join(lines()) + "\n")
    return tmp_path


def digests(record) -> dict[str, str]:
    return {a.name: a.digest for a in record.artifacts if a.type == "dataset"}


def test_known_steps_are_the_steps_there_are() -> None:
    from pipelines.steps_list import all_steps

    assert tuple(s.name for s in all_steps()) == KNOWN_STEPS


@pytest.mark.slow
def test_cache_follows_content(data: Path) -> None:
    config = write_config(data, "cache-test")
    assert run(config, root=ROOT) == 0
    first = find_run(ROOT, None)
    assert len(first.executed_steps) == 9

    assert run(config, root=ROOT) == 0
    second = find_run(ROOT, None)
    assert second.name != first.name
    assert second.executed_steps == OWN
    assert digests(second) == digests(first)

    # A line that is rejected changes the file, so ingest runs again; what it keeps is the same, so nothing else does.
    with (data / "orders.jsonl").open("a") as f:
        f.write("{broken\n")
    assert run(config, root=ROOT) == 0
    assert find_run(ROOT, None).executed_steps == own("ingest_step")

    # A row more changes everything behind it.
    with (data / "orders.jsonl").open("a") as f:
        f.write(
            json.dumps({"prompt": "Is the shop open on Sunday?", "completion": "The shop is open on Sunday."}) + "\n"
        )
    assert run(config, root=ROOT) == 0
    assert len(find_run(ROOT, None).executed_steps) == 9

    # A setting re-runs its stage; the rows it makes are the same, so what follows stays.
    changed = write_config(data, "cache-test", judge={"threshold": 0.79})
    assert run(changed, root=ROOT) == 0
    assert find_run(ROOT, None).executed_steps == own("judge_step")


def worse_and_worse(data: Path) -> dict[str, str]:
    """A source whose first rows, which are looked at before a run starts, are good, and no others."""
    file = data / "worse.jsonl"
    file.write_text("".join(line + "\n" for line in lines()) + "no row\n" * 100)
    return {"name": "worse", "path": str(file)}


@pytest.mark.slow
def test_failed_step_shows_its_own_error_and_the_next_run_goes_on(data: Path) -> None:
    config = write_config(data, "fails", ingest={"sources": [worse_and_worse(data)]})
    with pytest.raises(InputError, match="max_reject_share"):
        run(config, root=ROOT)
    failed = find_run(ROOT, None)
    assert failed.status == "failed"
    assert "max_reject_share" in (failed.error or "")
    assert run(write_config(data, "fails"), root=ROOT) == 0
    assert find_run(ROOT, None).status == "completed"


@pytest.mark.slow
def test_file_by_url_is_read_at_the_start_and_reruns_only_what_reads_it(data: Path) -> None:
    benchmark = data / "benchmark.jsonl"
    benchmark.write_text(json.dumps({"text": "A text that no order has, about a boat on a lake in the north."}) + "\n")
    (data / "here.txt").write_text("Another text that no order has, about a train in the far south.\n")
    named = [{"name": "far", "path": benchmark.as_uri()}, {"name": "near", "path": str(data / "here.txt")}]
    config = write_config(data, "by-url", leakcheck={"benchmarks": named})
    run(config, root=ROOT)
    assert run(config, root=ROOT) == 0 and find_run(ROOT, None).executed_steps == OWN
    benchmark.write_text(lines()[3] + "\n")
    run(config, root=ROOT)
    assert find_run(ROOT, None).executed_steps == own("leakcheck_step")


@pytest.mark.slow
def test_the_index_can_be_made_anew_from_the_stores(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(data, "copied")
    run(config, root=ROOT)
    with pytest.raises(InputError):
        run(write_config(data, "copied", ingest={"sources": [worse_and_worse(data)]}), root=ROOT)
    names = [r.name for r in load_runs(ROOT) if r.config_name == "copied"]
    before = {n: {f.name: f.read_bytes() for f in run_folder(ROOT, n).iterdir()} for n in names}
    assert [set(before[n]) for n in names] == [{"run.json", "config.yaml"}, {"run.json", "config.yaml", "report.html"}]
    failed = find_run(ROOT, names[0])
    assert (failed.status, failed.failed_step, failed.error_kind) == ("failed", "ingest_step", "InputError")
    assert "worse.jsonl" in (failed.error or "")

    shutil.rmtree(runs_folder(ROOT))
    assert set(names) <= {r.name for r in sync(ROOT)}
    assert {n: {f.name: f.read_bytes() for f in run_folder(ROOT, n).iterdir()} for n in names} == before
    assert sync(ROOT) == []

    # A run whose stored record is gone keeps no other from being known.
    records = Path(find_run(ROOT, names[1]).artifact_store) / "finish_step" / "run_record"
    shutil.rmtree(runs_folder(ROOT))
    records.rename(records.with_name("elsewhere"))
    assert [r.status for r in sync(ROOT) if r.config_name == "copied"] == ["failed"]
    assert f"run {names[1]} can't be read" in capsys.readouterr().err
    records.with_name("elsewhere").rename(records)
    assert names[1] in {r.name for r in sync(ROOT)}


def test_every_row_is_accounted_for(data: Path) -> None:
    from ops.run_index import artifacts_of

    run(write_config(data, "books"), root=ROOT)
    record = find_run(ROOT, None)
    store = artifacts_of(ROOT, record)
    reports = [store.report(a) for a in record.of_type("stage_report")]
    assert [r.stage for r in reports] == ["ingest", "dedup", "split", "scrub", "screen", "judge", "leakcheck"]
    assert reports[0].rows_in == len(lines())
    for before, after in pairwise(reports):
        assert before.balanced().kept == after.rows_in
    final = next(a for a in record.artifacts if a.name == "curated")
    assert store.dataset(final).rows == reports[-1].kept
    text = json.dumps([r.model_dump(mode="json") for r in reports])
    assert "jane.doe" not in text
    assert "jane.doe" not in "".join(str(t) for t in store.dataset(final).tables())


# --- kill -9 -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_run_is_reaped_and_its_finished_steps_are_reused(data: Path, silent_judge: SilentJudge) -> None:
    from zenml.client import Client

    with (data / "orders.jsonl").open("a") as f:
        # A row that no other test has, so that nothing comes from their cache.
        f.write(json.dumps({"prompt": "Which day is the sale?", "completion": "The sale is on Friday."}) + "\n")
    config = write_config(data, "killed", judge=silent_judge.settings)
    process = subprocess.Popen([sys.executable, "-m", "ops.main", "run", str(config)], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        assert silent_judge.asked.wait(180), "the judge was never asked"
        alive = next(r for r in sync(ROOT) if r.config_name == "killed")
        assert alive.status == "running" and alive.ended is None and is_behind(ROOT)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    dead = sync(ROOT)[0]
    assert dead.name.startswith("killed-") and dead.status == "failed" and "killed" in (dead.error or "")
    assert dead.failed_step == "judge_step"
    assert not is_behind(ROOT)

    run(write_config(data, "killed"), root=ROOT)
    assert Client().get_pipeline_run(dead.run_id).status.value == "failed"
    assert find_run(ROOT, None).executed_steps == own("judge_step", "leakcheck_step")


# --- another stack -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_same_config_gives_the_same_digests_with_artifacts_in_s3(data: Path, s3: str) -> None:
    config = write_config(data, "two-stacks")
    run(config, root=ROOT)
    here = find_run(ROOT, None)
    run(config, infra="s3", root=ROOT)
    there = find_run(ROOT, None)
    assert there.artifact_store == s3
    assert all(a.uri.startswith(s3) for a in there.artifacts)
    assert len(there.executed_steps) == 9
    assert digests(there) == digests(here)
    assert len(digests(there)) >= 7
    run(config, infra="s3", root=ROOT)
    assert find_run(ROOT, None).executed_steps == OWN


# --- code ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_editing_a_helper_reruns_its_stage_and_what_follows(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    # Compiled kernels come along: their sources are as old here as there.
    for name in ("steps", "pipelines", "materializers", "ops", "configs", ".zenml/stacks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    config = write_config(data, "edited")

    # Not this process's store.
    bare = {k: v for k, v in os.environ.items() if not k.startswith("ZENML")}
    environment = {**bare, "ASSAY_STATE": str(tmp_path / "state"), "ASSAY_ROOT": str(copy)}

    def executed() -> tuple[str, ...]:
        done = subprocess.run(
            [sys.executable, "-m", "ops.main", "run", str(config), "--json"],
            cwd=copy, capture_output=True, text=True, check=False, timeout=300,
            env={**environment, "PYTHONPATH": str(copy)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return tuple(json.loads(done.stdout)["executed_steps"])

    assert len(executed()) == 9
    helper = copy / "steps" / "split" / "split.py"
    helper.write_text(helper.read_text() + "\n# a comment\n")
    assert executed() == OWN
    # The label of a row now depends on something else: other rows are test rows, so all that follows runs.
    (copy / "steps" / "split" / "config.py").write_text(
        (copy / "steps" / "split" / "config.py")
        .read_text()
        .replace('salt: str = Field("assay"', 'salt: str = Field("x"')
    )
    assert executed() == own("split_step", "scrub_step", "screen_step", "judge_step", "leakcheck_step")


def test_runs_are_listed_newest_first() -> None:
    started = [r.started for r in load_runs(ROOT)]
    assert started == sorted(started, reverse=True)

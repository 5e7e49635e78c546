"""`assay runs rm` and `assay gc` on real runs that share what they made: nothing of the run that stays is lost, also
when the command is killed on its way, or called twice at once.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

CONFIG = """
name: shared
pipeline: curate
skip: [screen, judge, leakcheck]
ingest: {sources: [{name: rows, path: ROWS}]}
scrub: {demo_key: true}
"""
# Ends the process where it is about to remove the n-th folder.
KILLING = """
import os, shutil, signal, sys
removed, calls = shutil.rmtree, []
def rmtree(path, *rest, **more):
    if "/state/runs/" in str(path) or "_step/" in str(path):
        calls.append(path)
        if len(calls) == {n}:
            os.kill(os.getpid(), signal.SIGKILL)
    return removed(path, *rest, **more)
shutil.rmtree = rmtree
sys.argv = ["assay", *{arguments!r}]
from ops.main import main
main()
"""

GC = ("gc", "--grace", "0d")


class Assay:
    """The command on a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"

    def start(self, *code: str) -> "subprocess.Popen[str]":
        # Other tests of this process have a store of their own.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_"))}
        environment = {**kept, "ASSAY_STATE": str(self.state), "ASSAY_PROGRESS": "off"}
        return subprocess.Popen(
            [sys.executable, *code], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self, *arguments: str) -> dict[str, object]:
        process = self.start("-m", "ops.main", *arguments, "--json")
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        told: dict[str, object] = json.loads(out)
        return told

    def killed(self, n: int, *arguments: str) -> None:
        process = self.start("-c", KILLING.format(n=n, arguments=arguments))
        process.communicate(timeout=600)
        assert process.returncode == -signal.SIGKILL

    def files(self, run: dict[str, object]) -> dict[str, bytes]:
        """What a run names, by path."""
        folders = [Path(a["uri"]) for a in run["artifacts"]]  # type: ignore[attr-defined]
        return {str(p): p.read_bytes() for f in folders for p in sorted(f.rglob("*")) if p.is_file()}


def digests(run: dict[str, object]) -> dict[str, str]:
    return {a["name"]: a["digest"] for a in run["artifacts"] if a["type"] == "dataset"}  # type: ignore[attr-defined]


def test_what_another_run_shares_stays(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    words = ["order", "lamp", "door", "river", "paper", "glass", "cloud", "stone", "green", "table"]
    lines = [{"prompt": f"{w} {v} {n}?", "completion": f"{v} {n} {w}."} for n, w in enumerate(words) for v in words]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("ROWS", str(rows)))
    assay = Assay(tmp_path)
    first = assay("run", str(config))
    second = assay("run", str(config), "--set", "dedup.threshold=0.9")
    assert set(first["cached_steps"]) == set() and second["cached_steps"]
    before = assay.files(second)
    assert assay(*GC)["found"] == [] and assay(*GC, "--yes")["bytes"] == 0

    shown = assay("runs", "rm", str(first["name"]))
    assert not shown["removed"] and shown["bytes"] and len(assay("runs")["runs"]) == 2
    # Killed before the record goes, then before the first artifact does: each time the next call goes on from there.
    assay.killed(1, "runs", "rm", str(first["name"]), "--yes")
    assert len(assay("runs")["runs"]) == 2
    assay.killed(2, "runs", "rm", str(first["name"]), "--yes")
    assert [r["name"] for r in assay("runs", "--sync")["runs"]] == [second["name"]]  # type: ignore[attr-defined]
    young = assay("gc")
    assert not young["found"] and young["young"]["bytes"]  # type: ignore[index]
    left = assay(*GC)
    assert left["bytes"]
    # Killed before the second artifact goes.
    assay.killed(2, *GC, "--yes")
    assert (rest := assay(*GC)["bytes"]) and rest < left["bytes"]
    together = [assay.start("-m", "ops.main", *GC, "--yes", "--json") for _ in range(2)]
    ended = [(process.communicate(timeout=600), process.returncode) for process in together]
    assert [status for _, status in ended] == [0, 0], ended
    assert sorted(json.loads(out)["bytes"] for (out, _), _ in ended) == [0, rest]

    assert assay.files(second) == before
    again = assay("run", str(config), "--set", "dedup.threshold=0.9")
    # ZenML's cache knows a step by the run that executed it: the removed one's run once more, to the same end.
    assert {"dedup_step"} <= set(again["cached_steps"])
    assert digests(again) == digests(second)

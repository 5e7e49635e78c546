"""What ZenML adds to a step, in wall-clock seconds: all between a step's start and its end but the step's own code.

A curation of some rows runs on the stack `local` with every step executed, `--repeats` times in one state folder, each
in a fresh process. Of every step but the first (which pays for what is loaded once) the time of ZenML's launcher is
taken, less that of the step's function, and less that of our materializers, which write and read artifacts. Said is
the median over steps, of the lowest run and of the middle one; and CPU seconds, which other work disturbs less.
"""

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import ROOT, finish, measured

# Wanted, in seconds.
LIMIT = 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one_run(folder)  # kernels, byte code and the store are made by the first
        runs = [one_run(folder) for _ in range(wanted.repeats)]
    medians = [statistics.median(step["zenml"] for step in run[1:]) for run in runs]
    best = runs[medians.index(min(medians))]
    for step in best:
        print(f"{step['name']:16} {step['whole']:6.3f} s   own {step['own']:6.3f}   ZenML {step['zenml']:6.3f}")
    cpu = min(statistics.median(step["zenml_cpu"] for step in run[1:]) for run in runs)
    middle = statistics.median(medians)
    print(f"ZenML per step: {min(medians):.3f} s, {cpu:.3f} CPU s in the lowest run; {middle:.3f} s in the middle one")
    figures = {"seconds_per_step": round(min(medians), 3), "cpu_seconds": round(cpu, 3), "middle": round(middle, 3)}
    finish("overhead", figures, {f"under {LIMIT} s per step": min(medians) < LIMIT})


def one_run(folder: Path) -> list[dict[str, Any]]:
    """Seconds of every step of one run."""
    out = folder / "steps.json"
    rows = [{"prompt": f"Where is order {i * 37}?", "completion": f"It left on day {i}."} for i in range(40)]
    (folder / "orders.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = folder / "orders.yaml"
    config.write_text(json.dumps({
        "name": "orders", "pipeline": "curate", "scrub": {"demo_key": True},
        "ingest": {"sources": [{"name": "orders", "path": str(folder / "orders.jsonl")}]},
    }))  # fmt: skip
    command = [sys.executable, __file__, "--inside", str(out), "run", str(config), "--no-cache", "--json"]
    measured(command, ASSAY_STATE=str(folder / "state"), ASSAY_PROGRESS="off")
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


class Clock:
    """Seconds of each step: of its launch, and of what is ours in it. What is ours within what is ours counts once."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        # Wall-clock and CPU seconds of ours, in the step that is being launched.
        self._own, self._own_cpu, self._depth = 0.0, 0.0, 0

    def launch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def launched(launcher: Any, *args: Any, **kwargs: Any) -> Any:
            self._own, self._own_cpu = 0.0, 0.0
            start, start_cpu = time.perf_counter(), time.process_time()
            try:
                return function(launcher, *args, **kwargs)
            finally:
                whole, cpu = time.perf_counter() - start, time.process_time() - start_cpu
                self.steps.append({
                    "name": launcher._invocation_id, "whole": whole, "own": self._own, "zenml": whole - self._own,
                    "zenml_cpu": cpu - self._own_cpu,
                })  # fmt: skip

        return launched

    def ours(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            start, start_cpu = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._own += time.perf_counter() - start
                    self._own_cpu += time.process_time() - start_cpu

        return timed


def inside(out: Path, command: list[str]) -> None:
    """Run the command here, with a clock in ZenML."""
    sys.path.insert(0, str(ROOT))
    from ops.environment import find_root, prepare

    prepare(find_root())
    from zenml.orchestrators.step_launcher import StepLauncher
    from zenml.steps.base_step import BaseStep

    import materializers.all
    from ops.main import main as assay

    clock = Clock()
    StepLauncher.launch = clock.launch(StepLauncher.launch)  # type: ignore[method-assign]
    BaseStep.call_entrypoint = clock.ours(BaseStep.call_entrypoint)  # type: ignore[method-assign]
    for kind in materializers.all.ARTIFACT_TYPES:
        _time_materializer(clock, kind)
    sys.argv = ["assay", *command]
    try:
        assay()
    finally:
        out.write_text(json.dumps(clock.steps))


def _time_materializer(clock: Clock, kind: type) -> None:
    from zenml.materializers.materializer_registry import materializer_registry

    found = materializer_registry[kind]
    for name in ("save", "load", "save_visualizations", "extract_metadata", "compute_content_hash"):
        method = getattr(found, name)
        if not getattr(method, "timed", False):
            timed: Any = clock.ours(method)
            timed.timed = True
            setattr(found, name, timed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()

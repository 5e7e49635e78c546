"""What a command costs before it has anything to do: CPU seconds of whole processes, children included.

`assay --version`, `assay stage dedup` on a file of three rows, and `assay run` of the smoke config with every step but
the first and the last from the cache, each the lowest of `--repeats` processes in a state folder that earlier ones have
filled. Where a run's seconds go is measured in this process by wrapping what the phases begin with; an import counts
as one wherever it happens. The smoke run's part can be left out with `--only version stage`.
"""

import argparse
import builtins
import functools
import importlib
import json
import resource
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import Cost, assay, finish, measured

CONFIG = "configs/runs/smoke.yaml"
ROWS = [{"prompt": f"What is {n} plus {n}?", "completion": f"{n} plus {n} is {2 * n}."} for n in (2, 3, 4)]
# Phases by what they begin with, module:name. What one calls of another is the other's.
PHASES = {
    "ops.run:make_plan": "config",
    "ops.live_run:open_store": "store",
    "steps.zenml_runtime.database:open_store": "store",
    "ops.live_run:apply": "stack",
    "steps.zenml_runtime.tracker:prepare_tracker": "stack",
    "zenml.pipelines.pipeline_definition:Pipeline._create_snapshot": "ZenML's compiling",
    "zenml.pipelines.pipeline_definition:Pipeline._run": "ZenML's start",
    "zenml.orchestrators.step_launcher:StepLauncher.launch": "ZenML's steps",
    "zenml.environment:Environment.get_python_packages": "list of packages",
    "pipelines.start:_facts": "first step",
    "pipelines.start:read_inputs": "first step",
    "pipelines.finish:record_of": "record",
    "pipelines.finish:with_sections": "record",
    "pipelines.finish:page_of": "page",
    "ops.run:_recorded": "record",
    "ops.run:print_summary": "summary",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=("version", "stage", "run"), default=["version", "stage", "run"])
    wanted = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted.only:
            command = commands(Path(folder))[name]
            # Compiled kernels, byte code and the store are made by the first one, and everything cached.
            assay(*command, state=Path(folder) / "state")
            lowest = min((assay(*command, state=Path(folder) / "state") for _ in range(wanted.repeats)), key=cpu)
            print(f"{name:8} {lowest.cpu_seconds:6.2f} CPU s  {lowest.seconds:6.2f} s  {lowest.peak_mb:5.0f} MB")
            phases = min(
                (by_phase(command, Path(folder)) for _ in range(wanted.repeats)), key=lambda p: sum(p.values())
            )
            for phase, seconds in sorted(phases.items(), key=lambda item: -item[1]):
                print(f"    {seconds:6.2f}  {phase}")
            figures[name] = {"cpu_seconds": round(lowest.cpu_seconds, 2), "phases": phases}
    finish("startup", figures, wanted_of(figures))


def commands(folder: Path) -> dict[str, list[str]]:
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return {
        "version": ["--version"],
        "stage": ["stage", "dedup", str(rows), "--out", str(folder / "out"), "--json"],
        "run": ["run", CONFIG, "--json"],
    }


def cpu(cost: Cost) -> float:
    return cost.cpu_seconds


def wanted_of(figures: dict[str, Any]) -> dict[str, bool]:
    """Half of what they cost once, when each interpreter's second core was busy: see README.md."""
    limits = {"stage": 0.9, "run": 5.0}
    return {
        f"{n} under {limit} CPU s": figures[n]["cpu_seconds"] < limit for n, limit in limits.items() if n in figures
    }


def by_phase(command: list[str], folder: Path) -> dict[str, float]:
    """CPU seconds by phase of one more process."""
    out = folder / "phases.json"
    measured([sys.executable, __file__, "--inside", str(out), *command], ASSAY_STATE=str(folder / "state"))
    phases: dict[str, float] = json.loads(out.read_text())
    return phases


class Phases:
    """CPU seconds of this process and its ended children by phase; the innermost one that is open gets them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = ["interpreter, rest"]
        self._since = 0.0
        self._waiting = dict(PHASES)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        now = sum(
            u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def wrap(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return wrapped

    def importing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The import function, its seconds counted where something is loaded; what is loaded gets its phases."""

        @functools.wraps(function)
        def imported(*args: Any, **kwargs: Any) -> Any:
            if self._open[-1] == "imports":
                return function(*args, **kwargs)
            before = len(sys.modules)
            with self.phase("imports"):
                module = function(*args, **kwargs)
            if len(sys.modules) != before:
                self._find()
            return module

        return imported

    def _find(self) -> None:
        """Wrap what has been loaded by now."""
        for path, name in list(self._waiting.items()):
            module, _, where = path.partition(":")
            *classes, attribute = where.split(".")
            owner = functools.reduce(lambda o, n: getattr(o, n, None), classes, sys.modules.get(module))
            found = vars(owner).get(attribute) if owner is not None else None
            if found is not None:
                static = isinstance(found, staticmethod)
                wrapped = self.wrap(found.__func__ if static else found, name)
                setattr(owner, attribute, staticmethod(wrapped) if static else wrapped)
                del self._waiting[path]


def inside(out: Path, command: list[str]) -> None:
    """Run the command here and write its seconds by phase."""
    phases = Phases()
    builtins.__import__ = phases.importing(builtins.__import__)
    importlib.import_module = phases.importing(importlib.import_module)
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.argv = ["assay", *command]
    try:
        importlib.import_module("ops.main").main()
    finally:
        phases._count()
        out.write_text(json.dumps({name: round(seconds, 3) for name, seconds in phases.seconds.items()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()

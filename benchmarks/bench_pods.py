"""The smoke config with every step as a pod would run it: CPU seconds in all, and of each step what they went into.

A step is a process of its own, started by ZenML's entrypoint in an empty home, with a bare environment and its code
from the archive in the bucket (moto's server; `tests/support/pods.py`). Compiled kernels are there, as in the image: a
run in one process has made them before. ZenML's store is this machine's database, which pods open themselves; those
that have a server ask that. Counted within each pod are: starting (Python, ZenML, its integrations), fetching our code
and importing it, what is left of ZenML, libraries that the step's own code loads, its work, and the interpreter's end.
`launcher` is `assay run` itself.
"""

import _frozen_importlib
import argparse
import functools
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Wanted, in CPU seconds; one warm process takes 37.
LIMIT = 100
# Phases by what they begin with, module:name.
PHASES = {
    "zenml.integrations.registry:IntegrationRegistry.activate_integrations": "integrations",
    "zenml.entrypoints.base_entrypoint_configuration:BaseEntrypointConfiguration.prepare_code_environment": "code",
    "zenml.steps.base_step:BaseStep.call_entrypoint": "own",
}
MATERIALIZING = ("save", "load", "save_visualizations", "extract_metadata", "compute_content_hash")
# What is imported is Python's start, ZenML or our code before the step's function; within it what that needs.
IMPORTED_IN = {"own": "libraries", "zenml": "imports"}
COLUMNS = ("imports", "integrations", "code", "zenml", "libraries", "own", "end")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="configs/runs/smoke.yaml")
    wanted = parser.parse_args()
    from measure import assay, finish

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kernels = folder / "kernels"
        assay("run", wanted.config, "--json", state=folder / "here", NUMBA_CACHE_DIR=str(kernels))
        whole, steps = as_pods(wanted.config, folder, kernels)
    print(f"{'CPU s':20} {'all':>6}" + "".join(f"{column:>13}" for column in COLUMNS))
    for step, spent in steps.items():
        print(f"{step:20} {sum(spent.values()):6.2f}" + "".join(f"{spent.get(c, 0):13.2f}" for c in COLUMNS))
    sums = {column: round(sum(spent.get(column, 0) for spent in steps.values()), 1) for column in COLUMNS}
    sums["launcher"] = round(whole - sum(sums.values()), 1)
    print(f"{len(steps)} pods: {whole:.1f} CPU s: " + ", ".join(f"{name} {seconds}" for name, seconds in sums.items()))
    figures = {"cpu_seconds": round(whole, 1), "pods": len(steps), **sums}
    finish("pods", figures, {f"under {LIMIT} CPU s": whole < LIMIT})


def as_pods(config: str, folder: Path, kernels: Path) -> tuple[float, dict[str, dict[str, float]]]:
    """CPU seconds of a run, and of each step's pod by phase."""
    from measure import ROOT, measured

    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from support import outcomes, pod_stack
    from support.servers import moto

    state, costs = folder / "state", folder / "costs"
    costs.mkdir()
    with moto.moto(folder / "moto") as bucket:
        os.environ |= {**moto.environment(bucket), "ASSAY_S3_PATH": f"s3://{moto.BUCKET}/runs"}
        more = pod_stack.variables(pod_stack.checkout(folder / "checkout"), state, kernels)
        pod_stack.make_known(state, more)
        probe = f"{Path(__file__).resolve()} --inside {costs}"
        command = [sys.executable, "-m", "ops.main", "run", config, "--infra", "pods", "--json"]
        run = measured(command, **outcomes.environment(state, **more, POD_PROBE=probe))
    found = sorted((json.loads(file.read_text()) for file in costs.iterdir()), key=lambda pod: pod["ended"])
    looking = sum(pod["probe"] for pod in found)
    return run.cpu_seconds - looking, {pod["step"]: pod["spent"] for pod in found}


class Phases:
    """CPU seconds of this process and its ended children by phase; the innermost one that is open gets them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        # All since the interpreter's start belongs to the first one.
        self._open, self._since = ["zenml"], 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.count()
        self._open.append(name)
        try:
            yield
        finally:
            self.count()
            self._open.pop()

    def count(self) -> None:
        used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        now = sum(u.ru_utime + u.ru_stime for u in used)
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, attribute)
        if hasattr(function, "timed"):
            return

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        wrapped.timed = True  # type: ignore[attr-defined]
        setattr(owner, attribute, wrapped)

    def watch_imports(self) -> None:
        """What Python calls for a module that isn't loaded; nothing is asked of imports that cost nothing."""
        load = _frozen_importlib._find_and_load  # type: ignore[attr-defined]

        def watched(name: str, import_: Any) -> Any:
            inner = IMPORTED_IN.get(self._open[-1])
            if inner is None:
                module = load(name, import_)
            else:
                with self.phase(inner):
                    module = load(name, import_)
            self._loaded(name)
            return module

        _frozen_importlib._find_and_load = watched  # type: ignore[attr-defined]

    def _loaded(self, module: str) -> None:
        for path, name in PHASES.items():
            if path.startswith(f"{module}:"):
                kind, attribute = path.partition(":")[2].split(".")
                self.wrap(getattr(sys.modules[module], kind), attribute, name)
        if module == "materializers.all":
            for materializer in sys.modules[module].MATERIALIZERS:
                for attribute in MATERIALIZING:
                    self.wrap(materializer, attribute, "own")


def inside(out: Path, arguments: list[str]) -> None:
    """Run `python ARGUMENTS`, a script and what it is told, in a process whose end is seen from here; write its seconds
    by phase.
    """
    file = out / f"{arguments[arguments.index('--step_name') + 1]}.json"
    done = subprocess.run([sys.executable, "-S", __file__, "--within", str(file), *arguments], check=False)
    if file.is_file():
        spent = json.loads(file.read_text())
        own, child = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        spent["end"] = child.ru_utime + child.ru_stime - sum(spent.values())
        said = {"step": file.stem, "ended": time.time(), "probe": own.ru_utime + own.ru_stime, "spent": spent}
        file.write_text(json.dumps(said))
    sys.exit(done.returncode)


def within(file: Path, arguments: list[str]) -> None:
    phases = Phases()
    phases.watch_imports()
    sys.argv = arguments
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    finally:
        phases.count()
        file.write_text(json.dumps(phases.seconds))


if __name__ == "__main__":
    roles = {"--inside": inside, "--within": within}
    if len(sys.argv) > 1 and (role := roles.get(sys.argv[1])):
        role(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()

"""Running a command and saying what it cost: wall-clock seconds, CPU seconds of it and its children, peak memory."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent


# Chosen: short enough to see a stage's peak, long enough to cost nothing.
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Cost:
    """What a command cost with all its children.

    Attributes:
        peak_mb: the highest resident size of its largest process, as the kernel counted it.
        tree_mb: the highest sum of the proportional set sizes of its processes, sampled: pages that they share count
            once. At least `peak_mb`.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    tree_mb: float
    stdout: str


def measured(command: Sequence[str], **environment: str) -> Cost:
    """Run a command from the repository's root; its standard error goes to ours, its standard output comes back."""
    # A child's peak memory starts at that of the process it was split from, so a small one stands between it and us.
    watcher = (
        "import json, os, subprocess, sys, time\n"
        "start = time.monotonic()\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)\n"
        "out = child.stdout.read()\n"
        "_, status, used = os.wait4(child.pid, 0)\n"
        "code = os.waitstatus_to_exitcode(status)\n"
        "cpu = used.ru_utime + used.ru_stime\n"
        "print(json.dumps([code, time.monotonic() - start, cpu, used.ru_maxrss / 1024, out]))"
    )
    watched = subprocess.Popen(
        [sys.executable, "-c", watcher, *command],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip
    sums: list[float] = []
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(watched.pid, ended, sums))
    sampler.start()
    said, _ = watched.communicate()
    ended.set()
    sampler.join()
    if watched.returncode:
        sys.exit(f"{' '.join(command)} could not be measured")
    code, seconds, cpu, peak, out = json.loads(said)
    if code:
        sys.exit(f"{' '.join(command)} ended with status {code}")
    return Cost(seconds, cpu, peak, max([peak, *sums]), out)


def _sample(watcher: int, ended: threading.Event, sums: list[float]) -> None:
    """Add the summed proportional set sizes (MB) of the watcher's descendants until the watcher ends."""
    while not ended.wait(_SAMPLE_SECONDS):
        total = 0
        try:
            for process in psutil.Process(watcher).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_full_info().pss
        except psutil.Error:
            return
        sums.append(total / 2**20)


def assay(*arguments: str, state: Path, **environment: str) -> Cost:
    """Run the assay command in a state folder of its own."""
    return measured([sys.executable, "-m", "ops.main", *arguments], ASSAY_STATE=str(state), **environment)


def peer(name: str, mode: str, file: Path, *more: str, words: int = 5) -> Cost:
    """Run benchmarks/peers/by_NAME.py in the peers' own environment; `more` says where its results go."""
    python = ROOT / ".venv-peers" / "bin" / "python"
    if not python.is_file():
        sys.exit("the peers have an environment of their own: make it with `make peers`")
    script = ROOT / "benchmarks" / "peers" / f"by_{name}.py"
    return measured([str(python), str(script), str(file), "--mode", mode, "--words", str(words), *more])


def finish(name: str, figures: dict[str, object], wanted: dict[str, bool]) -> None:
    """Print the last line: the figures, which wants were met, and whether all were."""
    print(json.dumps({"benchmark": name, **figures, "wanted": wanted, "pass": all(wanted.values())}))
    sys.exit(0 if all(wanted.values()) else 1)


def own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def data_folder(name: str, *needed: str) -> Path:
    """The folder with real data that ASSAY_BENCH_DATA names; says so and stops when it isn't there."""
    folder = Path(os.environ.get("ASSAY_BENCH_DATA", ""))
    missing = [n for n in needed if not (folder / n).is_file()]
    if "ASSAY_BENCH_DATA" not in os.environ or missing:
        print(f"SKIPPED {name}: set ASSAY_BENCH_DATA to a folder with {', '.join(needed)}")
        print(json.dumps({"benchmark": name, "skipped": True, "pass": True}))
        sys.exit(0)
    return folder

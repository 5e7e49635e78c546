"""Running a command and saying what it cost: wall-clock seconds, CPU seconds of it and its children, peak memory."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_seconds: float
    peak_mb: float
    stdout: str


def assay(*arguments: str, state: Path, **environment: str) -> Cost:
    """Run the assay command in a state folder of its own; its progress goes to standard error."""
    command = [sys.executable, "-m", "ops.main", *arguments]
    # Peak memory is per waited child, so each command gets a process between it and us.
    watcher = (
        "import json,resource,subprocess,sys,time\n"
        "t=time.monotonic(); p=subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)\n"
        "u=resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([p.returncode, time.monotonic()-t, u.ru_utime+u.ru_stime, u.ru_maxrss/1024, p.stdout]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", watcher, *command],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
        env={**os.environ, "ASSAY_STATE": str(state), **environment},
    )  # fmt: skip
    code, seconds, cpu, peak, out = json.loads(done.stdout)
    if code:
        sys.exit(f"{' '.join(command)} ended with status {code}")
    return Cost(seconds, cpu, peak, out)


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

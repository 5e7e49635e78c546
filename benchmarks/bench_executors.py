"""Row-wise work in this process, in two processes and on Ray: from which size another executor pays.

Data: `t0.jsonl.gz`, the T0 sample of the self-instruct repository (Apache-2.0), in the folder that ASSAY_BENCH_DATA
names. scrub with profile hipaa over the first rows of it, in growing numbers. Seconds are wall clock, of the stage
alone; the dataset's digest and the ledger must be equal on all three.
"""

import gzip
import tempfile
import time
from pathlib import Path

from measure import data_folder, finish

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.execution import Executor, Inline
from steps.engines.execution.config import ExecutorConfig
from steps.ingest.ingest import ingest
from steps.ingest.quick import quick_config
from steps.scrub.config import ScrubConfig
from steps.scrub.scrub import scrub

SIZES = (1_000, 5_000, 20_000)
WORKERS = 2
CONFIG = ScrubConfig(demo_key=True, profile=("hipaa",), accept_uncovered=("PERSON", "LOCATION"))


def executors() -> dict[str, Executor]:
    processes, ray = (ExecutorConfig.model_validate({"kind": k, "workers": WORKERS}) for k in ("processes", "ray"))
    return {"inline": Inline(), "processes": processes.executor(), "ray": ray.executor()}


def measured(rows: Dataset, folder: Path, executor: Executor) -> tuple[float, str, str]:
    started = time.perf_counter()
    done = scrub(rows, CONFIG, StageContext(folder, executor=executor))
    seconds = time.perf_counter() - started
    return seconds, done.rows.digest, str(done.ledger.read().to_pylist())


def main() -> None:
    source = data_folder("executors", "t0.jsonl.gz") / "t0.jsonl.gz"
    with gzip.open(source, "rt") as file:
        lines = file.read().splitlines()
    figures: dict[str, object] = {}
    equal = True
    print(f"| rows | {' | '.join(executors())} |\n|---:|{'---:|' * len(executors())}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in SIZES:
            first = folder / f"{size}.jsonl"
            first.write_text("\n".join(lines[:size]) + "\n")
            here = StageContext(folder / f"in-{size}", Path.cwd())
            rows = ingest(None, quick_config([str(first)]), here).rows
            found = {n: measured(rows, folder / f"{n}-{size}", e) for n, e in executors().items()}
            equal &= len({f[1:] for f in found.values()}) == 1
            figures[str(size)] = {n: round(f[0], 1) for n, f in found.items()}
            print(f"| {size:,} | {' | '.join(f'{f[0]:.1f} s' for f in found.values())} |", flush=True)
    finish("executors", figures, {"equal": equal})


if __name__ == "__main__":
    main()

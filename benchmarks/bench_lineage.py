"""`assay explain` and `assay where-used` over many runs: whole processes, from a local disk and from S3.

    python benchmarks/bench_lineage.py [ROWS] [RUNS] [--s3]

The runs are those of `tests/support/growing_runs.py`: each adds its share of the rows (100 words, about 850 characters)
and has seven dataset versions, seven ledgers and a model. Each question is asked twice: the first time nothing is known
of the files, the second time they were read before. `--s3` puts the store behind moto's server on this machine, which
is one process and shares its cores. Times by the clock mean something on a calm machine alone; CPU seconds are those of
the command.
"""

import logging
import os
import sys
import tempfile
from pathlib import Path

from measure import Cost, assay, finish

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# Chosen: seconds of the whole process that a person waits for without thinking of something else.
WANTED = {"disk": 2.0, "s3": 5.0}


def main() -> None:
    numbers = [int(a) for a in sys.argv[1:] if a.isdigit()]
    rows, runs = [*numbers, *(1_000_000, 20)[len(numbers) :]]
    figures: dict[str, object] = {"rows": rows, "runs": runs}
    wanted: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("ASSAY_BENCH_SCRATCH")) as folder:
        state = Path(folder) / "state"
        os.environ["ASSAY_STATE"] = str(state)
        from support.growing_runs import address, make, record_id

        make(state, rows, runs, Path(folder) / "scratch")
        questions = {
            "explain a record id": ("explain", record_id(31, rows, runs)),
            "explain a text": ("explain", "Ticket 31 of the Growing"),
            "where-used a record id": ("where-used", record_id(31, rows, runs)),
            "where-used a source": ("where-used", "mails/00.jsonl"),
            "where-used a person": ("where-used", "--subject", address(31)),
        }
        place = "s3" if "--s3" in sys.argv else "disk"
        environment = _in_s3(state, folder) if place == "s3" else {}
        for name, question in questions.items():
            costs = [assay(*question, state=state, **environment) for _ in range(2)]
            for when, cost in zip(("first", "again"), costs, strict=True):
                figures[f"{name}, {when}"] = _told(name, when, cost)
            wanted[f"{name} < {WANTED[place]:g} s"] = costs[1].seconds < WANTED[place]
    finish(f"lineage_{place}", figures, wanted)


def _told(name: str, when: str, cost: Cost) -> list[float]:
    print(f"{name:24} {when:6} {cost.seconds:6.2f} s {cost.cpu_seconds:6.2f} CPU s {cost.peak_mb:7.0f} MB", flush=True)
    return [round(cost.seconds, 2), round(cost.cpu_seconds, 2)]


def _in_s3(state: Path, folder: str) -> dict[str, str]:
    """Bring the store to a bucket, and the index to name it there; the environment that leads to it."""
    import fsspec
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    environment = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "test",
                   "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
    os.environ.update(environment)
    s3 = fsspec.filesystem("s3")
    s3.mkdir("assay-bench")
    local, there = str(state / "artifacts"), "s3://assay-bench/runs"
    s3.put(local + "/", there + "/", recursive=True)
    for record in (state / "runs").glob("*/run.json"):
        text = record.read_text().replace(local, there)
        record.write_text(text)
    (state / "artifacts").rename(Path(folder) / "away")
    return environment


if __name__ == "__main__":
    main()

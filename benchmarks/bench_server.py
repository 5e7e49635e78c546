"""Eight curation runs at once by two users of one ZenML server on MariaDB, artifacts in one bucket (moto).

Each user has an account, a state folder and `--runs` processes that all start together; the runs share one config,
every step is executed, and each ingests rows of its own. Looked at afterwards, from ZenML's store and the bucket alone:
that all completed, that every ledger and dataset has all of its rows, that no artifact version exists twice, and that
nobody's output tells of a lock or a deadlock. Needs `make server-env` and MariaDB; everything runs on this machine, so
that the seconds are those of this machine, too.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any

from measure import ROOT, finish

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
USERS = ("ann", "bob")
ROWS = 400
# Of one row in five there is a copy, which dedup drops; as many lines its ledger has.
COPIES = ROWS // 5
_TROUBLE = ("database is locked", "Deadlock", "deadlock", "Lock wait", "EntityExistsError", "Traceback")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=4, help="of each of the two users")
    wanted = parser.parse_args()
    from support.servers import moto
    from support.servers.mariadb import mariadb
    from support.servers.zenml_server import zenml_server

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            mariadb(folder / "mariadb") as database,
            zenml_server(folder / "zenml", f"{database}/zenml", USERS) as server,
            moto.moto(folder / "moto") as bucket,
        ):
            shared = {**moto.environment(bucket), "ASSAY_ARTIFACTS": f"s3://{moto.BUCKET}/runs"}
            places = {user: {**shared, **server.environment(user)} for user in USERS}
            seconds, said = all_at_once(folder, places, wanted.runs)
            os.environ.update(shared)
            found = looked_at(folder, places["ann"])
    trouble = sorted({word for text in said for word in _TROUBLE if word in text})
    report(seconds, found, trouble, wanted.runs * len(USERS))


def all_at_once(folder: Path, places: Mapping[str, dict[str, str]], runs: int) -> tuple[float, list[str]]:
    """Wall-clock seconds until the last has ended, and what each of them printed."""
    started = time.monotonic()
    going = [
        Popen(
            [sys.executable, "-m", "ops.main", "run", config(folder, f"{user}{i}"), "--infra", "server", "--no-cache"],
            cwd=ROOT, env=environment(folder / user, place), stdout=PIPE, stderr=STDOUT, text=True,
        )
        for user, place in places.items() for i in range(runs)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in going]
    seconds = time.monotonic() - started
    for process, text in zip(going, said, strict=True):
        if process.returncode:
            print(text[-3000:], file=sys.stderr)
    return seconds, said


def environment(state: Path, place: Mapping[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_", "ASSAY_"))}
    # Curation tracks nothing; the stack names its tracker all the same.
    tracker = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_TRACKING_TOKEN": "none"}
    return {**kept, "ASSAY_STATE": str(state), "ASSAY_PROGRESS": "off", **tracker, **place}


def config(folder: Path, name: str) -> str:
    """Of rows that no other run has."""
    rows = [
        {"prompt": f"{name} asks about order {i * 7919 % 104729}: where is it, {i}?", "completion": f"On its way, {i}."}
        for i in range(ROWS - COPIES)
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, [*rows, *rows[:COPIES]])))
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({
        "name": "crowd", "pipeline": "curate", "skip": ["screen"], "scrub": {"demo_key": True},
        "dedup": {"threshold": 0.99},
        "ingest": {"sources": [{"name": name, "path": str(folder / f"{name}.jsonl")}]},
    }))  # fmt: skip
    return str(path)


def looked_at(folder: Path, place: Mapping[str, str]) -> list[dict[str, Any]]:
    """Of each run, from the stores alone."""
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom ops.environment import find_root, prepare\n"
        "root = find_root(); prepare(root)\nfrom ops.sync import sync\nfound = sync(root)\n"
        "from zenml.client import Client\n"
        "versions, page, pages = [], 1, 1\n"
        "while page <= pages:\n"
        "    listed = Client().list_artifact_versions(page=page, size=500)\n"
        "    versions += [f'{v.artifact.name}/{v.version}' for v in listed.items]\n"
        "    page, pages = page + 1, listed.total_pages\n"
        "print(json.dumps([[json.loads(r.model_dump_json()) for r in found], versions]))\n"
    )
    child = Popen([sys.executable, "-c", code], cwd=ROOT, env=environment(folder / "fresh", place), stdout=PIPE)
    records, versions = json.loads(child.communicate()[0].splitlines()[-1])
    from materializers.artifacts import Artifacts
    from steps.contracts.runs import RunRecord

    doubled = [name for name, count in Counter(versions).items() if count > 1]
    found = []
    for record in map(RunRecord.model_validate, records):
        store = Artifacts(record, folder / "cache")
        ledgers = {a.name: store.ledger(a).rows for a in record.of_type("ledger")}
        reports = [store.report(a) for a in record.of_type("stage_report")]
        found.append({
            "name": record.name, "status": record.status, "seconds": record.seconds, "cpu": record.cpu_seconds,
            "ledgers": ledgers, "kept": reports[-1].kept, "doubled": doubled, "stages": len(reports),
        })  # fmt: skip
    return found


def report(seconds: float, found: list[dict[str, Any]], trouble: list[str], runs: int) -> None:
    for run in found:
        print(f"{run['name']}: {run['status']}, {run['seconds']:.0f} s, {run['cpu']} CPU s, ledgers {run['ledgers']}")
    whole = [r for r in found if r["ledgers"].get("dedup_ledger") == COPIES and r["kept"] == ROWS - COPIES]
    wanted = {
        f"all {runs} completed": [r["status"] for r in found] == ["completed"] * runs,
        "no ledger row is lost": len(whole) == runs,
        "no version is doubled": not any(r["doubled"] for r in found),
        "no lock error": not trouble,
    }
    cpu = sum(r["cpu"] or 0 for r in found)
    print(f"{runs} runs at once: {seconds:.0f} s, {cpu:.0f} CPU s of the runs; told of trouble: {trouble or 'none'}")
    finish("server", {"runs": runs, "seconds": round(seconds), "cpu_seconds": round(cpu), "rows": ROWS}, wanted)


if __name__ == "__main__":
    main()

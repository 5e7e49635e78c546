"""What a recorded run found and said, read from its artifacts."""

from pathlib import Path

from support.growing import MEASURED

from ops.run_index import artifacts_of
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]


def found(record: RunRecord) -> dict[str, object]:
    """Everything that the run found: dataset versions by digest, ledger lines, counts."""
    store = artifacts_of(ROOT, record)
    what: dict[str, object] = {a.name: a.digest for a in record.of_type("dataset")}
    for a in record.of_type("ledger"):
        what[a.name] = sorted(str(line) for line in store.ledger(a).read().to_pylist())
    for a in record.of_type("stage_report"):
        what[a.name] = store.report(a).model_dump(exclude=MEASURED)
    return what


def notes(record: RunRecord, said: str) -> dict[str, str]:
    """By stage the note of its report that holds `said`."""
    store = artifacts_of(ROOT, record)
    reports = [store.report(a) for a in record.of_type("stage_report")]
    return {r.stage: n for r in reports for n in r.notes if said in n}

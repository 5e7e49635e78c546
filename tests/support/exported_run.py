"""A recorded run whose last version holds every kind of row, with tools, reasoning, weights, labels and splits."""

from pathlib import Path

import numpy as np
from support import sample_run
from support.stored_run import StoredRun, with_digest

from ops.run_index import save_run
from steps.contracts.dataset import DatasetWriter
from steps.contracts.digests import canonical_json
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import Row, make_row, message
from steps.contracts.reports import StageReport
from steps.contracts.runs import RunRecord

CONFIG = """name: shop
ingest:
  sources:
    - {name: chats, path: data/chats.jsonl, licence: Apache-2.0}
    - {name: pages, hub: acme/pages, revision: 0123456789012345678901234567890123456789, licence: CC-BY-4.0}
"""
TOOLS = '[{"function":{"name":"find","parameters":{"properties":{"a":{"type":"number"}}}},"type":"function"}]'
ARGUMENTS = '{"a":  1, "b": null}'


def rows() -> list[Row]:
    """Two plain conversations (one of Alpaca's columns), one with tools, a preference, two documents, two answers
    with a label, a conversation with weights and reasoning.
    """
    calls = canonical_json([{"id": "x1", "type": "function", "function": {"name": "find", "arguments": ARGUMENTS}}])
    user = message("user", "Where is my order?\n\nNumber 7.")
    spoken = [
        make("chats", "line:1", messages=[message("system", "Be kind."), user, message("assistant", "On its way.")]),
        make("chats", "line:2", messages=[user, message("assistant", "Sent.")], meta={"alpaca_input_at": 20, "n": 1}),
        make("chats", "line:3", tools=TOOLS, messages=[
            user, message("assistant", "", tool_calls=calls), message("tool", "{}", tool_call_id="x1"),
            message("assistant", "It is sent."),
        ]),
    ]  # fmt: skip
    pair = {"chosen": [message("assistant", "Yes: é.")], "rejected": [message("assistant", "No.")]}
    return [
        *spoken,
        make("chats", "line:4", kind="preference", messages=[user], **pair),
        make("pages", "row:1", kind="document", text="A page.\n\nIts end."),
        make("pages", "row:2", kind="document", text="Another page."),
        make("chats", "line:5", kind="unpaired_preference", label=True, messages=[user, message("assistant", "Yes.")]),
        make("chats", "line:6", kind="unpaired_preference", label=False, messages=[user, message("assistant", "Hm.")]),
        make(
            "chats",
            "line:7",
            messages=[
                user,
                message("assistant", "Seven?", weight=0),
                message("user", "Yes."),
                message("assistant", "Sent.", weight=1, reasoning="It is the one of Monday."),
            ],
        ),
    ]


def make(source: str, locator: str, kind: str = "conversation", **what: object) -> Row:
    file = f"{source}/{source}.jsonl"
    return make_row(kind=kind, source=file, locator=locator, raw=locator.encode(), **what)  # type: ignore[arg-type]


def build(root: Path, work: Path, given: list[Row], scrubbed: bool = True, splits: bool = True) -> RunRecord:
    """A run that ingested these rows and scrubbed them, nothing found; rows take the splits train, train, test."""
    run = StoredRun(root, work / "store", given)
    stages = ["ingest", "scrub"] if scrubbed else ["ingest"]
    for stage in stages:
        writer = DatasetWriter(work / stage, stage)
        writer.write_rows(given)
        version = writer.close()
        if splits:
            codes = np.array([(0, 0, 2)[i % 3] for i in range(len(given))], np.int8)
            version = version.select(np.ones(len(given), bool), work / f"{stage}-split", stage, codes)
        run.add_dataset(f"{stage}_step", stage, version)
        with LedgerWriter(run.add(f"{stage}_step", f"{stage}_ledger", "ledger") / "ledger.parquet", stage):
            pass
        report = StageReport(
            stage=stage, rows_in=len(given) + 1, kept=len(given), dropped=1, dropped_by={"broken_json": 1},
            counts={"findings by entity": {"EMAIL_ADDRESS": 3}} if stage == "scrub" else {}, config_digest="c",
            seconds=0.1, cpu_seconds=0.1,
        )  # fmt: skip
        folder = run.add(f"{stage}_step", f"{stage}_report", "stage_report")
        (folder / "report.json").write_text(report.model_dump_json())
    record = sample_run.record("shop-2026-11-21-01-17-00").model_copy(
        update={"config_name": "shop", "artifact_store": str(run.store), "registration": None,
                "artifacts": tuple(map(with_digest, run.artifacts))}
    )  # fmt: skip
    record = sample_run.of_config(record, CONFIG)
    save_run(root, record, CONFIG)
    return record

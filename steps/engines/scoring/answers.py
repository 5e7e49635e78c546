"""The answers file: every prompt, answer and per-row score of one evaluation, in canonical order."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steps.contracts.digests import canonical_json
from steps.contracts.errors import InputNotFoundError
from steps.contracts.evaluation import ANSWERS_SCHEMA, EVIDENCE, Answers
from steps.contracts.storage import writing
from steps.engines.scoring.metrics import Scores


@dataclass(frozen=True)
class Answered:
    """One task's row: what was asked, what should have been said, what was said, its scores, what was thought, and what
    the scores go by (of suites).
    """

    task: str
    row_id: str
    prompt: str
    reference: str | None
    answer: str | None
    scores: Scores
    reasoning: str | None = None
    evidence: dict[str, Any] | None = None


def write_answers(rows: Iterable[Answered], path: Path) -> Answers:
    """Write the rows sorted by (task, row id), so that the file doesn't depend on their order."""
    ordered = sorted(rows, key=lambda r: (r.task, r.row_id))
    lines = [{**vars(row), "scores": canonical_json(row.scores), "evidence": _text(row.evidence)} for row in ordered]
    schema = ANSWERS_SCHEMA.append(EVIDENCE) if any(row.evidence for row in ordered) else ANSWERS_SCHEMA
    partial = path.with_name(path.name + ".partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(lines, schema=schema), partial, compression="zstd")
        partial.replace(path)
    return Answers(path, len(lines))


def _text(evidence: dict[str, Any] | None) -> str | None:
    return canonical_json(evidence) if evidence else None


def read_answers(answers: Answers) -> dict[str, list[Answered]]:
    """Rows per task, sorted by row id.

    Raises:
        InputNotFoundError: the file is gone.
    """
    if not answers.path.is_file():
        raise InputNotFoundError("no such answers file", where=str(answers.path))
    tasks: dict[str, list[Answered]] = {}
    for line in pq.read_table(answers.path, schema=ANSWERS_SCHEMA.append(EVIDENCE)).to_pylist():
        evidence = json.loads(line["evidence"]) if line["evidence"] else None
        row = Answered(**{**line, "scores": json.loads(line["scores"]), "evidence": evidence})
        tasks.setdefault(row.task, []).append(row)
    return {task: sorted(rows, key=lambda r: r.row_id) for task, rows in sorted(tasks.items())}

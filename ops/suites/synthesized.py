"""A suite from the documents that a run has held out: what synthesize made of them, and training hasn't seen."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from materializers.artifacts import is_quarantine, stage_of
from ops.export.folder import whole_folder
from ops.run_index import artifacts_of, find_run
from steps.contracts.digests import canonical_json
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.records import Row
from steps.contracts.runs import RunRecord
from steps.evaluate.suites.tasks import suite_parts

_META = "synthesis"
# Questions with and without an answer, as the suite's tasks: name, kind, graders.
_ANSWERED, _UNANSWERABLE = "domain", "unanswerable"
# Between two paragraphs.
_BLANK = re.compile(r"\n[^\S\n]*\n")
_SOURCE_CHARS, _DOCUMENT_CHARS = 80, 400


def suite_of_run(root: Path, run: str | None, out: Path, name: str, licence: str) -> dict[str, Any]:
    """The test rows of a run's last version that synthesize made, in a new folder; what to tell of it.

    Raises:
        InputNotFoundError: no such run. InputError: it has no such rows, or a document of theirs is trained on.
    """
    record = find_run(root, run)
    versions = [a for a in record.of_type("dataset") if not is_quarantine(a)]
    if not versions:
        raise InputError("the run has made no dataset", where=record.name)
    rows = artifacts_of(root, record).dataset(versions[-1])
    made = [(row, said) for row in rows.iter_rows() if (said := json.loads(row["meta"]).get(_META)) and row["split"]]
    held = [(row, said) for row, said in made if row["split"] == "test" and "raft" not in said]
    if not held:
        hint = "it needs synthesize, and split.test so large that a document is held out"
        raise InputError("no questions from held-out documents", where=record.name, hint=hint)
    _refuse_overlap(made, record.name)
    texts = _documents(root, record, {p for row, _ in held for p in row["parents"]})
    with whole_folder(out, lambda _: set()) as folder:
        counts = _write(folder, held, texts, name, licence)
        suite_parts(["suite.yaml"], folder)
    return {
        "suite": str(out / "suite.yaml"),
        "questions": [f"{n} {task}" for task, n in counts.items()],
        "held_out": sorted({said["document"] for _, said in held}),
        "next": "name the suite: evaluate.suites",
    }


def _refuse_overlap(made: list[tuple[Row, Mapping[str, Any]]], run: str) -> None:
    """What is measured stands in no row that is trained on; it never does, unless rows were put together otherwise."""
    sides: dict[str, set[str]] = {}
    for row, _ in made:
        for parent in row["parents"]:
            sides.setdefault(parent, set()).add(row["split"])
    torn = [parent for parent, splits in sides.items() if "test" in splits and len(splits) > 1]
    if torn:
        raise InputError(f"rows of {len(torn)} documents are in test and elsewhere, such as {torn[0]}", where=run)


def _documents(root: Path, record: RunRecord, wanted: set[str]) -> dict[str, str]:
    """The texts of documents, as synthesize read them, by id; none where their rows were removed since."""
    store, found = artifacts_of(root, record), dict[str, str]()
    versions = [a for a in record.of_type("dataset") if not is_quarantine(a)]
    before = list(takewhile(lambda a: stage_of(a) != "synthesize", versions))
    if before:
        with suppress(InputNotFoundError):
            rows = store.dataset(before[-1]).iter_rows()
            found = {r["record_id"]: r["text"] or "" for r in rows if r["record_id"] in wanted}
    return found


def _write(
    folder: Path, held: list[tuple[Row, Mapping[str, Any]]], texts: Mapping[str, str], name: str, licence: str
) -> Counter[str]:
    counts: Counter[str] = Counter()
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row, said in sorted(held, key=lambda h: str(h[0]["record_id"])):
        task = _UNANSWERABLE if said["kind"] == _UNANSWERABLE else _ANSWERED
        by_task.setdefault(task, []).append(_item(row, said, texts, task))
        counts[task] += 1
    for task, items in by_task.items():
        text = "".join(f"{json.dumps(json.loads(canonical_json(i)), ensure_ascii=False)}\n" for i in items)
        (folder / f"{task}.jsonl").write_text(text, encoding="utf-8")
    models = sorted({said["model"] for _, said in held})
    suite = {
        "name": name, "version": "1", "licence": licence,
        "description": f"Questions that {', '.join(models)} wrote from documents that were held out of training.",
        "tasks": list(_tasks(by_task)),
    }  # fmt: skip
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return counts


def _item(row: Row, said: Mapping[str, Any], texts: Mapping[str, str], task: str) -> dict[str, Any]:
    question, answer = (m["content"] for m in row["messages"])
    item = {"id": row["record_id"], "question": question, "answer": answer,
            "note": f"{said['kind']}, {said['document']}"}  # fmt: skip
    if task == _UNANSWERABLE:
        return item
    # A pair is of one document, whichever of its passages it needs.
    text = texts.get(row["parents"][0], "")
    passages = list(dict.fromkeys(p for c in said["chunks"] for p in _passages(text, c)))
    document = {"source": said["document"][:_SOURCE_CHARS], "document": said["document"][:_DOCUMENT_CHARS]}
    return {**item, **document, **({"passages": passages} if passages else {})}


def _passages(text: str, chunk: Mapping[str, Any]) -> Iterator[str]:
    """The paragraphs of a chunk that hold what the answer's claims rest on; the chunk where that isn't known."""
    start, end = chunk["start"], chunk["end"]
    for low, high in chunk.get("evidence") or ((start, end),):
        first = max((m.end() for m in _BLANK.finditer(text, start, low)), default=start)
        last = next((m.start() for m in _BLANK.finditer(text, high, end)), end)
        if passage := text[first:last].strip():
            yield passage


def _tasks(by_task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if _ANSWERED in by_task:
        yield {"name": _ANSWERED, "kind": "domain", "file": f"{_ANSWERED}.jsonl", "graders": ["rouge_l", "chrf"]}
    if _UNANSWERABLE in by_task:
        yield {"name": _UNANSWERABLE, "kind": "unanswerable", "file": f"{_UNANSWERABLE}.jsonl"}

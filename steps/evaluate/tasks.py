"""Which rows are asked: the dataset's test split and the control files, in an order of their own content."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from steps.contracts.dataset import Dataset
from steps.contracts.digests import MultisetDigest, canonical_json, short_id
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.evaluation import TaskKind, UsedSuite
from steps.contracts.records import Row, make_row, message
from steps.engines.scoring.metrics import HELD_OUT
from steps.evaluate.config import ControlConfig, EvaluateConfig
from steps.evaluate.lines import objects
from steps.evaluate.suites.tasks import Part, suite_parts


@dataclass(frozen=True)
class Task:
    """Rows sorted by row id (content_id in a control file, else record_id). `part`: of a suite's task, its items;
    `known`: ids of the rows whose question the train split asks too."""

    name: str
    kind: TaskKind
    rows: tuple[Row, ...]
    data_digest: str
    notes: tuple[str, ...] = ()
    part: Part | None = None
    known: frozenset[str] = frozenset()

    @property
    def predicts(self) -> bool:
        """Whether the rows have losses: of questions of all kinds only answers are measured."""
        return self.kind in ("held_out", "perplexity")


@dataclass(frozen=True)
class Suite:
    """All tasks that a subject is measured by.

    dataset_digest: of the version whose test split is the first task; "" where none is.
    """

    dataset_digest: str
    tasks: tuple[Task, ...]

    @property
    def used(self) -> tuple[UsedSuite, ...]:
        """The suites that tasks are from."""
        return tuple(dict.fromkeys(t.part.suite for t in self.tasks if t.part is not None))


def suite(dataset: Dataset | None, config: EvaluateConfig, root: Path) -> Suite:
    """The test split of `dataset`, the control files and the suites under `root`.

    Raises:
        InputError: no test rows, or a control file or a suite's can't be used. ConfigError: a suite can't.
    """
    controls = (control(c, root) for c in config.controls)
    rows = () if dataset is None else (held_out(dataset, config.max_rows),)
    parts = (part_of(p) for p in suite_parts(config.suites, root))
    return Suite("" if dataset is None else dataset.digest, (*rows, *controls, *parts))


def part_of(part: Part) -> Task:
    """A suite's task."""
    return Task(part.name, part.settings.kind, tuple(a.row for a in part.asked), part.data_digest, (), part)


def row_id(task: Task, row: Row) -> str:
    """The row's id in answers: stable under any order of the rows."""
    by_record = task.kind == "held_out" or task.part is not None
    return str(row["record_id"] if by_record else row["content_id"])


def held_out(dataset: Dataset, max_rows: int | None) -> Task:
    """The rows of the test split; `max_rows` of them at most, those with the smallest hashes.

    Answers that are labelled as unwanted are left out. Ids are read first and only the chosen rows after them, so
    memory holds two ids per row and `max_rows` rows.

    Raises:
        InputError: the split is empty.
    """
    ids = [
        pair
        for table in map(_wanted, dataset.tables(["content_id", "record_id", "label"], split="test"))
        for pair in zip(table["content_id"].to_pylist(), table["record_id"].to_pylist(), strict=True)
    ]
    unwanted = dataset.manifest.splits.get("test", 0) - len(ids)
    if not ids:
        raise InputError(
            "the dataset has no test rows to evaluate on",
            where=f"dataset {dataset.digest[:12]}, splits {dataset.manifest.splits}",
            hint="raise split.test, or add rows: a model can't be gated without held-out rows",
        )
    chosen = pa.array([record for _, record in sample(ids, max_rows)], pa.string())
    rows = [
        row
        for table in dataset.tables(split="test")
        for row in table.filter(pa.compute.is_in(table["record_id"], value_set=chosen)).to_pylist()
    ]
    notes = [f"{HELD_OUT}: {unwanted} test rows left out, whose answers are unwanted"] if unwanted else []
    if len(rows) < len(ids):
        notes.append(f"{HELD_OUT}: {len(rows)} of {len(ids)} test rows, chosen by hash")
    return task_of(HELD_OUT, "held_out", sorted(rows, key=lambda r: r["record_id"]), tuple(notes))


def _wanted(table: pa.Table) -> pa.Table:
    """Without answers that are labelled as unwanted: they are no references."""
    return table.filter(pa.compute.fill_null(table["label"], True))


def control(config: ControlConfig, root: Path) -> Task:
    """The rows of a control file; rows with equal content count once.

    Raises:
        InputNotFoundError: no such file.
        InputError: a line can't be read, or there are none.
    """
    path = root / config.path
    if not path.is_file():
        raise InputNotFoundError("no such control file", where=str(path), hint="paths are relative to the project root")
    lines = 0
    rows: dict[str, Row] = {}
    read = {"perplexity": _perplexity_rows, "questions": _question_rows, "unanswerable": _unanswerable_rows}
    for row in read[config.kind](path):
        lines += 1
        rows.setdefault(row["content_id"], row)
    if not rows:
        raise InputError("a control file without rows", where=str(path))
    chosen = sample(((c, c) for c in rows), config.max_rows)
    note = (f"{config.name}: {len(chosen)} of {lines} rows (equal rows once)",) if len(chosen) < lines else ()
    return task_of(config.name, config.kind, [rows[c] for c in sorted(c for c, _ in chosen)], note)


def sample(ids: Iterable[tuple[str, str]], size: int | None) -> list[tuple[str, str]]:
    """The (content_id, id) pairs with the smallest hashes: the same ones in any order.

    Hashed anew, because the split itself may have been cut along the content id.
    """
    return list(ids) if size is None else nsmallest(size, ids, key=lambda pair: (short_id("evaluate", pair[0]), pair))


def task_of(name: str, kind: TaskKind, rows: list[Row], notes: tuple[str, ...]) -> Task:
    """The rows as a task; their digest doesn't depend on their order."""
    digest = MultisetDigest()
    digest.update(row["content_id"] for row in rows)
    return Task(name, kind, tuple(rows), digest.hexdigest(), notes)


def _perplexity_rows(path: Path) -> Iterator[Row]:
    texts = ((n, v.get("text")) for n, v in objects(path)) if path.suffix == ".jsonl" else _paragraphs(path)
    for number, text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError('no "text" with something in it', where=f"{path}, line {number}")
        yield make_row(kind="document", source="control", locator="", raw=b"", text=text.strip())


def _paragraphs(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the stretches between blank lines of a text file."""
    stretch: list[str] = []
    number = 0
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                stretch.append(line)
            elif stretch:
                number += 1
                yield number, "".join(stretch)
                stretch = []
    if stretch:
        yield number + 1, "".join(stretch)


def _question_rows(path: Path) -> Iterator[Row]:
    """As unanswerable ones, or plain question and answer."""
    for number, value in objects(path):
        asked, said = value.get("question"), value.get("answer")
        if "messages" in value:
            yield _conversation(value, path, number, "answer")
        elif isinstance(asked, str) and isinstance(said, str) and asked.strip() and said.strip():
            turns = [message("user", asked), message("assistant", said)]
            yield make_row(kind="conversation", source="control", locator="", raw=b"", messages=turns)
        else:
            raise InputError(
                'neither "messages" nor "question" and "answer" as text', where=f"{path}, line {number}",
                hint='{"question": "How many legs has a spider?", "answer": "8"}',
            )  # fmt: skip


def _unanswerable_rows(path: Path) -> Iterator[Row]:
    for number, value in objects(path):
        yield _conversation(value, path, number, "decline")


def _conversation(value: dict[str, Any], path: Path, number: int, last: str) -> Row:
    """`last`: what the last message of the assistant is."""
    messages = value.get("messages")
    try:
        parsed = [_message(m) for m in messages] if isinstance(messages, list) else []
    except (KeyError, TypeError) as e:
        raise InputError("a message needs role and content as text", where=f"{path}, line {number}") from e
    if len(parsed) < 2 or parsed[-1]["role"] != "assistant" or not parsed[-1]["content"].strip():
        raise InputError(
            f"the last message must be the assistant's {last}, after a question",
            where=f"{path}, line {number}",
            hint='{"messages": [{"role": "user", ...}, {"role": "assistant", "content": "I don\'t know."}]}',
        )
    tools = canonical_json(value["tools"]) if value.get("tools") else None
    return make_row(kind="conversation", source="control", locator="", raw=b"", messages=parsed, tools=tools)


def _message(raw: Any) -> Row:
    if not isinstance(raw["role"], str) or not isinstance(raw["content"], str):
        raise TypeError
    return message(raw["role"], raw["content"], name=raw.get("name"), tool_call_id=raw.get("tool_call_id"))

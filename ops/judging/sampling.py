"""Which rows a person is asked about: a seeded sample of what a run kept, dropped and set aside, or of files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from ops.reading import AS_IT_IS
from ops.row_history import open_rows
from ops.row_samples import Choice, samples_of_files
from ops.run_index import artifacts_of, find_run
from steps.contracts.errors import InputNotFoundError
from steps.contracts.records import Row
from steps.contracts.runs import RunRecord
from steps.engines.rubric.case import case_of
from steps.ingest.mix import hash64

# Chosen: rows of files that are looked at for a sample.
_AT_MOST = 1_000_000
# Chosen: rows whose texts are read at once.
_AT_ONCE = 500
_VERDICTS = "verdicts"
_FILES = "in files"


@dataclass(frozen=True)
class Sampled:
    """Rows in the order in which they are asked about.

    Attributes:
        scrubbed: personal data was looked for in them before.
        strata: outcome -> (rows of it, rows drawn).
    """

    rows: tuple[Row, ...]
    scrubbed: bool
    strata: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Wanted:
    """pairs: only rows with two answers. proportional: of each outcome as large a share; else as many of each. raw:
    also rows that were never scrubbed.
    """

    rows: int
    seed: int
    pairs: bool = False
    proportional: bool = False
    raw: bool = False


def sample_of_run(root: Path, name: str | None, wanted: Wanted) -> Sampled:
    """A sample of the rows that a run's judge decided about, those that it kept too. What the judge said isn't in it.

    Raises:
        InputNotFoundError: the run has no verdicts, or none of its rows can be shown.
    """
    run = find_run(root, name)
    outcomes = _outcomes(root, run)
    rows = open_rows(root, run)

    def texts(ids: Sequence[str]) -> Mapping[str, Row]:
        return rows.texts(ids, wanted.raw)

    sizes = {outcome: len(of) for outcome, of in outcomes.items()}
    drawn = {outcome: [*islice(_usable(of, wanted, texts), wanted.rows)] for outcome, of in outcomes.items()}
    most = _shared_out(sizes, {outcome: len(of) for outcome, of in drawn.items()}, wanted)
    taken = [row for outcome, of in drawn.items() for row in of[: most[outcome]]]
    if not taken:
        why = "none has two answers" if wanted.pairs else "none was scrubbed, or is as it was judged; --raw shows them"
        raise InputNotFoundError("no row of the run can be labelled", where=f"run {run.name}", hint=why)
    return Sampled(_mixed(taken, wanted.seed), not wanted.raw, {o: (sizes[o], most[o]) for o in outcomes})


def sample_of_files(files: Sequence[str], wanted: Wanted) -> Sampled:
    """A sample of the rows of files, which nobody has judged.

    Raises:
        InputNotFoundError: no such file, or no row of them can be labelled.
    """
    found = samples_of_files(list(files), AS_IT_IS, Choice(_AT_MOST, wanted.seed, raw=True))
    rows = {s.row["content_id"]: s.row for s in found.samples if s.row is not None and _fits(s.row, wanted)}
    taken = _mixed(list(rows.values()), wanted.seed)[: wanted.rows]
    if not taken:
        why = "none has two answers" if wanted.pairs else "none has an answer"
        raise InputNotFoundError("no row can be labelled", where=", ".join(files), hint=why)
    return Sampled(taken, False, {_FILES: (len(rows), len(taken))})


def _outcomes(root: Path, run: RunRecord) -> dict[str, dict[str, str]]:
    """Outcome -> content id -> record id, of the run's verdicts."""
    found = [a for a in run.artifacts if a.name == _VERDICTS]
    if not found:
        raise InputNotFoundError(
            "no verdicts", where=f"run {run.name}", hint="its judge was left out; --from FILE labels rows of files"
        )
    path = artifacts_of(root, run).file(found[-1], f"{_VERDICTS}.parquet")
    table = pq.read_table(path, columns=["record_id", "content_id", "outcome"])
    by_outcome: dict[str, dict[str, str]] = {}
    for record, content, outcome in zip(*(table[c].to_pylist() for c in table.column_names), strict=True):
        by_outcome.setdefault(outcome, {}).setdefault(content, record)
    return dict(sorted(by_outcome.items()))


def _usable(
    records: Mapping[str, str], wanted: Wanted, texts: Callable[[Sequence[str]], Mapping[str, Row]]
) -> Iterator[Row]:
    """Rows in the order of their hashes that can be shown, and are as the judge saw them."""
    order = sorted(records, key=lambda content: hash64(wanted.seed, content))
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        found = texts([records[content] for content in part])
        for content in part:
            row = found.get(records[content])
            if row is not None and row["content_id"] == content and _fits(row, wanted):
                yield row


def _fits(row: Row, wanted: Wanted) -> bool:
    return bool(row["chosen"] and row["rejected"]) if wanted.pairs else case_of(row).has_answer


def _shared_out(sizes: Mapping[str, int], usable: Mapping[str, int], wanted: Wanted) -> dict[str, int]:
    """How many of each outcome: as many of each or in proportion, and what one lacks the others give."""
    whole = sum(sizes.values()) or 1
    share = {o: wanted.rows * sizes[o] // whole if wanted.proportional else wanted.rows // len(sizes) for o in sizes}
    taken = {o: min(share[o], usable[o]) for o in sizes}
    for outcome in sorted(sizes, key=lambda o: -usable[o]):
        taken[outcome] = min(usable[outcome], taken[outcome] + wanted.rows - sum(taken.values()))
    return taken


def _mixed(rows: Sequence[Row], seed: int) -> tuple[Row, ...]:
    """In an order that says nothing about what became of a row."""
    return tuple(sorted(rows, key=lambda row: hash64(seed + 1, row["content_id"])))

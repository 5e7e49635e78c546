"""Labels that people gave to rows: what a judge is held against.

A line of gold says which row is meant, and what somebody thinks of it:

    {"record_id": "...", "content_id": "...", "label": 4, "by": "Ada"}
    {"prompt": "...", "completion": "...", "label": "drop", "labels": {"accuracy": 2}, "by": "Ada"}
    {"record_id": "...", "content": {"kind": "preference", ...}, "better": "rejected", "by": "Ada"}

The row stands in the line, in any format that ingest reads or under `content`, or is meant by its ids alone. `label`
is 1 to 5 in steps of a half, or keep or drop. Lines of `assay review` are labels as well: accept is keep, edit and drop
are drop, since the row as it was wasn't to go on.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.records import Row, make_row
from steps.engines.formats.format import AS_USUAL
from steps.engines.formats.registry import detect, read_row
from steps.engines.formats.rejected import RowRejected

Better: TypeAlias = Literal["chosen", "rejected", "tie"]
# By record id and content id, the latter "" where it isn't known.
RowId: TypeAlias = tuple[str, str]
# Gives the rows that ids mean, by record id.
Finder: TypeAlias = Callable[[Sequence[str]], Mapping[str, Row]]

_KEEP = {"keep": True, "accept": True, "true": True, "drop": False, "edit": False, "false": False}
_BETTER = ("chosen", "rejected", "tie")
_OWN = frozenset(
    ("record_id", "content_id", "content_before", "content", "label", "labels", "better", "choice", "by", "annotator",
     "when", "why", "scrubbed")
)  # fmt: skip
_PREFIX = "label_"
_NOBODY = "unnamed"
_LOWEST, _HIGHEST = 1, 5
# Chosen: so many mistakes of a file are named.
_MOST_MISTAKES = 10


@dataclass(frozen=True)
class Said:
    """What one person said about one row: a score from 1 to 5, scores by criterion, whether it is to be kept, which
    answer of a pair is better. What they didn't say is None, or isn't there.
    """

    by: str
    score: float | None = None
    criteria: Mapping[str, float] = field(default_factory=dict)
    keep: bool | None = None
    better: Better | None = None


@dataclass
class GoldRow:
    """A row with all that people said about it, by annotator: the last word of each counts. `scrubbed`: personal data
    was looked for in it, by whoever wrote the line or in the run that it is of.
    """

    row: Row
    scrubbed: bool
    said: dict[str, Said] = field(default_factory=dict)


@dataclass(frozen=True)
class Gold:
    """Labelled rows in the order of their content ids. `missing`: ids whose rows aren't there or are other ones now."""

    rows: tuple[GoldRow, ...]
    missing: tuple[str, ...] = ()

    @property
    def scrubbed(self) -> bool:
        """Whether every row was."""
        return all(row.scrubbed for row in self.rows)

    @property
    def annotators(self) -> tuple[str, ...]:
        """Who labelled."""
        return tuple(sorted({by for r in self.rows for by in r.said}))


@dataclass(frozen=True)
class _Line:
    record_id: str
    content_id: str
    row: Row | None
    said: Said
    scrubbed: bool


def read_gold(path: Path, find: Finder, *, scrubbed: bool = False) -> Gold:
    """The labels of a file of JSON Lines or CSV (by its suffix). `find` gives rows that lines mean by id alone;
    `scrubbed`: whether these were.

    Raises:
        InputNotFoundError: no such file. InputError: lines aren't gold; the first ten mistakes are named.
    """
    if not path.is_file():
        raise InputNotFoundError("no such file of labels", where=str(path), hint="assay judge label writes one")
    mistakes: list[str] = []
    lines: list[_Line] = []
    for number, value in _values(path, mistakes):
        try:
            lines.append(_line_of(number, value))
        except (InputError, RowRejected) as e:
            mistakes.append(f"line {number}: {e.what if isinstance(e, InputError) else e}")
    if mistakes:
        more = f"; and {len(mistakes) - _MOST_MISTAKES} more" if len(mistakes) > _MOST_MISTAKES else ""
        raise InputError("; ".join(mistakes[:_MOST_MISTAKES]) + more, where=str(path), hint="docs/stages/judge.md")
    if not lines:
        raise InputError("no label in it", where=str(path), hint="assay judge label writes them")
    return _gathered(lines, find, scrubbed)


def _gathered(lines: Sequence[_Line], find: Finder, scrubbed: bool) -> Gold:
    wanted = sorted({line.record_id for line in lines if line.row is None})
    found = find(wanted) if wanted else {}
    rows: dict[str, GoldRow] = {}
    missing: dict[str, None] = {}
    for line in lines:
        row = line.row or found.get(line.record_id)
        if row is None or (line.content_id and row["content_id"] != line.content_id):
            missing[line.record_id] = None
            continue
        clean = line.scrubbed if line.row is not None else scrubbed
        gold = rows.setdefault(row["content_id"], GoldRow(row, clean))
        gold.said[line.said.by] = _joined(gold.said.get(line.said.by), line.said)
    return Gold(tuple(rows[key] for key in sorted(rows)), tuple(missing))


def _joined(before: Said | None, now: Said) -> Said:
    """A later line corrects what it speaks of, and leaves the rest of what the same person said."""
    if before is None:
        return now
    return Said(
        now.by,
        now.score if now.score is not None else before.score,
        {**before.criteria, **now.criteria},
        now.keep if now.keep is not None else before.keep,
        now.better or before.better,
    )


def _values(path: Path, mistakes: list[str]) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError("not UTF-8", where=str(path), hint="JSON Lines or CSV") from e
    if path.suffix.lower() == ".csv":
        yield from _cells(text, path)
        return
    # Not splitlines: JSON text may hold other line separators as they are.
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            # What a crash left of a line that was being written was never said.
            if number < len(lines) or len(lines) == 1:
                mistakes.append(f"line {number}: not JSON")
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            mistakes.append(f"line {number}: not an object")


def _cells(text: str, path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    """Cells are texts, an empty one says nothing."""
    # Chosen: a cell may hold a whole document.
    csv.field_size_limit(1 << 27)
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        for row in reader:
            yield reader.line_num, {k: v for k, v in row.items() if k is not None and v not in (None, "")}
    except csv.Error as e:
        raise InputError(f"not CSV: {e}", where=f"{path}:{reader.line_num}") from e


def _line_of(number: int, value: Mapping[str, Any]) -> _Line:
    record_id, content_id = _text(value, "record_id"), _text(value, "content_id") or _text(value, "content_before")
    said = _said(value)
    content = value.get("content") if value.get("choice") is None else None
    if isinstance(content, str):
        content = _json(content)
    rest = {k: v for k, v in value.items() if k not in _OWN and not k.startswith(_PREFIX)}
    if isinstance(content, dict):
        rest = content
    row = row_of(rest, number, record_id) if rest and (isinstance(content, dict) or detect(rest) is not None) else None
    if row is None and not record_id:
        raise InputError("neither a row nor a record_id")
    if row is not None and content_id and row["content_id"] != content_id:
        raise InputError("the row isn't the one that its content_id names: it was changed after it was labelled")
    return _Line(record_id or (row or {})["record_id"], content_id, row, said, value.get("scrubbed") is True)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InputError("content isn't JSON") from e


def row_of(value: Row, number: int, record_id: str) -> Row:
    """The row that an object is in any format that ingest reads; `number`: of its line.

    Raises:
        InputError, RowRejected: it is none, or several.
    """
    if "kind" in value:
        value = {"record_id": record_id, "content_id": "", **value}
    name = detect(value)
    if name is None:
        raise InputError("its row is of no format that ingest reads")
    _, parsed = read_row(value, name, AS_USUAL)
    if parsed is None or len(parsed.drafts) != 1:
        raise InputError("it makes several records, so that it isn't known which one is labelled")
    draft = vars(parsed.drafts[0])
    row = make_row(source="gold", locator=f"line:{number}", raw=_bytes_of(value), **{**draft, "meta": {}})
    return {**row, "record_id": record_id or row["record_id"]}


def _bytes_of(value: Row) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str).encode()
    except UnicodeEncodeError as e:
        raise InputError("half of a surrogate pair, which is no text") from e


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise InputError(f"{key} isn't a text")
    return found


def _said(value: Mapping[str, Any]) -> Said:
    by = _text(value, "by") or _text(value, "annotator") or _NOBODY
    label = value.get("label", value.get("choice"))
    score, keep = _score_or_keep(label) if label is not None else (None, None)
    given = value.get("labels") or {}
    given = _json(given) if isinstance(given, str) else given
    if not isinstance(given, dict):
        raise InputError("labels isn't an object of scores by criterion")
    flat = {k.removeprefix(_PREFIX): v for k, v in value.items() if k.startswith(_PREFIX)}
    criteria = {str(name): _score(number) for name, number in {**given, **flat}.items()}
    better = value.get("better")
    if better is not None and better not in _BETTER:
        raise InputError(f"better is one of {', '.join(_BETTER)}")
    if score is None and keep is None and not criteria and better is None:
        raise InputError("no label: label (1 to 5, keep or drop), labels by criterion, or better")
    return Said(by.encode("utf-8", "replace").decode(), score, criteria, keep, cast("Better | None", better))


def _score_or_keep(label: Any) -> tuple[float | None, bool | None]:
    word = str(label).strip().casefold() if isinstance(label, str | bool) else ""
    if word in _KEEP:
        return None, _KEEP[word]
    return _score(label), None


def _score(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not _LOWEST <= number <= _HIGHEST or not (2 * number).is_integer():
        raise InputError("a label is 1 to 5 in steps of a half, keep or drop")
    return number

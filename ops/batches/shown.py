"""A batch in words: what stands in each line, token by token, ready to be drawn."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ops.batches.inputs import Rows
from steps.train.watching.batch import Line, Span
from steps.train.watching.preview import Preview

# A character can take four tokens of one byte each; what isn't whole after these is no text.
_LONGEST_CHARACTER = 4
# Characters that a decoder shows for bytes that are no text (yet).
_BROKEN = "\ufffd"
# Chosen: of rows that are left out or cut so many are named per reason; the ledger of a run names all.
_NAMED = 5


@dataclass(frozen=True)
class Piece:
    """Text of one or more tokens that can't be told apart as text. `trained`: the loss is of (one of) them."""

    text: str
    ids: tuple[int, ...]
    trained: bool


@dataclass(frozen=True)
class ShownSpan:
    """A row's tokens in a line: whose they are, and what of the row stands elsewhere."""

    record_id: str
    part: str
    source: str
    start: int
    whole: int
    pieces: tuple[Piece, ...]
    tokens: int
    trained: int
    cut_before: bool
    cut_after: bool
    truncated: int | None


@dataclass(frozen=True)
class ShownLine:
    """A line of the batch. `left`, `right`: tokens of padding."""

    number: int
    spans: tuple[ShownSpan, ...]
    tokens: int
    trained: int
    left: int
    right: int


@dataclass(frozen=True)
class LeftOut:
    """Rows that aren't trained whole: what became of them and why, how many; of the first ones id and evidence."""

    verdict: str
    reason: str
    rows: int
    named: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Shown:
    """One optimizer step.

    Attributes:
        passes: lines of each forward pass; hidden: lines that weren't asked for.
        refusal: why training would stop before it; "" where it wouldn't.
    """

    title: str
    step: int
    where: str
    passes: tuple[tuple[ShownLine, ...], ...]
    hidden: int
    rows_in: int
    kept: int
    left_out: tuple[LeftOut, ...]
    refusal: str
    notes: tuple[str, ...]


def shown(title: str, step: int, found: Preview, rows: Rows, most: int | None, notes: Sequence[str]) -> Shown:
    """`most`: lines that are drawn, of all forward passes together; None: all."""
    cut = _cut(found)
    ids = {_record(found, s) for lines in found.passes for line in lines for s in line.spans}
    sources = _sources(rows, ids - {""})
    passes, number = [], 0
    for lines in found.passes:
        drawn = []
        for line in lines:
            number += 1
            if most is None or number <= most:
                drawn.append(_line(number, line, found, sources, cut))
        passes.append(tuple(drawn))
    drawn_lines = sum(map(len, passes))
    return Shown(
        title, step, rows.where, tuple(passes), number - drawn_lines, found.encoding.rows_in, found.encoding.kept,
        tuple(_left_out(found)), found.refusal, tuple(notes),
    )  # fmt: skip


def _line(number: int, line: Line, found: Preview, sources: dict[str, str], cut: dict[str, int]) -> ShownLine:
    spans = tuple(_span(s, found, sources, cut) for s in line.spans)
    return ShownLine(number, spans, line.tokens, line.trained, line.left, line.right)


def _span(span: Span, found: Preview, sources: dict[str, str], cut: dict[str, int]) -> ShownSpan:
    record_id = _record(found, span)
    pieces = tuple(_pieces(found, span))
    return ShownSpan(
        record_id, span.part, sources.get(record_id, ""), span.start, span.whole, pieces, len(span.input_ids),
        int(span.trained.sum()), span.cut_before, span.cut_after, cut.get(record_id),
    )  # fmt: skip


def _record(found: Preview, span: Span) -> str:
    return found.encoding.record_id(span.row) if span.row is not None else ""


def _sources(rows: Rows, ids: set[str]) -> dict[str, str]:
    """Source and place by record id."""
    out: dict[str, str] = {}
    for table in rows.dataset.tables(["record_id", "source", "locator"]):
        for row in table.to_pylist():
            if row["record_id"] in ids:
                out[row["record_id"]] = f"{row['source']} {row['locator']}"
    return out


def _pieces(found: Preview, span: Span) -> Iterator[Piece]:
    """The span's text, cut where tokens are: what a token adds to the text of those before it."""
    ids, trained = span.input_ids.tolist(), span.trained.tolist()
    first, before = 0, ""
    for i in range(len(ids)):
        # Decoders treat the beginning of a text in their own way, so a few tokens before it are decoded with it.
        context = ids[max(0, first - _LONGEST_CHARACTER) : first]
        before = found.tokenizer.decode(context)
        text = found.tokenizer.decode([*context, *ids[first : i + 1]])[len(before) :]
        whole = not text.endswith(_BROKEN) and bool(text)
        if whole or i + 1 - first >= _LONGEST_CHARACTER or i + 1 == len(ids):
            yield Piece(text, tuple(ids[first : i + 1]), any(trained[first : i + 1]))
            first = i + 1


def _cut(found: Preview) -> dict[str, int]:
    """Tokens that the row has, by id of the rows that are cut at max_length."""
    lines = found.ledger.read().select(["record_id", "reason", "evidence"]).to_pylist()
    return {line["record_id"]: _evidence(line).get("tokens", 0) for line in lines if line["reason"] == "truncated"}


def _left_out(found: Preview) -> Iterator[LeftOut]:
    lines = found.ledger.read().select(["record_id", "verdict", "reason", "evidence"]).to_pylist()
    lines.sort(key=lambda x: (x["verdict"], x["reason"], x["record_id"]))
    for (verdict, reason), group in groupby(lines, key=lambda x: (x["verdict"], x["reason"])):
        here = list(group)
        named = tuple((line["record_id"], _said(_evidence(line))) for line in here[:_NAMED])
        yield LeftOut(verdict, reason, len(here), named)


def _evidence(line: dict[str, str]) -> dict[str, int]:
    found: dict[str, int] = json.loads(line["evidence"] or "{}")
    return found


def _said(evidence: dict[str, int]) -> str:
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in evidence.items())


def runs_of(pieces: Sequence[Piece]) -> Iterator[tuple[bool, str]]:
    """Text of pieces that are trained, or aren't, side by side."""
    for trained, group in groupby(pieces, key=lambda p: p.trained):
        yield trained, "".join(p.text for p in group)

"""A row set aside as a person sees it on a terminal: why, and its texts with the spans that were found marked."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from materializers.visible import visible
from ops.review.queue import Note, SetAside
from steps.contracts.records import Row
from steps.engines.rows.segments import segments

# Chosen: what fits a screen. Longer texts show their beginning and what is around the first spans.
_WHOLE, _BEGINNING, _AROUND, _SPANS = 1_500, 600, 150, 5
# Chosen: what a terminal takes in a second or so. The editor has all of it.
_FULL = 200_000
_BAR = "│ "
_NOTES = 12
_SIDES = {"chosen": "the better answer", "rejected": "the worse answer"}


@dataclass(frozen=True)
class Highlight:
    """Characters [start, end) of the text under `path`."""

    path: str
    start: int
    end: int


class Quoted:
    """Text from outside behind a bar on every line, so that it can't be taken for what the program says."""

    def __init__(self, text: Text) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Lines no wider than the terminal."""
        width = max(options.max_width - len(_BAR), 1)
        for line in self.text.wrap(console, width, overflow="fold", tab_size=4):
            yield Text(_BAR, "dim").append_text(line)


def row_view(item: SetAside, full: bool) -> Iterator[RenderableType]:
    """What the terminal shows of a row, made harmless. With `full` texts aren't cut before _FULL characters."""
    row = item.row
    what = ", ".join(p for p in (row["kind"], row["split"], judged(row)) if p)
    yield _line(f"{row['record_id']}  ({what})", "bold")
    yield Quoted(_line(f"{row['source']} {row['locator']}", "dim"))
    for note in item.notes:
        score = "" if note.score is None else f", {note.score:.3g}"
        yield _line(f"{item.stage}: {note.verdict} for {note.reason}{score}", "yellow")
        for line in _evidence(note)[:_NOTES]:
            yield Quoted(_line(line, "dim"))
    if not item.notes:
        yield _line(f"{item.stage}: set aside; its ledger doesn't say why", "yellow")
    spans = set[Highlight]().union(*(spans_of(note.evidence) for note in item.notes))
    yield from texts(row, spans, full)


def judged(row: Row) -> str:
    """What the row says about its answer: whether it is wanted, and its score; "" where it says nothing."""
    label = {None: "", True: "label true: the answer is wanted", False: "label false: the answer is not wanted"}
    score = "" if row.get("score") is None else f"score {row['score']:.3g}"
    return ", ".join(p for p in (label[row.get("label")], score) if p)


def texts(row: Row, spans: Iterable[Highlight], full: bool) -> Iterator[RenderableType]:
    """The row's texts under their labels, with the spans marked."""
    for segment in segments({**row, "meta": "{}"}):
        yield _line(_label(row, segment.path), "cyan")
        here = sorted((s for s in spans if s.path == segment.path), key=lambda s: (s.start, s.end))
        yield Quoted(marked(segment.text, here, full))


def _line(text: str, style: str) -> Text:
    """One line, even of a file name or a piece of evidence."""
    return Text(visible(text).replace("\n", "�"), style)


def spans_of(evidence: Mapping[str, object]) -> set[Highlight]:
    """The spans that evidence names: hits as [rule, path, start, end, ...] or as objects with these keys."""
    found = set()
    for hit in (h for value in evidence.values() if isinstance(value, list | tuple) for h in value):
        named = hit if isinstance(hit, dict) else None
        if isinstance(hit, list | tuple) and len(hit) >= 4:
            named = dict(zip(("rule", "path", "start", "end"), hit, strict=False))
        if named and isinstance(named.get("path"), str):
            start, end = named.get("start"), named.get("end")
            if isinstance(start, int) and isinstance(end, int) and 0 <= start < end:
                found.add(Highlight(named["path"], start, end))
    return found


def marked(text: str, spans: Sequence[Highlight], full: bool) -> Text:
    """The text with its spans in ⟦brackets⟧ and reversed, a long one cut unless `full`."""
    out = Text(overflow="fold")
    at = 0
    for start, end in _shown(len(text), spans, full):
        if start > at:
            out.append(f" [… {start - at:,} characters …] ", "dim")
        _append(out, text, start, end, spans)
        at = end
    if at < len(text):
        out.append(f" [… {len(text) - at:,} characters …]", "dim")
    return out


def _append(out: Text, text: str, start: int, end: int, spans: Sequence[Highlight]) -> None:
    """Characters [start, end) of the text, those in spans marked. Made harmless piece by piece: offsets stay true."""
    at = start
    for s in spans:
        first, last = max(s.start, at), min(s.end, end)
        if first >= last:
            continue
        out.append(visible(text[at:first]))
        out.append(f"⟦{visible(text[first:last])}⟧", "reverse")
        at = last
    out.append(visible(text[at:end]))


def _shown(length: int, spans: Sequence[Highlight], full: bool) -> list[tuple[int, int]]:
    """Which parts of a text of this length are shown, in order, without overlap."""
    if full or length <= _WHOLE:
        return [(0, min(length, _FULL))]
    wanted = [(0, _BEGINNING)]
    # A span longer than a screen shows its beginning.
    wanted += [(max(s.start - _AROUND, 0), min(s.end, s.start + _BEGINNING) + _AROUND) for s in spans[:_SPANS]]
    parts: list[tuple[int, int]] = []
    for start, end in sorted(wanted):
        if parts and start <= parts[-1][1]:
            parts[-1] = (parts[-1][0], min(max(parts[-1][1], end), length))
        else:
            parts.append((start, min(end, length)))
    return parts


def _evidence(note: Note) -> list[str]:
    lines = []
    for name, value in note.evidence.items():
        if isinstance(value, list) and value and isinstance(value[0], list | dict):
            lines += [_shown_value(hit) for hit in value]
        else:
            lines.append(f"{name}: {_shown_value(value)}")
    return lines


def _shown_value(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)


def _label(row: Row, path: str) -> str:
    """'messages/0 user' for the content of a message, with what it is to training; else the path."""
    parts = path.split("/")
    if parts[0] in ("messages", *_SIDES):
        m = row[parts[0]][int(parts[1])]
        rest = "" if parts[2:] == ["content"] else f" {'/'.join(parts[2:])}"
        marks = [_SIDES.get(parts[0]), "not trained" if m.get("weight") == 0 else None]
        said = "".join(f", {mark}" for mark in marks if mark)
        return f"{parts[0]}/{parts[1]} {m['role']}{rest}{said}"
    return path

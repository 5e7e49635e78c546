"""Which rows of a batch need a look: decided over Arrow buffers, without making Python rows.

What `Prescan` doesn't name has nothing to be found by `screener.Screener`, and passes; a test compares the two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.arrays import Mask
from steps.screen.config import RulesConfig, ScreenConfig
from steps.screen.repetition import texts_exceeding
from steps.screen.scan import ContentScanner

Counts = npt.NDArray[np.int64]

# The columns that screening reads; `meta` is none of them.
COLUMNS = ("record_id", "kind", "messages", "tools", "chosen", "rejected", "text", "label", "split")
_LISTS = ("messages", "chosen", "rejected")
_FIELDS = ("role", "content", "name", "tool_calls", "reasoning")
# What separates parts in `text_of`.
_SEPARATOR = 2
# Stands for an escaped quotation mark: no JSON text holds it.
_ESCAPED_MARK = "\0"
# ASCII codes on both sides of the visible characters, and what `str.strip` removes.
_SPACE, _DELETE = 32, 127
WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True)
class PrescanResult:
    """Which rows of a batch need a verdict, and in which of these a rule may fail; both of shape (rows,)."""

    needed: Mask
    ruled: Mask


@dataclass(frozen=True)
class _Messages:
    """All messages of one list column of a batch: `row` and `last` (of its row's) have shape (messages,)."""

    row: Counts
    role: pa.Array
    content: pa.Array
    name: pa.Array
    calls: pa.Array
    reasoning: pa.Array
    characters: Counts


class Prescan:
    """The cheap first pass of a config."""

    def __init__(self, config: ScreenConfig, scanner: ContentScanner) -> None:
        self._scanner = scanner
        self._scans = config.unsafe is not None or config.poisoned is not None
        self._language = config.language
        self._rules = config.rules if config.rules is not None and config.rules.action != "off" else None

    def lengths(self, batch: pa.RecordBatch) -> Counts:
        """Characters of each row's text, shape (rows,)."""
        return _lengths(batch, {name: _messages(batch[name]) for name in _LISTS})

    def look(self, batch: pa.RecordBatch) -> PrescanResult:
        """The rows that need a verdict; the columns COLUMNS must be there."""
        lists = {name: _messages(batch[name]) for name in _LISTS}
        document, pairs = (_is(batch["kind"], [kind]) for kind in ("document", "preference"))
        text = batch["text"].fill_null("")
        needed, ruled = np.zeros(batch.num_rows, bool), np.zeros(batch.num_rows, bool)
        if self._scans:
            needed |= self._scanner.texts_matching(text)
            for part in lists.values():
                _mark(needed, part.row, self._scanned(part))
            needed |= self._json_scanned(batch["tools"])
        if self._language is not None:
            needed |= _is(batch["split"].fill_null("train"), self._language.splits)
        if self._rules is not None:
            ruled = self._ruled(self._rules, lists, text, (document, pairs), _lengths(batch, lists))
        return PrescanResult(needed | ruled, ruled)

    def _scanned(self, part: _Messages) -> Mask:
        """Messages in which something may be found."""
        found = self._scanner.texts_matching(part.content) | self._json_scanned(part.calls)
        for texts in (part.name, part.reasoning):
            if texts.null_count < len(texts):
                found |= self._scanner.texts_matching(texts.fill_null(""))
        return found

    def _json_scanned(self, column: pa.Array) -> Mask:
        """JSON texts (null: none) in whose strings something may be found; shape (texts,).

        Each string stands on a line of its own once quotation marks are line breaks; so do the strings of JSON inside
        a string, whose marks are escaped. Three readings: as it is (what isn't JSON is one text), with escaped marks as
        marks, and as line breaks. What holds another escape is for Python.
        """
        found = _has_text(column)
        some = np.flatnonzero(found)
        if not len(some):
            return found
        texts = column.take(pa.array(some))
        marked = pc.replace_substring(texts, '\\"', _ESCAPED_MARK)
        named: Mask = pc.match_substring(marked, "\\").to_numpy(zero_copy_only=False)
        lines = pc.replace_substring(marked, '"', "\n")
        for reading in (texts, *(pc.replace_substring(lines, _ESCAPED_MARK, mark) for mark in '"\n')):
            named = named | self._scanner.texts_matching(reading)
        found[some] = named
        return found

    def _ruled(
        self, rules: RulesConfig, lists: dict[str, _Messages], text: pa.Array, kinds: tuple[Mask, Mask], lengths: Counts
    ) -> Mask:
        document, pairs = kinds
        if _needs_every_row(rules):
            return np.ones(len(lengths), bool)
        needed = lengths < rules.min_characters
        if rules.max_characters is not None:
            needed |= lengths > rules.max_characters
        if rules.min_answer_characters:
            needed |= ~document & _short_answer(lists, pairs, rules.min_answer_characters)
        if rules.presets:
            needed |= document
        if rules.repetition is not None:
            for texts, rows in _measured(lists, text):
                least = np.where(document[rows], rules.repetition.min_words, rules.repetition.min_answer_words)
                _mark(needed, rows, texts_exceeding(texts, least, rules.repetition))
        return needed


def _needs_every_row(rules: RulesConfig) -> bool:
    """Rules about a whole row's words or patterns have no cheap form."""
    tokens = rules.min_tokens is not None or rules.max_tokens is not None
    return tokens or bool(rules.required or rules.forbidden or rules.keep_keywords or rules.drop_keywords)


def _messages(column: pa.ListArray) -> _Messages:
    flat = column.flatten()
    role, content, name, calls, reasoning = (pc.struct_field(flat, field) for field in _FIELDS)
    rows = np.repeat(np.arange(len(column)), pc.list_value_length(column).to_numpy())
    return _Messages(rows, role, content, name, calls, reasoning, _characters(content))


def _characters(texts: pa.Array) -> Counts:
    sizes: Counts = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    return sizes


def _is(column: pa.Array, values: Sequence[str]) -> Mask:
    same: Mask = pc.is_in(column, pa.array(values, pa.string())).to_numpy(zero_copy_only=False)
    return same


def _has_text(column: pa.Array) -> Mask:
    filled: Mask = pc.fill_null(pc.greater(pc.binary_length(column), 0), False).to_numpy(zero_copy_only=False)
    return filled


def _mark(needed: Mask, rows: Counts, found: Mask) -> None:
    needed[rows[found]] = True


def _lengths(batch: pa.RecordBatch, lists: dict[str, _Messages]) -> Counts:
    document = pc.equal(batch["kind"], "document").to_numpy(zero_copy_only=False)
    text = _characters(batch["text"].fill_null(""))
    lengths: Counts = np.where(document, text, _joined_lengths(lists, batch.num_rows))
    return lengths


def _joined_lengths(lists: dict[str, _Messages], rows: int) -> Counts:
    """Characters of `text_of` of each row that isn't a document."""
    total = np.zeros(rows, np.int64)
    parts = np.zeros(rows, np.int64)
    for part in lists.values():
        calls = _characters(part.calls.fill_null("")) if part.calls.null_count < len(part.calls) else None
        for sizes in (part.characters, calls):
            if sizes is not None:
                total += np.bincount(part.row, sizes, rows).astype(np.int64)
                parts += np.bincount(part.row[sizes > 0], minlength=rows)
    lengths: Counts = total + _SEPARATOR * np.maximum(parts - 1, 0)
    return lengths


def _short_answer(lists: dict[str, _Messages], pairs: Mask, least: int) -> Mask:
    """Rows with an assistant turn that is too short, and those without an answer. `pairs`: which are preferences."""
    rows = len(pairs)
    short = np.zeros(rows, bool)
    answered = {}
    for name, part in lists.items():
        assistant = _is(part.role, ["assistant"])
        answered[name] = np.zeros(rows, bool)
        answered[name][part.row[assistant]] = True
        too_short = assistant & _shorter(part.content, part.characters, least)
        if name == "messages" and part.calls.null_count < len(part.calls):
            # A tool call counts as text there.
            calls = part.calls.fill_null("")
            too_short &= _shorter(calls, _characters(calls), least)
        _mark(short, part.row, too_short)
    return short | ~np.where(pairs, answered["chosen"] & answered["rejected"], answered["messages"])


def _shorter(texts: pa.Array, characters: Counts, least: int) -> Mask:
    """Texts with fewer characters than `least`, white space at their edges not counted."""
    short: Mask = characters < least
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data or b"\0", np.uint8)
    filled = characters > 0
    first, last = (raw[np.where(filled, at, 0)] for at in (ends[:-1], ends[1:] - 1))
    plain = (first > _SPACE) & (first < _DELETE) & (last > _SPACE) & (last < _DELETE)
    unsure = np.flatnonzero(~short & ~plain)
    if len(unsure):
        trimmed = pc.utf8_trim(texts.take(pa.array(unsure)), characters=WHITE_SPACE)
        short[unsure] = _characters(trimmed) < least
    return short


def _measured(lists: dict[str, _Messages], text: pa.Array) -> Iterator[tuple[pa.Array, Counts]]:
    """Texts that are measured for repetition, with their rows: documents and what the assistant says."""
    yield text, np.arange(len(text))
    for name in ("messages", "chosen"):
        part = lists[name]
        assistant = _is(part.role, ["assistant"])
        yield part.content.filter(pa.array(assistant)), part.row[assistant]

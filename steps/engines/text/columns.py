"""Texts of many rows as byte ranges of one buffer, taken from Arrow without making Python strings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.arrays import Numbers
from steps.engines.text.codepoints import Tables, normal_tables, raw_tables
from steps.engines.text.normalise import normal_form
from steps.engines.text.parts import Part

Bytes = npt.NDArray[np.uint8]

TEXT_COLUMNS = ("kind", "messages", "tools", "chosen", "rejected", "text")
CHOSEN, REJECTED = 1, 2


@dataclass(frozen=True)
class Texts:
    """n rows; row i is the segments offsets[i]:offsets[i + 1], segment s the bytes starts[s]:ends[s] of `data`.

    Segments are parted like paragraphs. marks: uint8 per segment; words of segments with different marks differ.
    asked: number of segments before the answer, shape (n,); 0 where nothing is asked.
    """

    data: Bytes
    starts: Numbers
    ends: Numbers
    marks: Bytes
    offsets: Numbers
    asked: Numbers

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """Rows without any byte, shape (n,)."""
        before = _offsets(self.ends - self.starts)
        return np.asarray(before[self.offsets[1:]] == before[self.offsets[:-1]])

    def rows(self, first: int, last: int) -> "Texts":
        """Rows first to last - 1, over the same bytes."""
        a, b = int(self.offsets[first]), int(self.offsets[last])
        offsets = self.offsets[first : last + 1] - a
        return Texts(self.data, self.starts[a:b], self.ends[a:b], self.marks[a:b], offsets, self.asked[first:last])

    def normalised(self, rows: Sequence[int]) -> "Texts":
        """These rows with every segment in normal form."""
        parts: list[bytes] = []
        counts: list[int] = []
        marks: list[Bytes] = []
        for row in rows:
            a, b = self.offsets[row], self.offsets[row + 1]
            for s in range(a, b):
                raw = self.data[self.starts[s] : self.ends[s]].tobytes()
                parts.append(normal_form(raw.decode("utf-8", "replace")).encode())
            counts.append(int(b - a))
            marks.append(self.marks[a:b])
        ends = np.cumsum([len(p) for p in parts], dtype=np.int64)
        starts = np.concatenate(([0], ends[:-1])).astype(np.int64) if parts else ends
        joined = np.frombuffer(b"".join(parts) or b"\0", np.uint8)
        offsets = _offsets(np.array(counts, np.int64))
        return Texts(joined, starts, ends, np.concatenate(marks), offsets, self.asked[rows])


@dataclass(frozen=True)
class Words:
    """Token hashes (uint64) of n rows one after another, row i's at offsets[i]:offsets[i + 1].

    digests: 128 bits over each row's tokens, uint64, shape (n, 2).
    """

    values: npt.NDArray[np.uint64]
    offsets: Numbers
    digests: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Tokenised(Words):
    """The same, with what the tokeniser saw on its way.

    plain: 64 bits over each row's words, and signs: over the symbols between them, shape (n,); neither means anything
    where only telling symbols were asked for. leads: tokens before the answer, shape (n,). symbolic: rows whose symbols
    and indentation are tokens, shape (n,).
    """

    plain: npt.NDArray[np.uint64]
    signs: npt.NDArray[np.uint64]
    leads: Numbers
    symbolic: npt.NDArray[np.bool_]


class Tokens(IntEnum):
    """What a row is cut into. TELLING: words and the symbols that say something, as `normalise.telling_words`.
    SYMBOLS: as `normalise.words` with symbols. CODE: SYMBOLS where the row is code or quotes some, else WORDS.
    """

    WORDS = 0
    TELLING = 1
    SYMBOLS = 2
    CODE = 3


def texts_of(table: pa.Table, part: Part = "all") -> Texts:
    """The texts of rows (SCHEMA columns TEXT_COLUMNS).

    all: message contents and tool calls, or the document; of preferences prompt (with tools), chosen, rejected, the
    latter two marked. prompt: what stands before the last assistant turn, with tools, or the document.
    answer: that turn, or chosen and rejected; documents give their text here too.
    """
    kinds = _column(table, "kind")
    document = _equal(kinds, "document")
    preference = _equal(kinds, "preference")
    messages, roles = _messages(_column(table, "messages"))
    low, high = messages.first, messages.last
    turn = _last_assistant(roles, low, high)
    chat = ~document & ~preference
    asked = np.zeros(len(document), np.int64)
    if part == "all":
        asked = (np.where(chat, turn, high) - low) * messages.per_item + preference
    elif part == "prompt":
        high = np.where(chat, turn, high)
    else:
        low = np.where(chat, turn, high)
        high = np.where(chat, np.minimum(turn + 1, high), high)
    nobody = np.zeros(len(document), bool)
    with_tools = {"all": preference, "prompt": ~document, "answer": nobody}[part]
    fields = [
        messages.between(low, high),
        _strings(_column(table, "tools")).where(with_tools),
        _messages(_column(table, "chosen"))[0].where(nobody if part == "prompt" else ~document),
        _messages(_column(table, "rejected"))[0].where(nobody if part == "prompt" else ~document),
        _strings(_column(table, "text")).where(document),
    ]
    return _joined(fields, (0, 0, CHOSEN, REJECTED, 0), asked)


def column_texts(column: pa.ChunkedArray | pa.Array) -> Texts:
    """One text per row from a plain string column; null is empty."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return _joined([_strings(array)], (0,), np.zeros(len(array), np.int64))


class Scratch:
    """Buffers used again and again by one thread: asking the system for fresh memory costs more than the work."""

    def __init__(self) -> None:
        self._buffers: dict[str, npt.NDArray[Any]] = {}

    def array(self, name: str, dtype: npt.DTypeLike, size: int) -> npt.NDArray[Any]:
        """An array of that size with any content, valid until the next call with this name."""
        found = self._buffers.get(name)
        if found is None or len(found) < size:
            found = self._buffers[name] = np.empty(size + size // 4, dtype)
        return found[:size]


def words_of(
    texts: Texts, tokens: Tokens | npt.NDArray[np.uint8] = Tokens.WORDS, *, scratch: Scratch | None = None
) -> Tokenised:
    """Token hashes of all rows, by the compiled tokeniser; equal for equal tokens. `tokens`: of all rows, or of each.

    With `scratch` the values are valid until it is used again.
    """
    scratch = scratch or Scratch()
    modes = np.broadcast_to(np.asarray(tokens, np.uint8), len(texts))
    words, complexes = _tokenised(texts, raw_tables(), modes, scratch.array)
    hard = np.flatnonzero(complexes)
    if not len(hard):
        return words
    more, _ = _tokenised(texts.normalised(hard.tolist()), normal_tables(), modes[hard], Scratch().array)
    return _merged(words, more, hard)


def digests_of(texts: Texts) -> npt.NDArray[np.uint64]:
    """Digest of each row's squeezed text, shape (n, 2)."""
    digests, complexes = _digested(texts, raw_tables())
    hard = np.flatnonzero(complexes)
    if len(hard):
        digests[hard] = _digested(texts.normalised(hard.tolist()), normal_tables())[0]
    return digests


def _tokenised(
    texts: Texts,
    tables: Tables,
    modes: npt.NDArray[np.uint8],
    array: Callable[[str, npt.DTypeLike, int], npt.NDArray[Any]],
) -> tuple[Tokenised, npt.NDArray[np.bool_]]:
    from steps.engines.text.kernel import word_hashes

    n = len(texts)
    size = int((texts.ends - texts.starts).sum())
    offsets = np.empty(n + 1, np.int64)
    digests, plain, signs = np.empty((n, 2), np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64)
    leads, symbolic, complexes = np.empty(n, np.int64), np.zeros(n, bool), np.zeros(n, bool)
    # A word takes two bytes (one and what parts it from the next) but for symbols and texts of symbols only; a step of
    # indentation takes one.
    for capacity in (size // 2 + len(texts.starts) + 1, size + len(texts.starts) + 1):
        values = array("words", np.uint64, capacity)
        count = word_hashes(
            texts.data, texts.starts, texts.ends, texts.marks, texts.offsets, texts.asked, modes, tables.classes,
            tables.lower, values, offsets, digests, plain, signs, leads, symbolic, complexes,
        )  # fmt: skip
        if count <= capacity:
            break
    return Tokenised(values[: offsets[-1]], offsets, digests, plain, signs, leads, symbolic), complexes


def _digested(texts: Texts, tables: Tables) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    from steps.engines.text.kernel import text_digests

    n = len(texts)
    digests, complexes = np.empty((n, 2), np.uint64), np.zeros(n, bool)
    text_digests(texts.data, texts.starts, texts.ends, texts.offsets, tables.classes, tables.lower, digests, complexes)
    return digests, complexes


def _merged(words: Tokenised, more: Tokenised, rows: Numbers) -> Tokenised:
    """`words` with the given (so far empty) rows replaced by those of `more`."""
    counts = np.diff(words.offsets)
    counts[rows] = np.diff(more.offsets)
    offsets = _offsets(counts)
    late = np.zeros(len(counts), bool)
    late[rows] = True
    values = np.empty(int(offsets[-1]), np.uint64)
    from_more = np.repeat(late, counts)
    values[from_more] = more.values
    values[~from_more] = words.values
    for name in ("digests", "plain", "signs", "leads", "symbolic"):
        getattr(words, name)[rows] = getattr(more, name)
    return replace(words, values=values, offsets=offsets)


@dataclass(frozen=True)
class _Field:
    """Segments of one column: row i has first[i]:last[i] of the byte ranges starts/ends in `data`."""

    data: Bytes
    starts: Numbers
    ends: Numbers
    first: Numbers
    last: Numbers
    per_item: int = 1

    def where(self, wanted: npt.NDArray[np.bool_]) -> "_Field":
        return self.between(self.first, np.where(wanted, self.last, self.first))

    def between(self, first: Numbers, last: Numbers) -> "_Field":
        return _Field(self.data, self.starts, self.ends, first, last, self.per_item)


def _joined(fields: Sequence[_Field], marks: Sequence[int], asked: Numbers) -> Texts:
    """The fields' segments row by row; `asked` as of `Texts`."""
    counts = [(f.last - f.first) * f.per_item for f in fields]
    offsets = _offsets(np.sum(counts, axis=0))
    total = int(offsets[-1])
    starts, ends, mark = np.empty(total, np.int64), np.empty(total, np.int64), np.zeros(total, np.uint8)
    used = [i for i, c in enumerate(counts) if c.any()]
    data = fields[used[0]].data if len(used) == 1 else np.concatenate([fields[i].data for i in used] or [_NOTHING])
    place, base = offsets[:-1].copy(), 0
    for i in used:
        field, count = fields[i], counts[i]
        inner = np.arange(int(count.sum()), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
        to = np.repeat(place, count) + inner
        at = np.repeat(field.first * field.per_item, count) + inner
        starts[to], ends[to], mark[to] = field.starts[at] + base, field.ends[at] + base, marks[i]
        place += count
        base += 0 if len(used) == 1 else len(field.data)
    return Texts(data, starts, ends, mark, offsets, asked)


_NOTHING = np.zeros(1, np.uint8)


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _equal(array: pa.Array, value: str) -> npt.NDArray[np.bool_]:
    # Here, since its import takes a tenth of a small process's time and plain columns don't need it.
    import pyarrow.compute as pc

    return np.asarray(pc.equal(array, value).to_numpy(zero_copy_only=False), bool)


def _ranges(array: pa.Array) -> tuple[Bytes, Numbers, Numbers]:
    """(data, starts, ends) of a string array; null is empty."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.string())
    wide = pa.types.is_large_string(array.type)
    _, offsets, data = array.buffers()
    if offsets is None or not len(array):
        return _NOTHING, np.zeros(len(array), np.int64), np.zeros(len(array), np.int64)
    ends = np.frombuffer(offsets, np.int64 if wide else np.int32)[array.offset : array.offset + len(array) + 1]
    ends = ends.astype(np.int64)
    raw = np.frombuffer(data, np.uint8) if data is not None and data.size else _NOTHING
    starts, ends = ends[:-1], ends[1:]
    if array.null_count:
        ends = np.where(np.asarray(array.is_null().to_numpy(zero_copy_only=False)), starts, ends)
    return raw, np.asarray(starts, np.int64), np.asarray(ends, np.int64)


def _strings(array: pa.Array) -> _Field:
    data, starts, ends = _ranges(array)
    rows = np.arange(len(starts), dtype=np.int64)
    return _Field(data, starts, ends, rows, rows + 1)


def _messages(array: pa.Array) -> tuple[_Field, pa.Array]:
    """Contents (and tool calls after each, where there are any), and the role of every message."""
    lists = np.asarray(array.offsets.to_numpy(), np.int64)
    items = array.values
    contents = _ranges(items.field("content"))
    calls = items.field("tool_calls")
    if calls.null_count == len(calls):
        return _Field(*contents, lists[:-1], lists[1:]), items.field("role")
    more = _ranges(calls)
    data = np.concatenate([contents[0], more[0]])
    starts = np.stack([contents[1], more[1] + len(contents[0])], axis=1).reshape(-1)
    ends = np.stack([contents[2], more[2] + len(contents[0])], axis=1).reshape(-1)
    return _Field(data, starts, ends, lists[:-1], lists[1:], per_item=2), items.field("role")


def _last_assistant(roles: pa.Array, first: Numbers, last: Numbers) -> Numbers:
    """Number of each row's last assistant message; `last` where there is none."""
    spoken = np.flatnonzero(_equal(roles, "assistant"))
    if not len(spoken):
        return last
    at = np.searchsorted(spoken, last) - 1
    found = spoken[np.maximum(at, 0)]
    return np.where((at >= 0) & (found >= first), found, last)


def _offsets(counts: Numbers) -> Numbers:
    out = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=out[1:])
    return out

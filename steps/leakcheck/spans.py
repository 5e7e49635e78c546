"""Where a row's words stand in its texts as they are, before any normal form."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

from steps.contracts.records import Row
from steps.engines.text.normalise import WORD_CHARACTER, words

# Path, from and to (exclusive), in characters of that text.
Span: TypeAlias = tuple[str, int, int]
# No word and no composed character reaches over the place before one of these, so that pieces which begin there can be
# read one by one: ASCII that is no part of words, ideographs, kana, and the consonants of Thai, Lao, Myanmar and Khmer.
_BOUNDARY = (
    r"\x00-/:-@\[-^`{-\x7f\u3400-\u4dbf\u4e00-\u9fff\u3041-\u3096\u30a1-\u30fa"
    r"\u0e01-\u0e2e\u0e81-\u0eae\u1000-\u1021\u1780-\u17a2"
)
# 256 characters (chosen) are read at about full speed.
_PIECE = re.compile(f".{{1,256}}[^{_BOUNDARY}]*", re.DOTALL)
# Chosen: a longer piece, which no language makes, is taken whole rather than searched.
_LONGEST_PIECE = 10_000
_WORD_ASCII = re.compile(r"\w+")


def texts_by_path(row: Row) -> Iterator[tuple[str, str]]:
    """(path, text) of what the leak check compares, in its order: as `texts_of`."""
    yield from _message_texts(row, "messages")
    if row["kind"] == "preference" and row["tools"]:
        yield "tools", row["tools"]
    if row["kind"] == "document":
        yield "text", row["text"] or ""
        return
    yield from _message_texts(row, "chosen")
    yield from _message_texts(row, "rejected")


def _message_texts(row: Row, name: str) -> Iterator[tuple[str, str]]:
    for number, m in enumerate(row[name]):
        yield f"{name}/{number}/content", m["content"] or ""
        if m["tool_calls"]:
            yield f"{name}/{number}/tool_calls", m["tool_calls"]


def spans_of_words(row: Row, first: int, last: int) -> list[Span]:
    """The characters of the row's words `first` to `last` - 1, one span per text that holds any.

    A character that stands for several words (½) belongs to each of them. A row without any word, whose visible
    characters were compared instead, is matched whole.
    """
    found: list[Span] = []
    before = 0
    for path, text in texts_by_path(row):
        count, span = _located(text, first - before, last - before)
        if span is not None:
            found.append((path, *span))
        before += count
        if before >= last:
            break
    return found if before else [(path, 0, len(text)) for path, text in texts_by_path(row) if text]


def _located(text: str, first: int, last: int) -> tuple[int, tuple[int, int] | None]:
    """(words counted, at least to `last` if there are so many; from the first to the last one wanted, if any)."""
    if text.isascii():
        places = [m.span() for m in islice(_WORD_ASCII.finditer(text), max(last, 0))]
        wanted = places[max(first, 0) :]
        return len(places), (wanted[0][0], wanted[-1][1]) if wanted else None
    count, start = 0, -1
    ending: tuple[re.Match[str], list[str]] | None = None
    for piece in _PIECE.finditer(text):
        if count >= last:
            break
        tokens = _tokens(piece[0])
        low, high = max(first - count, 0), min(last - count, len(tokens))
        if low < high:
            ending = piece, tokens[:high]
            if start < 0:
                start = piece.start() + _start(piece[0], low)
        count += len(tokens)
    return count, (start, ending[0].start() + _end(ending[0][0], ending[1])) if ending else None


def _tokens(piece: str) -> list[str]:
    """The words of a part of a text, which may have none."""
    found = words(piece)
    return found if found and WORD_CHARACTER.match(found[0]) else []


def _start(piece: str, number: int) -> int:
    """Where the word of this number begins."""
    if len(piece) > _LONGEST_PIECE:
        return 0
    return bisect_left(range(len(piece) + 1), True, key=lambda n: len(_tokens(piece[:n])) > number) - 1


def _end(piece: str, tokens: list[str]) -> int:
    """Where the last of these first words ends."""
    if len(piece) > _LONGEST_PIECE:
        return len(piece)
    return bisect_left(range(len(piece) + 1), True, key=lambda n: _tokens(piece[:n])[: len(tokens)] == tokens)

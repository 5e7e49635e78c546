"""Many RE2 patterns over a text at once: which of them match, then where. Linear time on any text.

Two passes. `texts_matching` goes over a whole Arrow column and says which texts may hold a match: short texts are
scanned many at a time, with a line break between them, and looked at one by one only where such a piece matches.
`hits` then finds the places in one text.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import re2

from steps.contracts.arrays import Mask
from steps.contracts.errors import ConfigError

# Memory of the automaton; chosen: a thousand patterns fit, and RE2 falls back instead of failing beyond it.
_MAX_BYTES = 128 << 20
# Chosen: calling RE2 costs about as much as scanning 500 bytes, and a piece that matches is scanned twice.
_PIECE_BYTES = 8 << 10
# Stands between texts that are scanned together; no pattern may tell it from the end of a text.
_BETWEEN = "\n"
# Edges of a `word` for RE2, whose \b wants an ASCII letter on one side. Every Unicode boundary is one of these too.
_LEFT, _RIGHT = r"(?:\A|[^0-9A-Za-z_])", r"(?:\z|[^0-9A-Za-z_])"


@dataclass(frozen=True)
class Pattern:
    """A named RE2 pattern.

    It must match the same in a text alone and in one with other lines before and after it, so it holds no `\\A`, no
    `\\z`, and `^` or `$` under `(?m)` only.
    `word`: a match counts only between Unicode non-word characters (RE2's own `\\b` knows ASCII only). Its ends are
    found by Python's `re`, so keep it a plain word or a few alternatives.
    `confirm`: a Python regular expression that must match the found text in full, for what RE2 can't say (back
    references); it runs on the found text only.
    `needs`: a part that every match holds, which the first scan looks for instead. A pattern with a long gap in
    its middle slows the automaton of all patterns down; its end doesn't.
    """

    name: str
    source: str
    word: bool = False
    confirm: str | None = None
    ignore_case: bool = True
    needs: str | None = None


@dataclass(frozen=True)
class Hit:
    """Pattern number `pattern` matches text[start:end]; offsets in characters."""

    pattern: int
    start: int
    end: int


class PatternSet:
    """The patterns compiled into one automaton, and each by itself for finding places.

    `also` are patterns that `texts_matching` looks for, and nothing else.

    Raises:
        ConfigError: RE2 refuses a pattern (look-arounds and back references don't exist in it).
    """

    def __init__(self, patterns: Sequence[Pattern], where: str, also: Sequence[Pattern] = ()) -> None:
        self.patterns = tuple(patterns)
        self._located = [_compiled(p, where) for p in patterns]
        self._words = [_between_no_letters(p) if p.word else None for p in patterns]
        self._confirm = [re.compile(p.confirm, re.IGNORECASE) if p.confirm else None for p in patterns]
        self._set = re2.Set.SearchSet(_options())
        for pattern in [*patterns, *also]:
            self._set.Add(_searched(pattern))
        if patterns:
            _finished(self._set, where)

    def matching(self, text: str) -> list[int]:
        """Numbers of the patterns that may match somewhere, ascending.

        All that do. `word`, `confirm`, and what of a pattern its `needs` leaves out, are not looked at yet.
        """
        if not self.patterns:
            return []
        found = self._set.Match(text.encode("utf-8", "surrogatepass")) or ()
        return sorted(n for n in found if n < len(self.patterns))

    def texts_matching(self, texts: pa.Array) -> Mask:
        """Which of the texts (strings without nulls, shape (n,)) may hold a match: all that do, and few others.

        `word` is looked at with ASCII boundaries only, `confirm` not at all, and `needs` instead of the rest.
        """
        return texts_matching([self], texts)

    def hits(self, text: str) -> list[Hit]:
        """All confirmed matches, by pattern and then by place."""
        return [hit for number in self.matching(text) for hit in self._places(number, text)]

    def _places(self, number: int, text: str) -> Iterator[Hit]:
        confirm = self._confirm[number]
        found = self._located[number].finditer(_encodable(text))
        word = self._words[number]
        for match in found if word is None else _as_words(word, found, text):
            start, end = match.span()
            if confirm is None or confirm.fullmatch(text, start, end):
                yield Hit(number, start, end)


def _as_words(word: re.Pattern[str], found: Iterable["re2._Match[str]"], text: str) -> Iterator["re.Match[str]"]:
    """The matches of `word` in the text, each of which begins within one of `found`, which knows no boundaries.

    So Python's `re`, a hundred times slower than RE2 and the only one of them that knows letters, reads little.
    """
    last = 0
    for rough in found:
        last = max(last, rough.start())
        while last < rough.end():
            match = word.match(text, last)
            if match is not None:
                yield match
            last = match.end() if match is not None else last + 1


def texts_matching(sets: Sequence[PatternSet], texts: pa.Array) -> Mask:
    """`PatternSet.texts_matching` for several sets at once: whether one of them may have a match."""
    found = np.zeros(len(texts), bool)
    scans = [s._set.Match for s in sets if s.patterns]
    if not scans or not len(texts):
        return found
    texts = texts.cast(pa.large_string())
    offsets, view = _buffer(texts)
    first = _pieces(offsets)
    joined = pc.binary_join(pa.LargeListArray.from_arrays(first, texts), pa.scalar(_BETWEEN, pa.large_string()))
    ends, together = _buffer(joined)
    for piece, (a, b) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        if near := [scan for scan in scans if scan(together[a:b])]:
            for i in range(first[piece], first[piece + 1]):
                text = view[offsets[i] : offsets[i + 1]]
                found[i] = any(scan(text) for scan in near)
    return found


def _source(source: str, pattern: Pattern) -> str:
    return f"(?i:{source})" if pattern.ignore_case else f"(?:{source})"


def _searched(pattern: Pattern) -> str:
    source = _source(pattern.needs or pattern.source, pattern)
    return f"{_LEFT}{source}{_RIGHT}" if pattern.word else source


def _buffer(texts: pa.Array) -> tuple[npt.NDArray[np.int64], memoryview]:
    """Offsets, shape (n + 1,), and UTF-8 bytes of a large_string array."""
    _, offsets, data = texts.buffers()
    numbers = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return numbers, memoryview(data or b"")


def _pieces(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Numbers of the texts with which a piece begins, and the number of texts; shape (pieces + 1,)."""
    number = (offsets[:-1] - offsets[0]) // _PIECE_BYTES
    begins = np.flatnonzero(np.diff(number, prepend=-1))
    return np.append(begins, len(offsets) - 1)


def _between_no_letters(pattern: Pattern) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern.source})(?!\w)", re.IGNORECASE if pattern.ignore_case else 0)


def _compiled(pattern: Pattern, where: str) -> "re2._Regexp":
    try:
        return re2.compile(_source(pattern.source, pattern), options=_options())
    except re2.error as e:
        reason = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else str(e)
        raise ConfigError(
            f"{pattern.name}: RE2 refuses the pattern: {reason}",
            where=where,
            hint="RE2 has no look-arounds and no back references, and repeats at most 1,000 times:"
            " https://github.com/google/re2/wiki/Syntax",
        ) from e


def _finished(together: "re2.Set", where: str) -> None:
    try:
        together.Compile()
    except re2.error as e:
        raise ConfigError(
            "the patterns are too large together", where=where, hint=r"shorten repetitions such as \pL{500}"
        ) from e


def _options() -> "re2.Options":
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_BYTES
    return options


def _encodable(text: str) -> str:
    """Lone surrogates can't be encoded for RE2; each becomes one replacement character, so that offsets stay."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", text)

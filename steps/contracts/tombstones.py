"""What was erased and must not come back: which rows a later ingest refuses, without a word of what they said.

A row is known by its ids, by the source that it came from, or by a value (a name, an address, a number) that it holds.
Of a value only a salted digest is kept: whoever has the list can test a guess against it, and read nothing from it.
Values are compared word by word, numbers by their digits, whatever stands between them.
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Mask
from steps.contracts.digests import value_digest
from steps.contracts.reports import Frozen

ValueKind: TypeAlias = Literal["words", "number"]

# Below the root of an artifact store, and of the state folder: a file per erasure.
FOLDER = "tombstones"
# Under which the digest of the list stands among what ingest reads.
INPUT = "tombstones"
# Reason in the ledger.
ERASED = "erased"
# Chosen: fewer digits are a house number or a year.
_DIGITS = 7
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d(?:[\s().\-/]{0,3}\d)+")
# In raw bytes of JSON: what stands for a character, or for a space between two words.
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|[nrtbf/\"\\])")
_DIGEST_BYTES = 16


class ValueDigest(Frozen):
    """A value: how many words it has (of a number: 1), and the digest of its normal form, 32 hex characters."""

    kind: ValueKind
    words: int
    digest: str


class Tombstone(Frozen):
    """One erasure: the rows that it took, and those that would be the same again.

    Attributes:
        erasure: its id.
        erased: UTC, ISO 8601.
        records, contents: ids of rows.
        sources: names as in a row's `source`, whole or up to a "/".
        salt: of the digests of values, 32 hex characters.
    """

    erasure: str
    erased: str
    records: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    salt: str = ""
    values: tuple[ValueDigest, ...] = ()


class ValueSearch:
    """Finds values in texts by the digests of one salt."""

    def __init__(self, salt: str, values: Iterable[ValueDigest]) -> None:
        self._salt = salt.encode()
        self._words: dict[int, set[str]] = {}
        self._numbers = {v.digest for v in values if v.kind == "number"}
        for value in values:
            if value.kind == "words":
                self._words.setdefault(value.words, set()).add(value.digest)

    def holds(self, text: str) -> bool:
        """Whether the text holds one of the values."""
        return (bool(self._numbers) and self._has_number(text)) or (bool(self._words) and self._has_words(text))

    def _has_number(self, text: str) -> bool:
        found = (_digits(m.group()) for m in _NUMBER.finditer(normal(text)))
        return any(_keyed(self._salt, "number", digits) in self._numbers for digits in found)

    def _has_words(self, text: str) -> bool:
        words = _WORD.findall(normal(text))
        return any(
            _keyed(self._salt, "words", " ".join(words[i : i + size])) in digests
            for size, digests in self._words.items()
            for i in range(len(words) - size + 1)
        )


def value_of(value: str, salt: str) -> ValueDigest:
    """The digest of a value: of its digits when it is a number, else of its words.

    Raises:
        ValueError: it has neither.
    """
    plain = normal(value)
    if not any(c.isalpha() for c in plain) and len(digits := _digits(plain)) >= _DIGITS:
        return ValueDigest(kind="number", words=1, digest=_keyed(salt.encode(), "number", digits))
    words = _WORD.findall(plain)
    if not words:
        raise ValueError("no letter and no digit")
    return ValueDigest(kind="words", words=len(words), digest=_keyed(salt.encode(), "words", " ".join(words)))


def normal(text: str) -> str:
    """As values are compared: NFKC, case folded."""
    return unicodedata.normalize("NFKC", text).casefold()


def readable(raw: bytes) -> str:
    """Bytes of a row that couldn't be read, as a text in which values can be found."""

    def plain(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else " "

    return _ESCAPED.sub(plain, raw.decode("utf-8", "replace"))


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


def _keyed(salt: bytes, kind: str, value: str) -> str:
    return hmac.new(salt, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[
        : 2 * _DIGEST_BYTES
    ]


@dataclass(frozen=True)
class Tombstones:
    """All that is known to a run. Empty: nothing is refused, and nothing costs time."""

    each: tuple[Tombstone, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.each)

    @cached_property
    def digest(self) -> str:
        """Of the list, whatever its order; "" when it is empty."""
        return value_digest(sorted(t.model_dump_json() for t in self.each)) if self.each else ""

    def refusing(self, row: Mapping[str, Any]) -> str:
        """Id of an erasure that took this row (a dict of SCHEMA), or one that says the same; "" when none did."""
        by_id = self._by_id
        for known in (row["record_id"], row["content_id"], *row["parents"]):
            if known in by_id:
                return by_id[known]
        return self.refusing_source(row["source"]) or (self.refusing_text(list(texts(row))) if self._searches else "")

    def refusing_raw(self, source: str, record_id: str, raw: bytes) -> str:
        """The same for a row that couldn't be read."""
        if found := self._by_id.get(record_id) or self.refusing_source(source):
            return found
        return self.refusing_text([readable(raw)]) if self._searches else ""

    def named(self, record_id: str) -> str:
        """What a ledger calls a row: its id, or the erasure that took it."""
        return self._by_id.get(record_id, record_id) if self.each else record_id

    def refusing_source(self, source: str) -> str:
        """Id of an erasure that took this source; "" when none did."""
        named = (t for t in self.each for s in t.sources if is_of(source, s))
        return next((t.erasure for t in named), "")

    def refusing_text(self, parts: Iterable[str]) -> str:
        """Id of an erasure that took rows with a value that one of these texts holds; "" when none did."""
        return next((e for part in parts for e, search in self._searches if search.holds(part)), "")

    def refused(self, table: pa.Table) -> tuple[Mask, list[str]]:
        """Which rows of a table (SCHEMA) go on, shape (rows,), and the erasures that took the others, in order."""
        found = [self.refusing(row) for row in table.to_pylist()]
        return np.array([not f for f in found], bool), [f for f in found if f]

    @cached_property
    def _by_id(self) -> dict[str, str]:
        return {i: t.erasure for t in self.each for i in (*t.records, *t.contents)}

    @cached_property
    def _searches(self) -> list[tuple[str, ValueSearch]]:
        return [(t.erasure, ValueSearch(t.salt, t.values)) for t in self.each if t.values]


def is_of(source: str, name: str) -> bool:
    """Whether a row's `source` is the one of this name, or of a file or folder below it."""
    return source == name or source.startswith(f"{name}/")


def texts(row: Mapping[str, Any]) -> Iterator[str]:
    """All that a row (a dict of SCHEMA) says, and the name of its file."""
    for side in ("messages", "chosen", "rejected"):
        for m in row[side]:
            yield from (t for t in (m["content"], m["tool_calls"], m["name"], m["reasoning"]) if t)
    yield from (t for t in (row["text"], row["tools"], row["meta"], row["source"]) if t)

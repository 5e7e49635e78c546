"""What of a person's rows can be found again in files: their ids, what they say, values, pseudonyms, their places."""

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Literal, TypeAlias

import re2

from steps.contracts.digests import text_digest
from steps.contracts.reports import Frozen
from steps.contracts.tombstones import is_of

Found: TypeAlias = Literal["", "id", "text", "value", "pseudonym", "place", "reply"]

# Chosen: more texts than these would take gigabytes to look for.
MOST_TEXTS = 100_000
# Chosen: a shorter text may be anybody's; of a longer one its beginning tells it, and excerpts have it.
TEXT_CHARS = 32
EXCERPT_CHARS = 60
# Forms in one pattern. Measured: they take 110 MB.
_AT_ONCE = 50_000
# What is shown and kept in the place of a value.
MASK = b"[value]"
_HEX = re.compile(rb"[0-9a-f]{32,}")
# Between two words of a value, or two digits of a number, as files of all kinds write it: HTML, URLs, JSON.
_BETWEEN = r"(?:[^\w\s]|\s|_|%[0-9A-Fa-f]{2}|&\#?\w{1,6};|\\u[0-9A-Fa-f]{4}|\\[nrt]){1,12}"
_BETWEEN_DIGITS = r"(?:[\s().\-/]|%2[0-9A-Fa-f]|&\#?\w{1,6};){0,3}"
_DIGITS = 7


class Needles(Frozen):
    """Everything that is looked for. It holds what is to be erased, and goes with it.

    Attributes:
        ids: of rows and of what they say; lower-case hex.
        texts: beginnings of what they say and no other row does.
        values: names, addresses, numbers, as they were given.
        pseudonyms: what scrub put in their place.
        places: digests of sources and locators of the rows (`place_digest`), for files of rejects.
        sources: all rows of these.
        replies: digests of what a judge answered about them. Others may have got the same answer: those are asked for
            anew.
    """

    ids: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    pseudonyms: tuple[str, ...] = ()
    places: frozenset[str] = frozenset()
    sources: tuple[str, ...] = ()
    replies: frozenset[str] = frozenset()

    def replied(self, values: Iterable[object]) -> bool:
        """Whether one of these values is such an answer."""
        return bool(self.replies) and any(text_digest(v) in self.replies for v in values if isinstance(v, str))

    def found(self, data: bytes) -> Found:
        """What of it stands in these bytes; "": nothing."""
        if self.ids and any(m.group().decode() in self.ids for m in _HEX.finditer(data)):
            return "id"
        if any(pattern.search(data) for pattern in self._values):
            return "value"
        if any(p.encode() in data for p in self.pseudonyms):
            return "pseudonym"
        if any(pattern.search(data) for pattern in self._texts):
            return "text"
        return ""

    def masked(self, text: str) -> str:
        """A text with what stands for each value in its place."""
        data = text.encode("utf-8", "surrogatepass")
        for pattern in self._values:
            data = pattern.sub(MASK, data)
        return data.decode("utf-8", "surrogatepass")

    def without(self, text: str) -> list[str]:
        """What stands around values in a text, where it is long enough to tell the text."""
        return [piece for piece in self.masked(text).split(MASK.decode()) if len(piece) >= TEXT_CHARS]

    def found_line(self, line: bytes) -> Found:
        """The same of a line of JSON, which may say the place of a row, or hold a judge's answer."""
        try:
            said = json.loads(line)
        except ValueError:
            return self.found(line)
        if isinstance(said, list) and self.replied(said):
            return "reply"
        source = said.get("source") if isinstance(said, dict) else None
        if isinstance(source, str) and self._is_place(source, said.get("locator")):
            return "place"
        return self.found(line)

    def _is_place(self, source: str, locator: object) -> bool:
        return place_digest(source, locator) in self.places or any(is_of(source, s) for s in self.sources)

    @cached_property
    def _values(self) -> list[re.Pattern[bytes]]:
        return [re.compile(_value_pattern(v).encode(), re.IGNORECASE) for v in self.values]

    @cached_property
    def _texts(self) -> "list[re2._Regexp[bytes]]":
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = 1 << 30
        forms = sorted({form for text in self.texts for form in _written(text)})
        parts = [forms[i : i + _AT_ONCE] for i in range(0, len(forms), _AT_ONCE)]
        return [
            re2.compile(b"|".join(re2.escape(f.encode("utf-8", "surrogatepass")) for f in part), options)
            for part in parts
        ]


def place_digest(source: str, locator: object) -> str:
    """Where a row was read: the name of its source can be a person's."""
    return text_digest(f"{source}\0{locator}")


def beginnings(texts: Iterable[str]) -> Iterator[str]:
    """Of each text that is long enough, the beginning that tells it."""
    return (text[:EXCERPT_CHARS] for text in texts if len(text) >= TEXT_CHARS)


def _written(text: str) -> Iterator[str]:
    """A text as files write it: plain, in JSON, in HTML."""
    yield text
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield json.dumps(text)[1:-1]
    yield html.escape(text)
    yield html.escape(text, quote=False)


def _value_pattern(value: str) -> str:
    """A value in bytes of UTF-8, in whatever case and with whatever between its words."""
    plain = unicodedata.normalize("NFKC", value)
    digits = [c for c in plain if c.isdigit()]
    if not any(c.isalpha() for c in plain) and len(digits) >= _DIGITS:
        return rf"(?<!\d){_BETWEEN_DIGITS.join(digits)}(?!\d)"
    words = ("".join(map(_letter, word)) for word in re.findall(r"\w+", plain))
    return rf"(?<![A-Za-z0-9]){_BETWEEN.join(words)}(?![A-Za-z0-9])"


def _letter(c: str) -> str:
    """One letter as files write it, in both cases."""
    if c.isascii():
        return re.escape(c)
    forms = {f for case in (c.lower(), c.upper()) for f in (case, unicodedata.normalize("NFD", case))}
    written = {re.escape(f) for f in forms}
    for case in (c.lower(), c.upper()):
        written |= {rf"\\u{ord(u):04x}" for u in case} | {rf"&\#{ord(u)};" for u in case}
        written.add("".join(f"%{b:02X}" for b in case.encode()))
    return f"(?:{'|'.join(sorted(written, key=len, reverse=True))})"

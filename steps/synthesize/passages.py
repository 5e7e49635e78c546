"""Documents as passages: slices of their text with place, page, headings and URL."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from steps.contracts.records import Row
from steps.engines.chunking.chunking import Chunk, Cut, Markup
from steps.synthesize.urls import Urls

# Files whose text has no marks of headings.
_PLAIN = (".txt", ".pdf")
# Names under which a row may say where its document stands.
_URL_KEYS = ("url", "source_url", "link", "uri")


@dataclass(frozen=True)
class Passage:
    """A slice of a document.

    Attributes:
        document: record_id of the document; source: its name; split: its label.
        number: from 0, in the document; start, end: in characters of its text, which `text` is a slice of.
        headings: those that it stands under, outermost first. page: from 1, where it starts; None: there are no pages.
    """

    document: str
    source: str
    split: str | None
    number: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    url: str | None = None

    def shown(self) -> dict[str, Any]:
        """What a model sees of it."""
        name = self.source.rsplit("/", 1)[-1]
        facts = {"document": name, "headings": list(self.headings), "page": self.page, "url": self.url}
        return {**{k: v for k, v in facts.items() if v}, "text": self.text}

    def place(self, *, texts: bool = True) -> dict[str, Any]:
        """Where it stands, for the record. `texts`: whether headings may stand there."""
        facts = {"headings": list(self.headings) if texts else None, "page": self.page, "url": self.url}
        return {"start": self.start, "end": self.end, **{k: v for k, v in facts.items() if v}}


def passages_of(row: Row, cut: Cut, urls: Urls) -> list[Passage]:
    """The passages of a document, in reading order."""
    text: str = row["text"] or ""
    meta = json.loads(row["meta"] or "{}")
    starts: Sequence[int] = meta.get("page_starts") or ()
    url = next((str(meta[k]) for k in _URL_KEYS if meta.get(k)), None) or urls.of(row["source"])
    found = _located(text, cut(text, _markup(row["source"]), ()))
    return [
        Passage(
            row["record_id"], row["source"], row["split"], n, start, end, text[start:end], chunk.headings,
            bisect_right(starts, start) or None if starts else None, url,
        )
        for n, (chunk, start, end) in enumerate(found)
    ]  # fmt: skip


def _markup(source: str) -> Markup:
    # A page of HTML was read as Markdown is written.
    return "text" if source.lower().endswith(_PLAIN) else "markdown"


def _located(text: str, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, int, int]]:
    """Where each chunk stands in the text, in characters: line by line, since blank lines and marks are left out."""
    at = 0
    for chunk in chunks:
        first = None
        # The marks of headings differ: they may be underlined in the document.
        lines = (line.strip().lstrip("#").lstrip() for block in chunk.blocks for line in block.splitlines())
        for line in filter(None, lines):
            here = text.find(line, at)
            if here >= 0:
                first = _with_mark(text, here) if first is None else first
                at = here + len(line)
        if first is not None:
            yield chunk, first, at


def _with_mark(text: str, start: int) -> int:
    """The start of a line, with the marks of a heading in front of it."""
    while start and text[start - 1] in "# \t":
        start -= 1
    return start

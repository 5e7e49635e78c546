"""Text documents: blocks (headings and paragraphs) out of txt, Markdown and HTML, and chunks out of blocks."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from steps.contracts.errors import InputNotFoundError
from steps.engines.chunking.config import ChunkConfig

Spans = list[tuple[int, int]]
Tokenize = Callable[[str], Spans]
Markup = Literal["text", "markdown", "html"]

Cut = Callable[[str, Markup, Sequence[int]], "list[Chunk]"]

_WORD = re.compile(r"\w+|[^\w\s]")
_HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t]*#*$")
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r"(=+|-{2,})[ \t]*$")
_SENTENCE_END = re.compile(r"[.!?。！？][\"')\]]*$")
_NOT_TEXT = ("script", "style", "noscript", "template", "svg", "head", "nav", "footer", "form", "iframe")
_BLOCK_TAGS = (
    "address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "figcaption", "figure",
    "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li", "main", "ol", "p", "pre", "section", "summary",
    "table", "tr", "ul",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A heading (`level` 1 to 6, text without its mark) or a paragraph (`level` 0), and the page that it is on."""

    level: int
    text: str
    page: int | None = None

    @property
    def shown(self) -> str:
        """The block as it stands in a chunk: headings in Markdown."""
        return f"{'#' * self.level} {self.text}" if self.level else self.text


@dataclass
class Chunk:
    """A piece of a document. `headings` are those it stands under, outermost first; `page`: where it starts."""

    blocks: list[str] = field(default_factory=list)
    tokens: int = 0
    headings: tuple[str, ...] = ()
    page: int | None = None

    @property
    def text(self) -> str:
        """Blocks with a blank line between them."""
        return "\n\n".join(self.blocks)


def blocks(text: str, markup: Markup) -> list[Block]:
    """The blocks of a document in reading order; blank ones are left out."""
    if markup == "html":
        return _html_blocks(text)
    if markup == "markdown":
        return _markdown_blocks(text)
    return [Block(0, p) for p in _paragraphs(text.splitlines())]


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    part: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            part.append(line.rstrip())
        elif part:
            yield "\n".join(part)
            part = []


def _markdown_blocks(text: str) -> list[Block]:
    out: list[Block] = []
    part: list[str] = []
    fence: str | None = None

    def flush() -> None:
        if part:
            out.append(Block(0, "\n".join(part)))
            part.clear()

    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence is not None:
            part.append(line)
            fence = None if mark and mark.group(1).startswith(fence) else fence
        elif mark:
            fence = mark.group(1)
            part.append(line)
        elif heading := _HEADING.fullmatch(line):
            flush()
            if heading.group(2):
                out.append(Block(len(heading.group(1)), heading.group(2)))
        elif len(part) == 1 and (under := _UNDERLINE.fullmatch(line)):
            out.append(Block(1 if under.group(1)[0] == "=" else 2, part.pop().strip()))
        elif line.strip():
            part.append(line.rstrip())
        else:
            flush()
    flush()
    return out


def _html_blocks(text: str) -> list[Block]:
    from bs4 import BeautifulSoup, Comment, Declaration, Doctype, ProcessingInstruction, Tag

    soup = BeautifulSoup(text, "html.parser")
    for tag in soup(list(_NOT_TEXT)):
        tag.extract()
    out: list[Block] = []
    part: list[str] = []
    owner: Tag | None = None

    def flush() -> None:
        if owner is None or not (said := "".join(part)).strip():
            return
        if owner.name == "pre":
            out.append(Block(0, said.strip("\n")))
        else:
            level = int(owner.name[1]) if re.fullmatch("h[1-6]", owner.name) else 0
            flat = " ".join(said.split())
            out.append(Block(level, f"- {flat}" if owner.name == "li" else flat))

    for node in soup.descendants:
        if isinstance(node, Tag):
            if node.name == "tr":
                flush()
                owner, part = node, []
            elif node.name in ("td", "th") and owner is node.parent and part:
                part.append(" | ")
            elif node.name == "br":
                part.append("\n" if owner is not None and owner.name == "pre" else " ")
        elif not isinstance(node, (Comment, Declaration, Doctype, ProcessingInstruction)):
            here = next((p for p in node.parents if p.name in _BLOCK_TAGS), soup)
            if here is not owner:
                flush()
                owner, part = here, []
            part.append(str(node))
    flush()
    return out


def tokenizer(config: ChunkConfig, where: str) -> Tokenize:
    """Character spans of the tokens of a text: by the named tokenizer, or words and punctuation marks.

    Raises:
        InputNotFoundError: the named tokenizer is neither a folder nor in reach on the hub.
    """
    if config.tokenizer is None:
        return lambda text: [m.span() for m in _WORD.finditer(text)]
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(config.tokenizer, revision=config.tokenizer_revision)
    except (OSError, ValueError) as e:
        raise InputNotFoundError(
            f"can't load the tokenizer {config.tokenizer!r}", where=f"{where}.tokenizer",
            hint="name a folder with tokenizer.json or a hub id that is in reach, or leave it out",
        ) from e  # fmt: skip
    return lambda text: list(loaded(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"])


def cutter(config: ChunkConfig | Literal["none"], where: str) -> Cut:
    """What cuts a document: into chunks, or, where it stays whole, into one. A text without words has none.

    It takes the text, its markup, and where its pages start, in characters (none: it has no pages).

    Raises:
        InputNotFoundError: as `tokenizer`.
    """
    if config == "none":
        return _whole
    tokenize = tokenizer(config, where)

    def cut(text: str, markup: Markup, starts: Sequence[int]) -> list[Chunk]:
        if starts:
            return chunks(_paged(text, markup, starts), config, tokenize)
        if markup == "text" and len(text) <= config.max_tokens:
            # No text has more tokens than characters.
            return chunks([Block(0, text)], config, lambda t: [(0, len(t))])
        return chunks(blocks(text, markup), config, tokenize)

    return cut


def _paged(text: str, markup: Markup, starts: Sequence[int]) -> Iterator[Block]:
    for page, (start, end) in enumerate(pairwise([*starts, len(text)]), 1):
        yield from (replace(block, page=page) for block in blocks(text[start:end], markup))


def _whole(text: str, markup: Markup, _: Sequence[int]) -> list[Chunk]:
    parts = [b.shown for b in blocks(text, markup)] if markup == "html" else [text] * bool(text.strip())
    return [Chunk(parts)] if parts else []


def chunks(found: Iterable[Block], config: ChunkConfig, tokenize: Tokenize) -> list[Chunk]:
    """Chunks of at most `max_tokens` tokens each, cut at headings, else between paragraphs, sentences, tokens.

    Tokens are counted per block; joining blocks may change a subword tokenizer's count by a token or two.
    """
    out: list[Chunk] = []
    now = Chunk()
    path: list[tuple[int, str]] = []

    def close() -> None:
        nonlocal now
        if now.blocks:
            out.append(now)
        now = Chunk(headings=tuple(text for _, text in path))

    for block in found:
        if block.level:
            path = [p for p in path if p[0] < block.level]
            if now.tokens >= config.min_tokens:
                close()
            path.append((block.level, block.text))
        for piece, count, again in _pieces(block.shown, config, tokenize):
            if now.tokens + count > config.max_tokens:
                close()
            elif not now.blocks:
                now.headings = tuple(text for _, text in path)
            now.page = now.page or block.page
            now.blocks.append(piece)
            now.tokens += count
            if again:
                close()
    close()
    return out


def _pieces(text: str, config: ChunkConfig, tokenize: Tokenize) -> Iterator[tuple[str, int, bool]]:
    """Pieces of a block that fit a chunk: text, tokens, and whether the next one repeats its end."""
    spans = tokenize(text)
    start = 0
    while len(spans) - start > config.max_tokens:
        end = _cut(text, spans, start, start + config.max_tokens)
        yield text[spans[start][0] : spans[end][0]].rstrip(), end - start, config.overlap_tokens > 0
        start = max(end - config.overlap_tokens, start + 1)
    if start < len(spans) or not spans:
        yield text[spans[start][0] if start else 0 :], len(spans) - start, False


def _cut(text: str, spans: Spans, start: int, end: int) -> int:
    """The token behind the last sentence in the second half of the window, or its end."""
    for at in range(end, (start + end) // 2, -1):
        if _SENTENCE_END.search(text[spans[at - 1][0] : spans[at - 1][1]]) and spans[at][0] > spans[at - 1][1]:
            return at
    return end

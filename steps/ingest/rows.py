"""Raw rows to records: the rows of one source, whatever their format."""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steps.contracts.digests import short_id
from steps.contracts.records import Row
from steps.engines.chunking.chunking import Chunk, Markup, cutter
from steps.engines.chunking.page_url import page_url
from steps.engines.formats.bare import ALONE, BARE_TEXT, is_bare_pair
from steps.engines.formats.columns import renamed
from steps.engines.formats.dialects.described import fields
from steps.engines.formats.format import Draft, Parsed, Reading
from steps.engines.formats.marks import telling
from steps.engines.formats.names import renames, standard
from steps.engines.formats.registry import detect, read_row, unwrapped
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.trees import NODE_FIELDS, Node, TreePath, TreeSpool, nested_nodes, node_of, paths
from steps.ingest.config import Container, SourceConfig
from steps.ingest.dataset_info import Meaning
from steps.ingest.readers import Bad, Item, Raw, plain
from steps.ingest.record_sink import RecordSink

if TYPE_CHECKING:
    from steps.ingest.columnar.blocks import Done

# 64 bits: the trees of a source aren't mistaken for each other.
_ID_CHARS = 16
# What a document's text is written in, by its container; plain text otherwise.
_MARKUP: dict[Container, Markup] = {"markdown": "markdown", "html": "html", "docx": "markdown"}
# Where the pages of a document start in its text.
_STARTS = "page_starts"


class RowReader:
    """Takes the items of one source after the other. `start` names the file that the next items come from."""

    def __init__(self, source: SourceConfig, sink: RecordSink, folder: Path) -> None:
        self.source, self.sink, self.config = source, sink, sink.config
        self.path = ""
        self.container: Container = "jsonl"
        self.format = "text"
        # what a description says of the file's rows
        self.meaning: Meaning | None = None
        # rows of the file by format
        self.formats: Counter[str] = Counter()
        self._counters = sink.counters[source.name]
        self._folder = folder
        self._aside = frozenset(source.as_meta)
        self._reading = Reading(source.roles, sink.config.ranked_pairs)
        self._strict = source.format != "auto"
        self._spool: TreeSpool | None = None
        self._cut = cutter(self.config.chunk, "ingest.chunk")

    def start(self, path: str, container: Container, row_format: str) -> None:
        """The next items come from this file, and most of them have this format."""
        self.path, self.container, self.format = path, container, row_format
        self.formats = Counter()

    def named(self, value: Row, *, strict: bool = True) -> Row:
        """The row under standard column names, without those that are only meta.

        Raises:
            RowRejected: `strict`, and two columns would get one name.
        """
        value = self.meaning.row(value) if self.meaning is not None else value
        value = renamed(value, self.source.columns) if self.source.columns else value
        value = {k: v for k, v in value.items() if k not in self._aside} if self._aside else value
        return unwrapped(standard(value, self.source.columns, strict=strict))

    def take(self, item: Item) -> None:
        """Keep, expand or reject one row."""
        self._counters.rows += 1
        row_format, value = self.format, {}
        try:
            if isinstance(item, Bad):
                self.sink.reject(self.source, self.path, item, item.reason, item.hint)
                return
            value = self.named(item.value)
            row_format, parsed = self._understood(item, value)
            self._take(item, value, row_format, parsed)
        except RowRejected as e:
            self.sink.reject(self.source, self.path, item, e.reason, self._hint(e, value))
        except RecursionError:
            self.sink.reject(self.source, self.path, item, "too_deep", "nested deeper than Python's limit")
        finally:
            self._counters.formats[row_format] += 1
            self.formats[row_format] += 1

    def finish_file(self) -> None:
        """All items of the file are taken."""
        if len(self.formats) > 1:
            found = ", ".join(f"{rows:,} {name}" for name, rows in self.formats.most_common())
            self._counters.notes.append(f"{self.path}: rows of several formats, each read by its own: {found}")

    def record(self, item: Item) -> Row | None:
        """The record that `take` would keep; None where it would do anything else. Nothing is counted or written."""
        if isinstance(item, Bad) or item.cleaned:
            return None
        try:
            value = self.named(item.value)
            row_format, parsed = self._understood(item, value)
        except (RowRejected, RecursionError):
            return None
        if parsed is None or row_format != self.format or len(parsed.drafts) != 1 or parsed.notes:
            return None
        if telling(self._unused(value, parsed.used)):
            return None
        [draft] = parsed.drafts
        draft.meta = {**self._meta(item, value, parsed.used), **draft.meta}
        return self.sink.row(self.source, self.path, item, draft)

    def take_block(self, block: "Done") -> None:
        """Keep the records of a block, and take its other items, all in their order."""
        self._counters.rows += len(block.places)
        self._counters.formats[self.format] += len(block.places)
        self.formats[self.format] += len(block.places)
        with self.sink.block(self.source, block.table, block.places, block.lengths) as at:
            for place, item in block.careful():
                at(place)
                self.take(item)

    def _hint(self, error: RowRejected, value: Row) -> str:
        hint = error.hint or ""
        like = detect(value)
        if like is not None and like != self.format and self._strict:
            hint += f"; the row looks like {like}, the file is read as {self.format}"
        elif error.reason == "missing_column":
            wanted = hint.split("'")[1] if "'" in hint else ""
            if wanted in value:
                return f"{hint.replace('is missing', 'is empty')}; the row has {fields(value)}"
            names = [str(k) for k in value]
            near = difflib.get_close_matches(wanted, names, n=1)
            meant = f"; did you mean {near[0][:40]!r}?" if near and near[0] != wanted else ""
            hint += f"; the row has {fields(value)}{meant}"
        return hint

    def _understood(self, item: Raw, value: Row) -> tuple[str, Parsed | None]:
        """The row's format, and what it says; None: a part of a message tree."""
        if ALONE in value and self.format != "text":
            raise RowRejected("not_an_object", BARE_TEXT)
        if self.format != "prompt_completion" and is_bare_pair(value) and item.raw.lstrip()[:1] == b"[":
            raise RowRejected(
                "not_an_object", "two texts among rows of another kind: are they a prompt and its answer?"
            )
        return read_row(value, self.format, self._reading, strict=self._strict)

    def _take(self, item: Raw, value: Row, row_format: str, parsed: Parsed | None) -> None:
        if parsed is None:
            take = self._take_tree if row_format == "oasst" else self._take_node
            take(item, value)
            return
        self._counters.noted.update((*parsed.notes, *telling(self._unused(value, parsed.used))))
        meta = self._meta(item, value, parsed.used)
        for draft in parsed.drafts:
            draft.meta = {**meta, **draft.meta}
        if row_format == "text":
            self._take_document(item, parsed.drafts[0])
        elif len(parsed.drafts) == 1:
            self._keep(item, parsed.drafts[0], row_format)
        else:
            self._expand(item, parsed.drafts, parsed.made, row_format)

    def _keep(self, item: Raw, draft: Draft, row_format: str) -> None:
        row = self.sink.row(self.source, self.path, item, draft)
        self.sink.keep(self.source, row, row_format, cleaned=item.cleaned)

    def _unused(self, value: Row, used: tuple[str, ...]) -> Row:
        return {k: v for k, v in value.items() if k not in used and v is not None}

    def _meta(self, item: Raw, value: Row, used: tuple[str, ...]) -> Row:
        """The columns that no field holds, and those that are set aside, under the data's names."""
        unused, wanted = self._unused(value, used), self.config.meta_columns
        kept = unused
        if value is not item.value:
            named = {new: old for old, new in renames(tuple(item.value)).items() if old not in value}
            kept = {named.get(k, k): v for k, v in unused.items()}
        kept = kept if wanted is None else {k: v for k, v in kept.items() if k in wanted}
        aside = self.meaning.unread(item.value) if self.meaning is not None else {}
        if self._aside:
            aside |= {k: v for k, v in item.value.items() if k in self._aside}
        return {**kept, **{k: v for k, v in aside.items() if v is not None}} if aside else kept

    # --- rows that become several ---

    def _expand(
        self, item: Raw, drafts: list[Draft], what: str, row_format: str, locators: Sequence[str | None] = ()
    ) -> None:
        """The row is dropped, and `drafts` are created from it. `locators`: theirs, where they aren't counted alone."""
        parent = short_id(self.path, item.locator, item.raw)
        self.sink.drop(parent, f"made_into_{what}s", {"rows": len(drafts)})
        place = item.locator.split(":", 1)[1]
        for number, draft in enumerate(drafts):
            locator = (locators[number] if locators else None) or f"{what}:{place}:{number}"
            row = self.sink.child(self.source, self.path, locator, draft, [parent])
            self.sink.create(self.source, row, what, row_format)

    def _take_document(self, item: Raw, draft: Draft) -> None:
        if self.container == "html" and (url := page_url(draft.text or "")):
            draft.meta = {**draft.meta, "url": url}
        starts = item.value.get(_STARTS, ()) if self.container == "pdf" else ()
        found = self._cut(draft.text or "", _MARKUP.get(self.container, "text"), starts)
        if not found:
            raise RowRejected("empty_text", "the document has no text")
        if len(found) == 1:
            draft.text = found[0].text if self.container == "html" else draft.text
            self._keep(item, draft, "text")
            return
        meta = {k: v for k, v in draft.meta.items() if not starts or k != _STARTS}
        drafts = [Draft("document", text=c.text, meta={**meta, **_chunk_meta(c)}) for c in found]
        pages = [None if c.page is None else f"page:{c.page}:{n}" for n, c in enumerate(found)]
        self._expand(item, drafts, "chunk", "text", pages)

    # --- trees ---

    def _take_tree(self, item: Raw, value: Row) -> None:
        nodes = nested_nodes(value, self.source.roles)
        found = paths(nodes, self.config.tree_paths)
        parent = short_id(self.path, item.locator, item.raw)
        meta = plain(self._meta(item, value, ("prompt",)))
        self.sink.drop(parent, "made_into_tree_paths" if found else "no_assistant_turn", {"rows": len(found)})
        for path in found:
            self._create_path(path, "oasst", self.path, meta, [parent])

    def _take_node(self, item: Raw, value: Row) -> None:
        node = node_of(value, self.source.roles)
        node.record_id = short_id(self.path, item.locator, item.raw)
        self._spool = self._spool or TreeSpool(self._folder)
        origin = {"path": self.path, "locator": item.locator, "line": item.line}
        if node.parent is None:
            origin["meta"] = plain(self._meta(item, value, NODE_FIELDS))
        self._spool.add(node, origin)

    def finish(self) -> None:
        """Read the trees that were gathered from flat rows."""
        if self._spool is None:
            return
        for tree in self._spool.trees():
            self._take_gathered(tree)
        for node, origin, reason, hint in self._spool.loose():
            lost = Bad(origin["locator"], origin["line"], b"", reason, hint)
            self.sink.reject_record(self.source, origin["path"], node.record_id, lost)

    def _take_gathered(self, tree: list[tuple[Node, Row]]) -> None:
        nodes = [node for node, _ in tree]
        found = paths(nodes, self.config.tree_paths)
        used = {n.record_id for path in found for n in path.nodes}
        for node in nodes:
            reason = "made_into_tree_paths" if node.record_id in used else "not_on_a_tree_path"
            self.sink.drop(node.record_id, "deleted_message" if node.deleted else reason)
        root = tree[0][1]
        for path in found:
            self._create_path(path, "oasst_rows", root["path"], root["meta"], [n.record_id for n in path.nodes])

    def _create_path(self, path: TreePath, how: str, source_path: str, meta: Row, parents: list[str]) -> None:
        # Ids of the data may say whose they are, and a locator stands in every ledger: theirs are digests.
        locator = f"tree:{short_id(path.tree)[:_ID_CHARS]}"
        if self.config.tree_paths == "all":
            locator += f":{short_id(path.leaf)[:_ID_CHARS]}"
        draft = path.draft()
        draft.meta = meta
        row = self.sink.child(self.source, source_path, locator, draft, parents)
        self.sink.create(self.source, row, "tree_path", how)

    def close(self) -> None:
        """Remove what is temporary."""
        if self._spool is not None:
            self._spool.close()


def _chunk_meta(chunk: Chunk) -> Row:
    page = {} if chunk.page is None else {"page": chunk.page}
    return {"headings": list(chunk.headings), "tokens": chunk.tokens, **page}

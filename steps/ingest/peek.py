"""A look at the first rows of files: what they are, and what ingest would make of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.contracts.errors import InputError
from steps.contracts.records import Kind, Row, make_row
from steps.engines.formats.columns import check_columns, renamed
from steps.engines.formats.format import Draft, Reading
from steps.engines.formats.names import standard
from steps.engines.formats.registry import detect_most, read_row, unwrapped
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.trees import nested_nodes, paths
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.dataset_info import Meaning
from steps.ingest.ingest import beginnings
from steps.ingest.readers import Bad, Item, Raw


@dataclass(frozen=True)
class Peek:
    """What the beginning of one file is.

    Attributes:
        path: the source's name and the path below it. bytes: as stored.
        format: of the rows; None: none that is known, and `why` says so.
        columns: of the rows as the file has them, in their order.
        text_lengths: mean characters of the columns that hold text.
        read: raw rows that were looked at; rows: what they become; rejected: why others become nothing, with counts.
    """

    path: str
    container: str
    bytes: int
    format: str | None
    columns: tuple[str, ...]
    read: int
    rows: tuple[Row, ...]
    rejected: Counter[str]
    text_lengths: Mapping[str, float]
    why: str = ""

    @property
    def kinds(self) -> Counter[Kind]:
        """Rows per kind."""
        return Counter(row["kind"] for row in self.rows)


def peek(source: SourceConfig, config: IngestConfig, root: Path) -> Iterator[Peek]:
    """The beginnings of a source's files.

    Raises:
        InputError: there is no file, or one can't be read at all.
    """
    for found in beginnings(source, config, root):
        path, container, size, items = found.path, found.container, found.bytes, found.items
        raws = [_meant(i, found.meaning) for i in items if isinstance(i, Raw)]
        lengths = _text_lengths([r.value for r in raws])
        columns = tuple(dict.fromkeys(str(k) for r in raws for k in r.value))
        rejected = Counter(i.reason for i in items if isinstance(i, Bad))
        try:
            if raws and source.columns:
                check_columns((r.value for r in raws), source.columns, path)
            named = [_named(r.value, source, strict=False) for r in raws]
            row_format = detect_most(named, path) if source.format == "auto" and raws else source.format
        except InputError as e:
            hint = f"; {e.hint}" if e.hint and "did you mean" in e.hint else ""
            yield Peek(path, container, size, None, columns, len(items), (), rejected, lengths, e.what + hint)
            continue
        rows = tuple(_rows(source, path, row_format, raws, config, rejected))
        yield Peek(path, container, size, row_format, columns, len(items), rows, rejected, lengths)


def _meant(raw: Raw, meaning: Meaning | None) -> Raw:
    return raw if meaning is None else raw._replace(value={**meaning.unread(raw.value), **meaning.row(raw.value)})


def _rows(
    source: SourceConfig, path: str, row_format: str, raws: Sequence[Raw], config: IngestConfig, rejected: Counter[str]
) -> Iterator[Row]:
    for raw in raws:
        try:
            drafts = _drafts(row_format, _named(raw.value, source), source, config)
        except (RowRejected, RecursionError) as e:
            rejected[e.reason if isinstance(e, RowRejected) else "too_deep"] += 1
            continue
        for draft in drafts:
            yield _row(path, raw, draft)


def _text_lengths(values: Sequence[Row]) -> dict[str, float]:
    """Mean characters per column, of columns that hold only text, and not a number or a short code in each row."""
    texts: dict[str, list[str]] = {}
    for value in values:
        for name, held in value.items():
            texts.setdefault(str(name), []).append(held if isinstance(held, str) else "")
    means = {name: sum(map(len, held)) / len(held) for name, held in texts.items()}
    return {name: mean for name, mean in means.items() if mean and not all(_is_number(t) for t in texts[name])}


def _is_number(text: str) -> bool:
    return not text.strip() or text.strip().replace(".", "", 1).replace(",", "").lstrip("+-").isdigit()


def _named(value: Row, source: SourceConfig, *, strict: bool = True) -> Row:
    """The row under standard column names, without those that are only meta."""
    value = {k: v for k, v in renamed(value, source.columns).items() if k not in source.as_meta}
    return unwrapped(standard(value, source.columns, strict=strict))


def _drafts(row_format: str, value: Row, source: SourceConfig, config: IngestConfig) -> list[Draft]:
    how = Reading(source.roles, config.ranked_pairs)
    own, parsed = read_row(value, row_format, how, strict=source.format != "auto")
    if parsed is not None:
        return parsed.drafts
    # Rows that only make a record together aren't gathered here.
    nested = own == "oasst"
    return [path.draft() for path in paths(nested_nodes(value, source.roles), config.tree_paths)] if nested else []


def _row(path: str, item: Item, draft: Draft) -> Row:
    return make_row(
        kind=draft.kind, source=path, locator=item.locator, raw=item.raw, messages=draft.messages,
        chosen=draft.chosen, rejected=draft.rejected, tools=draft.tools, text=draft.text, label=draft.label,
        score=draft.score,
    )  # fmt: skip

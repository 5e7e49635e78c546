"""What ingest reads, and how."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, StringConstraints, field_validator, model_validator

from steps.contracts.records import ROLES
from steps.contracts.reports import Frozen
from steps.engines.chunking.config import ChunkConfig
from steps.engines.documents.config import DocumentConfig
from steps.ingest.streams import Bounds

FormatName: TypeAlias = Literal[
    "record",
    "openai",
    "sharegpt",
    "alpaca",
    "prompt_completion",
    "preference",
    "ranked",
    "compared",
    "oasst",
    "oasst_rows",
    "text",
]
Label: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Container: TypeAlias = Literal[
    "jsonl", "json", "csv", "parquet", "arrow", "xlsx", "text", "markdown", "html", "pdf", "docx"
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMMIT = re.compile(r"[0-9a-f]{40}")

# Names that `columns` may map to a column of the data.
CANONICAL_COLUMNS = (
    "messages", "conversations", "tools", "functions", "system", "instruction", "input", "output", "history",
    "prompt", "completion", "context", "chosen", "rejected", "responses", "ranks", "scores", "label", "reasoning",
    "text",
    "message_id", "parent_id", "message_tree_id", "role", "rank", "deleted",
)  # fmt: skip


class SourceConfig(Frozen):
    """One named source: files (`path`) or a data set on the Hugging Face hub (`hub` with `revision`)."""

    name: str = Field(description="logical name; the first part of every row's `source`, equal on every machine")
    path: str | None = Field(
        None,
        description="file, folder, glob or fsspec URL; relative to the run's root; may hold the run's slot, such as"
        " {slot:%Y-%m-%d}",
    )
    hub: str | None = Field(None, description="hub data set id, such as HuggingFaceH4/ultrachat_200k")
    revision: str | None = Field(None, description="commit hash of the hub data set, 40 hex characters")
    subset: str | None = Field(
        None, description="configuration of the hub data set, or in the card of a folder; None: the default or only one"
    )
    split: str = Field("train", description="split of the hub data set or folder: train, test+validation, all")
    token_env: str = Field("HF_TOKEN", description="environment variable with the hub token; may be unset")
    format: FormatName | Literal["auto"] = Field(
        "auto", description="row format of every row; auto: each row by its own"
    )
    include: tuple[str, ...] = Field((), description="globs on paths in a folder: no other files are read")
    exclude: tuple[str, ...] = Field((), description="globs on paths in a folder: these files are not read")
    container: Container | Literal["auto"] = Field("auto", description="file type; auto: by content, then by suffix")
    columns: dict[str, str] = Field(default_factory=dict, description="standard column name -> name in the data")
    roles: dict[str, str] = Field(
        default_factory=dict, description="names of roles in the data -> system, user, assistant or tool"
    )
    as_meta: tuple[str, ...] = Field(
        (), description="columns in the data that say nothing about the answer: kept in `meta`, never read"
    )
    encoding: str | None = Field(None, description="text encoding; None: UTF-8, or what the byte order mark says")
    delimiter: str | None = Field(None, description="CSV delimiter; None: the commonest of , ; tab | in the header")
    header: tuple[str, ...] = Field(
        (), description="names of the columns of a CSV file that has none; (): they stand in its first line"
    )
    sample: float = Field(1.0, gt=0, le=1, description="share of this source's rows to keep, chosen by content hash")
    weight: float | None = Field(None, gt=0, description="relative share of the final mix; None: no mixing by weight")
    batch: int = Field(0, ge=0, description="arrival batch: an earlier batch wins in dedup")
    licence: str | None = Field(
        None, description="licence of the source, shown in reports and cards, and what gate.sources may ask for"
    )
    access: Label | None = Field(
        None,
        description="who may see the source, in a word of yours, such as public, internal or restricted; carried by the"
        " run's record and the models made of it, and what gate.sources may ask for",
    )
    consent: Label | None = Field(
        None,
        description="on what ground its rows may be used, in a word of yours, such as given, contract or not_personal;"
        " carried likewise",
    )

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"source name {name!r}: letters, digits, '.', '_' and '-' only, at most 64 characters")
        return name

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if name not in CANONICAL_COLUMNS:
                near = difflib.get_close_matches(name, CANONICAL_COLUMNS, n=1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"columns: {name!r} is none of {', '.join(CANONICAL_COLUMNS)}{meant}")
        return columns

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, roles: dict[str, str]) -> dict[str, str]:
        for role in roles.values():
            if role not in ROLES:
                raise ValueError(f"roles: {role!r} is none of {', '.join(ROLES)}")
        return {name.strip().lower(): role for name, role in roles.items()}

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str | None) -> str | None:
        found = {"\\t": "\t", "tab": "\t"}.get(delimiter or "", delimiter)
        if found is not None and (len(found) != 1 or found in '"\r\n'):
            raise ValueError(f"delimiter {delimiter!r}: one character, such as , ; | or \\t")
        return found

    @field_validator("header")
    @classmethod
    def _distinct_names(cls, header: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({n for n in header if header.count(n) > 1})
        if twice:
            raise ValueError(f"header: {', '.join(twice)} stands there twice")
        return header

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        try:
            "".encode(encoding or "utf-8")
        except LookupError:
            raise ValueError(f"encoding {encoding!r} is unknown; use utf-8, utf-16, cp1252, latin-1 ...") from None
        return encoding

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError(f"source {self.name!r}: give either path or hub, and not both")
        if self.hub is None:
            if self.revision:
                raise ValueError(f"source {self.name!r}: revision belongs to hub, not to path")
        elif not _COMMIT.fullmatch(self.revision or ""):
            raise ValueError(
                f"source {self.name!r}: hub needs revision, a commit hash of 40 hex characters (a branch moves);"
                f" it is listed under 'History' on the data set's page"
            )
        return self


class IngestConfig(Frozen):
    """Sources and the rules for reading them."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1, description="what is read, each under a name of its own")
    seed: int = Field(0, description="seed of the hash that samples and mixes")
    # Chosen: a share above this points at a wrong format or file, not at a few bad rows. Checked per source.
    max_reject_share: float = Field(0.05, ge=0, le=1, description="share of a source's rows that may be rejected")
    # Chosen: 32 MiB, far above a training row; memory stays below a few times this.
    max_line_bytes: int = Field(32 << 20, ge=64, description="longest line, JSON value, CSV row or document, in bytes")
    # Chosen: text packs to a third or a twentieth, short rows behind one long system prompt to a hundredth; what is
    # made to fill a disk packs to a thousandth and less.
    max_unpacked_ratio: int = Field(
        200, ge=1, description="bytes that may come out of a file per byte stored; the first 8 MiB are free"
    )
    # Chosen: far more than a table of rows for training has.
    max_columns: int = Field(4096, ge=1, description="columns that a table may have")
    tree_paths: Literal["best", "all"] = Field(
        "best", description="message trees: the best-ranked path, or every path that ends in an assistant turn"
    )
    ranked_pairs: Literal["best_worst", "all"] = Field(
        "best_worst", description="ranked responses: the best against the worst, or every pair of unequal rank"
    )
    meta_columns: tuple[str, ...] | None = Field(
        None, description="columns to keep in `meta`; None: every column that belongs to no field"
    )
    # A document is a row: who trains on documents packs them, and who wants passages says how long they are.
    chunk: ChunkConfig | Literal["none"] = Field(
        "none", description="how documents are cut into rows, such as {max_tokens: 512}; none: they stay whole"
    )

    documents: DocumentConfig = Field(DocumentConfig(), description="how PDF and DOCX files are read")

    @property
    def bounds(self) -> Bounds:
        """What a file may be at most."""
        return Bounds(self.max_line_bytes, self.max_unpacked_ratio, self.max_columns)

    def with_paths(self, paths: Mapping[str, str]) -> Self:
        """The same with other paths for sources of these names."""
        if not paths:
            return self
        moved = (s.model_copy(update={"path": paths[s.name]}) if s.name in paths else s for s in self.sources)
        return self.model_copy(update={"sources": tuple(moved)})

    @model_validator(mode="after")
    def _sources_agree(self) -> Self:
        names = [s.name for s in self.sources]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"source names enter the row ids and must differ: {', '.join(twice)} is used twice")
        unweighted = [s.name for s in self.sources if s.weight is None]
        if unweighted and len(unweighted) < len(names):
            raise ValueError(f"weight: give it to every source or to none; missing for {', '.join(unweighted)}")
        return self

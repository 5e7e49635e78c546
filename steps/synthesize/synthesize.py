"""The synthesize stage: questions and answers from documents, each held against the document that it came from."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputError
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row
from steps.engines.chunking.chunking import cutter
from steps.engines.diversity.repeated import repeated
from steps.engines.llm.asker import Asker, open_session
from steps.engines.llm.egress import refuse_egress
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.session import ChatSession
from steps.engines.progress.progress import Progress, Stopwatch
from steps.engines.retrieval.words import WordIndex
from steps.synthesize.candidates import Asked, Candidate, Task, read_written
from steps.synthesize.checks import Checks
from steps.synthesize.chunk_file import ChunkWriter
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.made import RaftRows, pair_row
from steps.synthesize.passages import Passage, passages_of
from steps.synthesize.prompts import prompt_digest, to_write
from steps.synthesize.report import Tally, evidence_of
from steps.synthesize.urls import read_urls

# Chosen: so many requests for pairs are checked together; what is in memory is bounded by it, and what waits is short.
_AT_ONCE = 256
# Of equal questions that of the held-out document stays: what is measured doesn't depend on what is trained.
_SIDES = {"test": 0, "validation": 1}


def synthesize(rows: Dataset, config: SynthesizeConfig, ctx: StageContext) -> Outcome:
    """Make pairs of every document; rows that are none stay as they are.

    A pair has the split of its document, so that whole documents are held out. Replies are in `ctx.cache`, each when it
    comes; the artifact `synthesis_chunks` says what became of every request for pairs.

    Raises:
        ConfigError: documents that weren't scrubbed would leave the machine.
        InputError: there is no document, or a document is a chunk of one.
        ServiceError: the model's server doesn't work, or too many replies were of no use.
    """
    assert config.endpoint is not None
    servers = (config.endpoint, config.checker.endpoint if config.checker else None)
    refuse_egress(servers, scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="synthesize")
    watch = Stopwatch()
    tally = Tally(config, ctx.scrubbed)
    passages = _passages(rows, config, ctx, tally)
    tasks = list(tasks_of(passages, config))
    with ExitStack() as opened:
        lines = opened.enter_context(LedgerWriter(ctx.folder / "ledger.parquet", "synthesize"))
        chunks = opened.enter_context(ChunkWriter(ctx.folder / "chunks.parquet", texts=ctx.scrubbed))
        shown = opened.enter_context(Progress("synthesize", len(tasks), "requests for pairs"))
        writer, checker = _sessions(opened, config, config.endpoint, ctx)
        asked = list(_asked(tasks, writer, checker, config, tally, ctx, shown))
        tally.requests.check(config.max_undecided_share, "synthesize")
        pairs = [p for a in asked for p in a.pairs]
        _drop_repeated(pairs, config)
        made = _Made(config, lines, tally, passages, ctx.scrubbed)
        created = [row for pair in pairs for row in made.rows(pair)]
        undecided = _account(asked, lines, chunks)
        after = _version(rows, config, ctx, created, lines, passages)
        sessions = [writer] if writer is checker else [writer, checker]
        report = tally.report(rows.rows, undecided, after.rows, lines, sessions, watch)
        ledger = lines.close()
    return Outcome(after, ledger, report.balanced(), artifacts={"synthesis_chunks": FileArtifact(chunks.path)})


def _passages(rows: Dataset, config: SynthesizeConfig, ctx: StageContext, tally: Tally) -> list[Passage]:
    """Passages of all documents, in an order that depends on nothing but them."""
    cut, urls = cutter(config.chunk, "synthesize.chunk"), read_urls(config.urls, ctx.root)
    found: list[Passage] = []
    documents = 0
    for chunk in rows.chunks(["record_id", "source", "kind", "text", "meta", "parents", "split"]):
        for row in chunk.table.to_pylist():
            if row["kind"] != "document":
                continue
            _refuse_chunk(row)
            documents += 1
            here = passages_of(row, cut, urls)
            tally.add_document(row["source"], row["split"], here)
            enough = long_enough(here, config)
            tally.short += len(here) - len(enough)
            found += enough
    if not documents:
        hint = "sources of documents are files of text, Markdown, HTML, PDF or DOCX, or rows with `text`"
        raise InputError("none of the rows is a document", where="synthesize", hint=hint)
    return sorted(found, key=lambda p: (_SIDES.get(p.split or "", 2), p.source, p.document, p.number))


def long_enough(passages: Sequence[Passage], config: SynthesizeConfig) -> list[Passage]:
    """Those that questions are asked of."""
    return [p for p in passages if len(p.text.split()) >= config.min_words]


def _refuse_chunk(row: Row) -> None:
    if row["parents"]:
        raise InputError(
            f"{row['source']} is a part of a document, and whole ones are held out", where="synthesize",
            hint="leave ingest.chunk out: documents are cut here, by synthesize.chunk",
        )  # fmt: skip


def tasks_of(passages: Sequence[Passage], config: SynthesizeConfig) -> Iterator[Task]:
    """What is asked for, passage by passage."""
    partners = _partners(passages) if config.kinds.multi_hop else {}
    for place, passage in enumerate(passages):
        for kind, n in config.kinds.wanted().items():
            if kind == "multi_hop":
                if place in partners:
                    yield Task(kind, n, (passage, passages[partners[place]]))
            elif kind != "where" or passage.url:
                yield Task(kind, n, (passage,))


def _partners(passages: Sequence[Passage]) -> dict[int, int]:
    """By place the passage of the same document that is nearest to it; each two stand together once."""
    found: dict[int, int] = {}
    taken: set[frozenset[int]] = set()
    start = 0
    while start < len(passages):
        end = start
        while end < len(passages) and passages[end].document == passages[start].document:
            end += 1
        texts = [p.text for p in passages[start:end]]
        for own, near in enumerate(WordIndex(texts).nearest(texts, 2)):
            other = next((n for n in near if n != own), None)
            if other is not None and (two := frozenset((start + own, start + other))) not in taken:
                taken.add(two)
                found[start + own] = start + other
        start = end
    return found


def _sessions(
    opened: ExitStack, config: SynthesizeConfig, endpoint: Endpoint, ctx: StageContext
) -> tuple[ChatSession, ChatSession]:
    """That of the writer and of the checker, which may be one."""
    most, checker = config.max_chars, config.checker
    writer = open_session(opened, endpoint, config, ctx, "replies.sqlite", "synthesize.endpoint", most)
    if checker is None:
        return writer, writer
    where = "synthesize.checker.endpoint"
    return writer, open_session(opened, checker.endpoint, checker, ctx, "checker_replies.sqlite", where, most)


def _asked(
    tasks: Sequence[Task], writer: ChatSession, checker: ChatSession, config: SynthesizeConfig, tally: Tally,
    ctx: StageContext, shown: Progress,
) -> Iterator[Asked]:  # fmt: skip
    """Every task with its pairs, written and checked."""
    asker = Asker(writer, tally.requests, ctx.clean)
    checks = Checks(Asker(checker, tally.requests, ctx.clean), config)
    for start in range(0, len(tasks), _AT_ONCE):
        part = tasks[start : start + _AT_ONCE]
        questions = [to_write(t.kind, t.n, t.passages, config.instructions, writer.endpoint) for t in part]
        replies = zip(part, questions, asker.replies(questions), strict=True)
        done = [read_written(task, question, answer, asker) for task, question, answer in replies]
        for one in done:
            tally.add_asked(one)
        tally.requests.refuse_useless("writing")
        checks.run([p for one in done for p in one.pairs])
        shown.advance(len(part))
        yield from done


def _drop_repeated(pairs: Sequence[Candidate], config: SynthesizeConfig) -> None:
    left = [p for p in pairs if not p.dropped]
    for place, first in repeated([(p.question, p.answer) for p in left], config.duplicate_similarity).items():
        left[place].drop("duplicate_question", witness=left[first].record_id)


@dataclass
class _Made:
    """Makes rows of pairs, and a line in the ledger of each."""

    config: SynthesizeConfig
    lines: LedgerWriter
    tally: Tally
    passages: Sequence[Passage]
    scrubbed: bool

    def __post_init__(self) -> None:
        assert self.config.endpoint is not None
        self._model = self.config.endpoint.model
        self._raft = RaftRows(self.config.raft, self.passages) if self.config.raft else None
        self._prompts = {
            k: prompt_digest(k, n, self.config.instructions) for k, n in self.config.kinds.wanted().items()
        }

    def rows(self, pair: Candidate) -> Iterator[Row]:
        """The rows that stay of a pair."""
        self.tally.add_pair(pair)
        made_by = {"model": self._model, "prompt_digest": self._prompts[pair.kind]}
        if self.config.checker is not None:
            made_by["checker"] = self.config.checker.endpoint.model
        row = pair_row(pair, made_by)
        self._created(row, pair, made_by, pair.kind)
        evidence = evidence_of(pair, scrubbed=self.scrubbed)
        if pair.dropped:
            self.lines.add(row["record_id"], "dropped", pair.dropped, evidence=evidence)
            return
        if pair.flagged:
            self.lines.add(row["record_id"], "flagged", pair.flagged, evidence=evidence)
        yield row
        for further in self._raft.of(pair, made_by) if self._raft else ():
            self._created(further, pair, made_by, "raft")
            yield further

    def _created(self, row: Row, pair: Candidate, made_by: dict[str, Any], reason: str) -> None:
        chunks = [p.place(texts=self.scrubbed) for p in pair.task.passages]
        evidence = {"document": row["source"], "chunks": chunks, **made_by}
        self.lines.add(row["record_id"], "created", reason, evidence=evidence, parents=row["parents"])


def _account(asked: Sequence[Asked], lines: LedgerWriter, chunks: ChunkWriter) -> int:
    """A line of each request for pairs without a reply of use. Returns how many documents have one."""
    documents = set()
    for one in asked:
        chunks.add(one)
        if one.outcome not in ("pairs", "none"):
            document = one.task.passages[0].document
            documents.add(document)
            evidence = {"kind": one.task.kind, "chunks": [p.place(texts=False) for p in one.task.passages]}
            lines.add(document, "undecided", one.outcome, evidence=evidence)
    return len(documents)


def _version(
    rows: Dataset, config: SynthesizeConfig, ctx: StageContext, created: Sequence[Row], lines: LedgerWriter,
    passages: Sequence[Passage],
) -> Dataset:  # fmt: skip
    """The rows that aren't documents, these where they are to stay, and what was made of them."""
    chunks: dict[str, int] = {}
    for passage in passages:
        chunks[passage.document] = chunks.get(passage.document, 0) + 1
    pairs: dict[str, int] = {}
    for row in created:
        pairs[row["parents"][0]] = pairs.get(row["parents"][0], 0) + 1
    rewriter = rows.rewriter(ctx.folder, "synthesize")
    for chunk in rows.chunks():
        is_document = np.array([k == "document" for k in chunk.table["kind"].to_pylist()], bool)
        rewriter.put(chunk, None, None if config.keep_documents else ~is_document)
        if config.keep_documents:
            continue
        for record_id in chunk.table["record_id"].filter(pa.array(is_document)).to_pylist():
            evidence = {"chunks": chunks.get(record_id, 0), "rows": pairs.get(record_id, 0)}
            lines.add(record_id, "dropped", "made_into_pairs", evidence=evidence)
    if created:
        rewriter.add(pa.Table.from_pylist(list(created), schema=SCHEMA))
    return rewriter.close()

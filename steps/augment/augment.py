"""The augment stage: further rows made of those that train, by a model that writes and one that answers."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from steps.augment.collapse import Diversity, diversity_table, measure, refuse_collapse
from steps.augment.config import AugmentConfig, Distill
from steps.augment.drafts import Draft
from steps.augment.methods import Written, written
from steps.contracts.arrays import Vectors
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row
from steps.contracts.reports import Example, StageReport, Table
from steps.engines.diversity.repeated import repeated
from steps.engines.llm.asker import Asker, Requests, account_of, open_session
from steps.engines.llm.egress import refuse_egress
from steps.engines.llm.objects import to_answer
from steps.engines.llm.session import ChatSession
from steps.engines.progress.progress import Stopwatch
from steps.engines.prompted.prompted import Prompted, prompted_rows

_EXAMPLES_PER_METHOD = 3
_EXAMPLE_CHARS = 300


def augment(rows: Dataset, config: AugmentConfig, ctx: StageContext) -> Outcome:
    """Make rows of the conversations that train; held-out rows are neither shown to a model nor touched.

    Replies are in `ctx.cache`, each when it comes.

    Raises:
        ConfigError: rows that weren't scrubbed would leave the machine.
        InputError: no row can be used, or what was made is too alike.
        ServiceError: a model's server doesn't work, or too many replies were of no use.
    """
    assert config.endpoint is not None
    embed = config.diversity.embed
    servers = (config.endpoint, config.teacher.endpoint if config.teacher else None, embed.endpoint if embed else None)
    refuse_egress(servers, scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="augment")
    watch = Stopwatch()
    seeds = prompted_rows(rows, "augment")
    requests = Requests()
    with ExitStack() as opened:
        lines = opened.enter_context(LedgerWriter(ctx.folder / "ledger.parquet", "augment"))
        writer, teacher = _askers(opened, config, ctx, requests)
        made = written(seeds, config, writer)
        _drop_repeated(made.drafts, seeds, config)
        with _embedding(config, ctx) as embedding:
            figures = measure(made.drafts, seeds, embedding)
        refuse_collapse(figures, config.diversity)
        _answer(made.drafts, teacher, config)
        requests.check(config.max_undecided_share, "augment")
        created = list(_created(made, config, lines, teacher, scrubbed=ctx.scrubbed))
        after = _version(rows, created, _replaced(created, config), ctx, lines)
        sessions = list(dict.fromkeys([writer.session, teacher.session]))
        report = _report(rows, after, made.drafts, figures, requests, sessions, lines, config, watch, ctx.scrubbed)
        ledger = lines.close()
    return Outcome(after, ledger, report.balanced())


def _askers(opened: ExitStack, config: AugmentConfig, ctx: StageContext, requests: Requests) -> tuple[Asker, Asker]:
    """Those of the writer and of the teacher, which may be one."""
    assert config.endpoint is not None
    writer = open_session(opened, config.endpoint, config, ctx, "replies.sqlite", "augment.endpoint")
    teacher, where = config.teacher, "augment.teacher.endpoint"
    if teacher is None:
        return Asker(writer, requests, ctx.clean), Asker(writer, requests, ctx.clean)
    answers = open_session(opened, teacher.endpoint, teacher, ctx, "teacher_replies.sqlite", where)
    return Asker(writer, requests, ctx.clean), Asker(answers, requests, ctx.clean)


@contextmanager
def _embedding(config: AugmentConfig, ctx: StageContext) -> Iterator[Callable[[Sequence[str]], Vectors] | None]:
    """What gives vectors of texts; None where no model is named."""
    if config.diversity.embed is None:
        yield None
        return
    from steps.engines.embed.cache import EmbeddingCache
    from steps.engines.embed.embedder import open_embedder

    with (
        EmbeddingCache(ctx.cache, None, None) as kept,
        open_embedder(config.diversity.embed, ctx.root, kept) as embedder,
    ):

        def vectors(texts: Sequence[str]) -> Vectors:
            found = embedder.embed(texts)
            return found.vectors[found.ok]

        yield vectors


def _drop_repeated(drafts: Sequence[Draft], seeds: Sequence[Prompted], config: AugmentConfig) -> None:
    """Mark questions that repeat one of the rows, or an earlier one. What the teacher answers anew repeats its row."""
    left = [d for d in drafts if not d.dropped and d.method != "distill"]
    known = [(s.question, s.answer) for s in seeds]
    # A question that is made of a row and hardly differs from its own is no new one; an invented one has no row.
    new = [(d.question, None if d.method == "self_instruct" else d.seeds[0].answer) for d in left]
    for place, first in repeated([*known, *new], config.similarity).items():
        if place >= len(known):
            witness = seeds[first].record_id if first < len(known) else ""
            left[place - len(known)].drop("repeats", witness=witness)


def _answer(drafts: Sequence[Draft], teacher: Asker, config: AugmentConfig) -> None:
    """The teacher's answers to those that have none."""
    keeps = any(isinstance(m, Distill) and m.reasoning == "keep" for m in config.methods)
    open_ = [d for d in drafts if not d.dropped and not d.answer]
    asked = [to_answer(d.turns, teacher.endpoint) for d in open_]
    for draft, said in zip(open_, teacher.texts("answers", asked), strict=True):
        if isinstance(said, str):
            draft.drop(f"unanswered:{said}")
            continue
        draft.answer = said.text
        draft.reasoning = said.reasoning if keeps and draft.method == "distill" else None


def _created(
    made: Written, config: AugmentConfig, lines: LedgerWriter, teacher: Asker, *, scrubbed: bool
) -> Iterator[tuple[Draft, Row]]:
    """The rows that stay; a line in the ledger for each of them, and two for each that doesn't."""
    assert config.endpoint is not None
    for draft in made.drafts:
        made_by: dict[str, Any] = {}
        if draft.method != "distill":
            made_by = {"model": config.endpoint.model, "prompt_digest": made.prompts[draft.method, draft.how]}
        if draft.method not in ("paraphrase", "back_translation"):
            made_by["teacher"] = teacher.endpoint.model
        row = draft.row(made_by)
        evidence = {**made_by, **({"how": draft.how} if draft.how else {})}
        lines.add(row["record_id"], "created", draft.method, evidence=evidence, parents=row["parents"])
        if draft.dropped:
            lines.add(row["record_id"], "dropped", draft.dropped, evidence=draft.evidence)
        else:
            yield draft, row


def _replaced(created: Sequence[tuple[Draft, Row]], config: AugmentConfig) -> dict[str, str]:
    """Rows that go since the teacher has answered them, and by which row."""
    if not any(isinstance(m, Distill) and m.replace for m in config.methods):
        return {}
    return {d.seeds[0].record_id: row["record_id"] for d, row in created if d.method == "distill"}


def _version(
    rows: Dataset, created: Sequence[tuple[Draft, Row]], replaced: dict[str, str], ctx: StageContext,
    lines: LedgerWriter,
) -> Dataset:  # fmt: skip
    rewriter = rows.rewriter(ctx.folder, "augment")
    for chunk in rows.chunks():
        ids = chunk.table["record_id"].to_pylist()
        rewriter.put(chunk, None, np.array([i not in replaced for i in ids], bool))
        for record_id in filter(replaced.__contains__, ids):
            lines.add(record_id, "dropped", "answered_by_teacher", evidence={"witness": replaced[record_id]})
    if created:
        rewriter.add(pa.Table.from_pylist([row for _, row in created], schema=SCHEMA))
    return rewriter.close()


def _report(
    rows: Dataset, after: Dataset, drafts: Sequence[Draft], figures: Sequence[Diversity], requests: Requests,
    sessions: Sequence[ChatSession], lines: LedgerWriter, config: AugmentConfig, watch: Stopwatch, scrubbed: bool,
) -> StageReport:  # fmt: skip
    account = account_of(requests, sessions)
    return StageReport(
        stage="augment",
        rows_in=rows.rows,
        created=lines.total("created"),
        kept=after.rows,
        dropped=lines.total("dropped"),
        dropped_by=dict(lines.counts["dropped"].most_common()),
        counts=account.counts,
        tables=(_by_method(drafts), diversity_table(figures), *account.tables),
        examples=tuple(_examples(drafts, scrubbed=scrubbed)),
        warnings=account.warnings,
        notes=account.notes,
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _by_method(drafts: Sequence[Draft]) -> Table:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for d in drafts:
        counts[d.method, d.how]["written"] += 1
        counts[d.method, d.how]["dropped" if d.dropped else "kept"] += 1
    rows = tuple((m, how, n["written"], n["dropped"], n["kept"]) for (m, how), n in counts.items())
    return Table(title="Methods", columns=("method", "how", "written", "dropped", "kept"), rows=rows)


def _examples(drafts: Sequence[Draft], *, scrubbed: bool) -> Iterator[Example]:
    shown: Counter[str] = Counter()
    for d in drafts:
        reason = d.dropped or f"kept: {d.method}"
        shown[reason] += 1
        if shown[reason] <= _EXAMPLES_PER_METHOD:
            text = f"{d.seeds[0].question} → {d.question}"[:_EXAMPLE_CHARS] if scrubbed else ""
            yield Example(
                record_id=d.row({})["record_id"], reason=reason, text=text,
                evidence={"method": d.method, "how": d.how, "made of": d.seeds[0].record_id},
            )  # fmt: skip

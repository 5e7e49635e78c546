"""The prefer stage: a model's answers to prompts of train and validation, ranked, as pairs of a better and a worse."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row, make_row
from steps.contracts.reports import Example, Histogram, StageReport
from steps.engines.llm.asker import Asker, Requests, account_of, open_session
from steps.engines.llm.egress import refuse_egress
from steps.engines.llm.objects import to_answer
from steps.engines.llm.priced import PricedEndpoint
from steps.engines.llm.session import ChatSession
from steps.engines.progress.progress import Stopwatch
from steps.engines.prompted.prompted import prompted_rows
from steps.engines.rubric.pairs import position_table
from steps.prefer.config import PreferConfig
from steps.prefer.ranking import OWN, Answers, ByGrader, ByJudge, Ranking

_BINS = 10
_EXAMPLES = 6
_EXAMPLE_CHARS = 300


def prefer(rows: Dataset, config: PreferConfig, ctx: StageContext) -> Outcome:
    """Make preference rows of conversations: those of train are trained on, those of validation measure training. Test
    rows are neither shown to a model nor touched.

    Raises:
        ConfigError: rows that weren't scrubbed would leave the machine, or the rubric compares nothing.
        InputError: no row can be used.
        ServiceError: a model's server doesn't work, or too many replies were of no use.
    """
    assert config.model is not None
    servers = [m.endpoint for m in (config.model, config.judge) if m is not None]
    refuse_egress(servers, scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="prefer")
    watch = Stopwatch()
    requests = Requests()
    with ExitStack() as opened:
        lines = opened.enter_context(LedgerWriter(ctx.folder / "ledger.parquet", "prefer"))
        model = _asker(opened, config.model, "samples.sqlite", "prefer.model.endpoint", ctx, requests)
        sessions = [model.session]
        ranking: Ranking
        if config.judge is not None:
            judge = _asker(opened, config.judge, "verdicts.sqlite", "prefer.judge.endpoint", ctx, requests)
            sessions.append(judge.session)
            ranking = ByJudge(config.judge, judge, lambda name: ctx.root / name)
        else:
            assert config.grader is not None
            ranking = ByGrader(config.grader)
        answers = _sampled(rows, config, model)
        ranking.rank([a for a in answers if not a.why_not])
        requests.check(config.max_undecided_share, "prefer")
        created = list(_created(answers, config, ranking, lines))
        after = _version(rows, answers, [row for _, row in created], config, ctx, lines)
        report = _report(rows, after, created, ranking, requests, sessions, lines, config, watch, ctx.scrubbed)
        ledger = lines.close()
    return Outcome(after, ledger, report.balanced())


def _asker(
    opened: ExitStack, asked: PricedEndpoint, file: str, where: str, ctx: StageContext, requests: Requests
) -> Asker:
    return Asker(open_session(opened, asked.endpoint, asked, ctx, file, where), requests, ctx.clean)


def _sampled(rows: Dataset, config: PreferConfig, model: Asker) -> list[Answers]:
    """The answers to every prompt; where there is no pair of different ones, why."""
    # Train first: where money ends, validation has no pairs.
    prompts = prompted_rows(rows, "prefer", ("train", "validation"))
    found = [Answers(p) for p in prompts if p.position("prefer") < config.share_of(p.split)]
    # 1 is the first, so that no sample is what the model was asked for elsewhere.
    asked = [to_answer(one.prompt.turns, model.endpoint, n + 1) for one in found for n in range(config.samples)]
    said = iter(model.texts("samples", asked))
    for one in found:
        if config.with_answer:
            one.add(one.prompt.answer, OWN, one.prompt.row["messages"][-1]["reasoning"])
        faults = []
        for number in range(config.samples):
            sample = next(said)
            if isinstance(sample, str):
                faults.append(sample)
            else:
                one.add(sample.text, number, sample.reasoning)
        if len(one.texts) < 2:
            one.why_not = f"no_sample:{faults[0]}" if faults else "all_the_same"
    return found


def _created(
    answers: Sequence[Answers], config: PreferConfig, ranking: Ranking, lines: LedgerWriter
) -> Iterator[tuple[float, Row]]:
    """Margin and row of every pair. A prompt that gives none gets the reason."""
    assert config.model is not None
    made_by = {"model": config.model.endpoint.model, **ranking.said}
    for one in answers:
        pairs = list(_pairs(one, config)) if one.scores else []
        if not pairs and not one.why_not:
            one.why_not = "below_margin"
        for margin, better, worse in pairs:
            row = _row(one, margin, better, worse, made_by)
            evidence = {"margin": round(margin, 6), "scores": [round(s, 6) for s in one.scores], **made_by}
            lines.add(row["record_id"], "created", "pair", score=margin, evidence=evidence, parents=row["parents"])
            yield margin, row


def _pairs(one: Answers, config: PreferConfig) -> Iterator[tuple[float, int, int]]:
    """Margin, better and worse of each pair that has the margin."""
    order = sorted(range(len(one.texts)), key=lambda i: (-one.scores[i], one.who[i]))
    for better, worse in [(order[0], order[-1])] if config.pairs == "best_worst" else combinations(order, 2):
        margin = one.scores[better] - one.scores[worse]
        # Thirds and the like are sums of floats.
        if margin >= config.min_margin - 1e-9:
            yield margin, better, worse


def _row(one: Answers, margin: float, better: int, worse: int, made_by: dict[str, str]) -> Row:
    source = one.prompt.row
    said = {
        "margin": round(margin, 6), "scores": [round(one.scores[i], 6) for i in (better, worse)],
        "answers": ["the row's own" if one.who[i] == OWN else f"sample {one.who[i] + 1}" for i in (better, worse)],
        **made_by,
    }  # fmt: skip
    row = make_row(
        kind="preference", source=source["source"], locator=f"{source['locator']}:pair:{better}-{worse}",
        raw=f"{source['record_id']}\0{one.texts[better]}\0{one.texts[worse]}".encode(),
        messages=one.prompt.turns, chosen=[one.message(better)], rejected=[one.message(worse)],
        parents=[source["record_id"]], meta={"preference": said}, batch=source["batch"],
    )  # fmt: skip
    row["split"] = source["split"]
    return row


def _version(
    rows: Dataset, answers: Sequence[Answers], created: Sequence[Row], config: PreferConfig, ctx: StageContext,
    lines: LedgerWriter,
) -> Dataset:  # fmt: skip
    asked = {one.prompt.record_id: one.why_not for one in answers}
    rewriter = rows.rewriter(ctx.folder, "prefer")
    for chunk in rows.chunks():
        ids, splits = (chunk.table[name].to_pylist() for name in ("record_id", "split"))
        stays = [config.keep_rows or i not in asked or s == "validation" for i, s in zip(ids, splits, strict=True)]
        rewriter.put(chunk, None, np.array(stays, bool))
        for record_id, here in zip(ids, stays, strict=True):
            if not here:
                lines.add(record_id, "dropped", asked[record_id] or "made_into_pairs")
            elif asked.get(record_id):
                lines.add(record_id, "flagged", asked[record_id])
    if created:
        rewriter.add(pa.Table.from_pylist(list(created), schema=SCHEMA))
    return rewriter.close()


def _report(
    rows: Dataset, after: Dataset, created: Sequence[tuple[float, Row]], ranking: Ranking, requests: Requests,
    sessions: Sequence[ChatSession], lines: LedgerWriter, config: PreferConfig, watch: Stopwatch, scrubbed: bool,
) -> StageReport:  # fmt: skip
    compared = [position_table(ranking.compared)] if isinstance(ranking, ByJudge) else ()
    account = account_of(requests, sessions)
    made = [row for _, row in created]
    better = {"better": dict(Counter(_better(row) for row in made))} if made else {}
    pairs = {"pairs of": dict(Counter(row["split"] or "train" for row in made))} if made else {}
    return StageReport(
        stage="prefer",
        rows_in=rows.rows,
        created=lines.total("created"),
        kept=after.rows,
        dropped=lines.total("dropped"),
        flagged=lines.total("flagged"),
        dropped_by=dict(lines.counts["dropped"].most_common()),
        flagged_by=dict(lines.counts["flagged"].most_common()),
        counts={**pairs, **better, **account.counts},
        histograms=(_margins([margin for margin, _ in created]),),
        tables=(*compared, *account.tables),
        examples=tuple(_examples(made, scrubbed=scrubbed)),
        warnings=account.warnings,
        notes=account.notes,
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _better(row: Row) -> str:
    """Whether the longer answer of a pair was preferred: a judge that always does likes length."""
    chosen, rejected = (len(row[side][0]["content"]) for side in ("chosen", "rejected"))
    return "the longer one" if chosen > rejected else "the shorter one" if chosen < rejected else "one as long"


def _margins(margins: Sequence[float]) -> Histogram:
    counts, edges = np.histogram(margins, _BINS, (0.0, 1.0))
    return Histogram(
        title="Margin", unit="better minus worse", edges=tuple(round(float(e), 6) for e in edges),
        counts=tuple(int(c) for c in counts),
    )  # fmt: skip


def _examples(created: Sequence[Row], *, scrubbed: bool) -> Iterator[Example]:
    for row in created[:_EXAMPLES]:
        better, worse = (row[side][0]["content"] for side in ("chosen", "rejected"))
        half = _EXAMPLE_CHARS // 2 - 2
        text = f"{better[:half]} > {worse[:half]}" if scrubbed else ""
        evidence: dict[str, Any] = {"made of": row["parents"][0]}
        yield Example(record_id=row["record_id"], reason="pair", text=text, evidence=evidence)

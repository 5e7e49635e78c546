"""What is to be known of data before anybody trains on it: what the other stages found in it, and what its texts are.

The other stages look at all rows; what they would drop stays here, and is told. Of the texts a sample is looked at
where there are more rows than the settings say, so that a million rows take hardly more than some ten thousand.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from steps.contracts.arrays import Vectors
from steps.contracts.context import StageContext
from steps.contracts.data_report import DataReport, GoalVerdict, Topic
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.reports import Example, Histogram, StageReport, Table
from steps.data_report.config import DataReportConfig
from steps.data_report.diversity import tell_diversity
from steps.data_report.found import Found, Tally, Told, tell_stages
from steps.data_report.intervals import mean, number, quantile, share
from steps.data_report.looks import Look, counting, load_tokenizer, look_at
from steps.data_report.noise import tell_noise
from steps.data_report.sets import Sets, sets_of
from steps.data_report.topics import topics_of
from steps.engines.embed.vectorise import hashed_by_rarity, vectoriser
from steps.engines.llm.egress import refuse_egress
from steps.engines.progress.progress import Stopwatch
from steps.engines.yardsticks.enough import GOALS

_BY = "data_report"
_BINS = 20
# What would have told a chapter, by the stage that didn't run.
_STAGES: dict[str, str] = {
    "dedup": "Duplicates and equal prompts: dedup was skipped.",
    "scrub": "Personal data: scrub was skipped; no text of a row is shown.",
    "screen": "Unsafe and poisoned content: screen was skipped.",
    "judge": "Quality: the judge was skipped.",
    "semantic": "Rows that say the same in other words: give `semantic` with an embedding model.",
    "leakcheck": "Contamination: name evaluation files as leakcheck.benchmarks.",
}


def data_report(
    rows: Dataset,
    config: DataReportConfig,
    ctx: StageContext,
    *,
    texts: Dataset | None = None,
    found: Found | None = None,
) -> Outcome:
    """The report on these rows (artifact `data_report`); no row is dropped.

    Args:
        rows: as they were read. texts: the same rows, scrubbed where `ctx.scrubbed`; None: `rows`. found: what other
            stages left of all rows.

    Raises:
        ConfigError: `against` names no source, or rows that weren't scrubbed would leave the machine.
        InputNotFoundError: no such tokenizer. As `vectoriser`.
    """
    watch = Stopwatch()
    if config.embed is not None:
        refuse_egress(
            (config.embed.endpoint,), scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="data_report"
        )
    tokenizer = load_tokenizer(config.tokenizer, config.revision, ctx.root) if config.tokenizer else None
    count, unit = counting(tokenizer)
    sets = sets_of(rows, config.against, config.seed)
    found = found or Found()
    told = tell_stages(found, sets)
    looks = look_at(texts or rows, sets, config.most_rows, config.compared_rows, count)
    by_set = [[look for look in looks if look.code == code] for code in range(len(sets.names))]
    _tell_texts(by_set, sets, told, unit, config)
    topics, examples, left_out = _compare(looks, config, ctx, sets, told)
    report = DataReport(
        sets=sets.names,
        rows=sets.rows,
        looked_at=tuple(map(len, by_set)),
        figures=tuple(told.figures),
        topics=tuple(topics),
        histograms=tuple(_lengths(name, some, unit) for name, some in zip(sets.names, by_set, strict=True) if some),
        tables={chapter: tuple(tables) for chapter, tables in told.tables.items()},
        examples=tuple(examples),
        goals=_goals(by_set, sets, told, config),
        left_out=(*(why for stage, why in _STAGES.items() if stage not in found.ledgers), *left_out),
        notes=tuple(_notes(config, ctx, sets, by_set, unit)),
        tokens=unit,
        digest=rows.digest,
        config_digest=value_digest(config.model_dump(mode="json")),
    )
    with LedgerWriter(ctx.folder / "ledger.parquet", "data_report") as writer:
        ledger = writer.close()
    return Outcome(rows, ledger, _stage_report(rows.rows, report, watch), artifacts={"data_report": report})


def _tell_texts(by_set: Sequence[Sequence[Look]], sets: Sets, told: Told, unit: str, config: DataReportConfig) -> None:
    """Kinds, languages and lengths."""
    told.add_table("format", _kinds(by_set, sets, "Rows by kind", "kind", lambda look: look.kind))
    told.add_table("languages", _kinds(by_set, sets, "Rows by language", "language", lambda look: look.language))
    languages = Counter(look.language for rows in by_set for look in rows)
    for language, _ in languages.most_common(5):
        counts = [(sum(r.language == language for r in rows), len(rows)) for rows in by_set]
        told.figures.append(share("languages", language, counts, _BY))
    lengths = [np.array([r.length for r in rows if r.length is not None], np.float64) for rows in by_set]
    for name, statistic in (
        ("mean", mean), ("median", quantile(0.5)), ("95 % are no longer than", quantile(0.95)),
    ):  # fmt: skip
        told.figures.append(number("lengths", name, lengths, statistic, _BY, unit=unit))
    answers = [np.array([r.answer for r in rows if r.answer], np.float64) for rows in by_set]
    told.figures.append(number("lengths", "median answer", answers, quantile(0.5), _BY, unit="words", of="answers"))
    cut = [(int((n > config.max_length).sum()), len(n)) for n in lengths]
    told.figures.append(share("lengths", f"longer than max_length ({config.max_length:,})", cut, _BY, higher=False))
    refused = [(sum(r.length is None for r in rows), len(rows)) for rows in by_set]
    if any(k for k, _ in refused):
        told.figures.append(share("format", "rows that the chat template refuses", refused, _BY, higher=False))
    silent = [(sum(not r.answer for r in rows if r.kind != "document"), sum(r.kind != "document" for r in rows))
              for rows in by_set]  # fmt: skip
    told.figures.append(share("format", "rows without an answer", silent, _BY, of="rows that ask", higher=False))


def _kinds(
    by_set: Sequence[Sequence[Look]], sets: Sets, title: str, column: str, name: Callable[[Look], str]
) -> Table | None:
    tally = Tally(sets.names)
    for code, rows in enumerate(by_set):
        for look in rows:
            tally.add(code, name(look))
    return tally.table(title, column)


def _compare(
    looks: Sequence[Look], config: DataReportConfig, ctx: StageContext, sets: Sets, told: Told
) -> tuple[list[Topic], list[Example], list[str]]:
    """What needs pairs of texts: topics, neighbours, diversity."""
    compared = [look for look in looks if look.about and look.place < config.compared_rows]
    by_set = [[i for i, look in enumerate(compared) if look.code == code] for code in range(len(sets.names))]
    none = np.zeros((0, 1), np.float32)
    prompts = [look.asked or look.about for look in compared]
    by_words = hashed_by_rarity(prompts) if compared else none
    with vectoriser(config.embed, ctx, "data_report", hashed_by_rarity) as vectorise:
        about = vectorise([look.about for look in compared]) if compared else none
        by_meaning = vectorise(prompts) if compared and config.embed is not None else by_words
    topics = topics_of(compared, about, config.topics, len(sets.names), config.seed, named=ctx.scrubbed)
    figures, examples, left_out = tell_noise(
        compared, by_words, by_meaning, len(sets.names), config.near, shown=ctx.scrubbed
    )
    spread: list[Vectors] | None = [about[places] for places in by_set] if config.embed is not None else None
    told.figures += [*figures, *tell_diversity([[compared[i] for i in places] for places in by_set], spread)]
    if not topics:
        left_out.append("Topics: there are fewer than twenty rows with a text.")
    if spread is None:
        left_out.append("Spread of embeddings: name an embedding model as data_report.embed.")
    return topics, examples, left_out


def _lengths(name: str, looks: Sequence[Look], unit: str) -> Histogram:
    """Of the rows' lengths; the last bin holds the longest ones."""
    found = np.array([look.length for look in looks if look.length is not None], np.float64)
    top = float(np.quantile(found, 0.99)) if len(found) else 1.0
    edges = np.linspace(0, max(top, 1.0), _BINS + 1)
    counts, _ = np.histogram(np.minimum(found, edges[-1]), edges)
    return Histogram(
        title=f"{name}: length of rows, the longest 1 % in the last bar",
        unit=unit,
        edges=tuple(np.round(edges, 3).tolist()),
        counts=tuple(counts.tolist()),
    )


def _goals(
    by_set: Sequence[Sequence[Look]], sets: Sets, told: Told, config: DataReportConfig
) -> tuple[GoalVerdict, ...]:
    """The rule held against the rows that teach something. How many have an answer that is wanted is told by those that
    were looked at.
    """
    usable = []
    for code, rows in enumerate(by_set):
        teaching = sum(look.wanted and (look.answer > 0 or look.kind == "document") for look in rows)
        distinct = max(sets.rows[code] - told.copies[code], 0)
        usable.append(round(distinct * teaching / len(rows)) if rows else 0)
    return tuple(
        GoalVerdict(
            goal=goal, teaches=yard.goal, rule=yard.rule, source=yard.source, rows=tuple(usable),
            verdicts=tuple(yard.verdict(n) for n in usable), asked=goal == config.goal,
        )
        for goal, yard in GOALS.items()
    )  # fmt: skip


def _notes(
    config: DataReportConfig, ctx: StageContext, sets: Sets, by_set: Sequence[Sequence[Look]], unit: str
) -> list[str]:
    notes = []
    if any(len(rows) < n for rows, n in zip(by_set, sets.rows, strict=True)):
        notes.append(
            f"Languages and lengths are those of up to {config.most_rows:,} rows of each data set, topics, neighbours"
            f" and diversity those of up to {config.compared_rows:,}, chosen by record id and seed {config.seed}."
        )
    about = "hashed words" if config.embed is None else config.embed.model or "vectors of an endpoint"
    notes.append(f"Lengths are in {unit}. Topics and neighbours are by {about}.")
    if not ctx.scrubbed:
        notes.append("Rows weren't scrubbed: neither words of theirs nor excerpts are shown.")
    if len(sets.names) == 2:
        notes.append(
            "Differences are those of the second data set from the first, each with its own 95 % interval: of twenty"
            " that are none, one looks like one."
        )
    return notes


def _stage_report(rows: int, report: DataReport, watch: Stopwatch) -> StageReport:
    return StageReport(
        stage="data_report", rows_in=rows, kept=rows, notes=report.notes, config_digest=report.config_digest,
        seconds=watch.seconds, cpu_seconds=watch.cpu_seconds,
    ).balanced()  # fmt: skip

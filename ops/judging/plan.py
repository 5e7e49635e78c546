"""What a run's judge would ask and cost, told before anything is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from ops.run_index import artifacts_of
from ops.training_plan.prices import PriceTable
from ops.training_plan.rows import version_known
from pipelines.config import RunConfig
from steps.contracts.context import StageContext
from steps.contracts.errors import AssayError
from steps.contracts.humanize import number
from steps.contracts.records import Row
from steps.contracts.runs import RunRecord
from steps.engines.llm.prices import Prices
from steps.engines.rubric.case import Case, case_of, rejected_case_of
from steps.engines.rubric.frame import framed
from steps.engines.rubric.prompt import system_prompt
from steps.engines.rubric.reading import read_rubric
from steps.engines.rubric.rubric import Rubric, rated_as
from steps.ingest.ingest import count_rows
from steps.ingest.peek import peek
from steps.judge.biases.empty_rows import empty_cases
from steps.judge.config import CACHE, JudgeConfig
from steps.judge.judge import backend_for
from steps.zenml_runtime.state import state_folder
from steps.zenml_runtime.urls import is_url

# Chosen: rows of a source that say how long rows are, and rows of a file that are counted.
_LOOKED_AT, _COUNTED, _MOST_FILES = 500, 200_000, 20
# Characters per token of English text in usual vocabularies.
CHARACTERS = 4
# Chosen, for a model that was never asked: a reason of at most 20 words and its score, and how long a reply takes.
_REPLY_TOKENS, REPLY_SECONDS = 40, 2.0
# Requests in flight that `concurrency: auto` begins with.
FIRST_AT_ONCE = 8
# Chosen: share of the rest that a cascade sends back to the judge, where no run has told.
_UNSURE = 0.2


@dataclass(frozen=True)
class Asked:
    """What so many requests take. cost: None where no price is known."""

    requests: int
    prompt_tokens: int
    reply_tokens: int
    cost: float | None
    seconds: float


@dataclass(frozen=True)
class JudgePlan:
    """The judge's requests, as the config has it and otherwise.

    Attributes:
        model: who is asked. rows: that are judged. origin: where their number is from, in words.
        told_by: where tokens and seconds are from.
        whole: every row asked about. least, likely: with the cascade: the sample alone, and with the rows that a
            classifier isn't sure of; None: the config has none.
        price: per million tokens, with its source; None: none is known.
        rows_paid: rows that max_cost pays for; None: it is no limit.
        cached: share of the rows whose replies were bought before, told by the first ones; subtracted everywhere.
    """

    model: str
    rows: int
    origin: str
    told_by: str
    whole: Asked
    least: Asked | None = None
    likely: Asked | None = None
    unsure: float = _UNSURE
    price: tuple[float, float, str] | None = None
    currency: str = ""
    max_cost: float | None = None
    rows_paid: int | None = None
    notes: tuple[str, ...] = field(default=())
    cached: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        parts = {"whole": self.whole, "cascade_least": self.least, "cascade_likely": self.likely}
        shown = {name: vars(asked) for name, asked in parts.items() if asked is not None}
        rest = ("model", "rows", "origin", "told_by", "unsure", "price", "currency", "max_cost", "rows_paid", "notes",
                "cached")  # fmt: skip
        return {**{name: getattr(self, name) for name in rest}, **shown}

    def lines(self) -> list[str]:
        """For people."""
        if not self.rows:
            return [f"judge: {self.model}, rows not known; name their number with --rows", *self.notes]
        said = [f"judge: {self.model}, {self.rows:,} rows ({self.origin}); tokens and time {self.told_by}"]
        said += [f"  every row asked about: {shown(self.whole, self.currency)}"]
        if self.least is not None and self.likely is not None:
            said += [
                f"  with the cascade, the sample: {shown(self.least, self.currency)}",
                f"  with the cascade, if it is unsure of {self.unsure:.0%} of the rest:"
                f" {shown(self.likely, self.currency)}",
            ]
        said += [f"  {cached_line(self.cached, 'rows')}"] if self.cached else []
        if self.price is not None:
            said.append(f"  price per million tokens: {self.price[0]:g} in, {self.price[1]:g} out ({self.price[2]})")
        if self.rows_paid is not None:
            said.append(
                f"  max_cost {self.max_cost:g} pays for about {self.rows_paid:,} rows; the others have no verdict until"
                " it is raised, and nothing is bought twice"
            )
        return [*said, *(f"  {note}" for note in self.notes)]


def shown(asked: Asked, currency: str) -> str:
    """For people."""
    tokens = f"{number(asked.prompt_tokens)} + {number(asked.reply_tokens)} tokens"
    money = "no price known" if asked.cost is None else f"{asked.cost:,.2f} {currency}".rstrip()
    hours = f"{asked.seconds / 3600:.1f} h" if asked.seconds > 3600 else f"{asked.seconds / 60:.1f} min"
    return f"{asked.requests:,} requests, {tokens}, {money}, {hours}"


def cached_line(share: float, what: str) -> str:
    """What was subtracted."""
    return f"of the first {what} {share:.0%} have their replies already; they are subtracted"


def judge_plan(root: Path, config: RunConfig, prices: PriceTable, rows: int | None = None) -> JudgePlan | None:
    """What the judge of a config would ask; None where it asks nobody for money.

    `rows`: instead of counting them.
    """
    judge = config.judge
    if judge.endpoint is None or not config.curates or "judge" in config.skip:
        return None
    version = version_known(root, config)
    earlier = _earlier(root, version.run, judge) if version is not None else None
    counted, sample, origin, notes = rows_of_sources(root, config)
    if rows is not None:
        counted, origin = rows, "--rows"
    elif earlier is not None:
        counted, origin = earlier.rows, f"as many as the newest run of this config judged ({earlier.run})"
    making = [name for name in ("synthesize", "augment", "prefer") if config.runs(name)]
    if making and rows is None and earlier is None:
        notes = (*notes, f"rows that {' and '.join(making)} make are judged as well, and aren't counted: --rows")
    told = _Told.of(judge, sample, root) if earlier is None else _Told(earlier.prompt, earlier.reply, earlier.seconds)
    by = "are told by the characters of the first rows, and chosen" if earlier is None else "as its replies had them"
    price = price_of(judge.endpoint.model, judge, prices)
    cached = _cached(root, judge, list(islice(version.dataset.iter_rows(), _LOOKED_AT)) if version else sample)
    unsure = earlier.unsure if earlier is not None and earlier.unsure is not None else _UNSURE
    most = FIRST_AT_ONCE if judge.endpoint.concurrency == "auto" else judge.endpoint.concurrency

    empty = _empty_rows(root, judge, sample)
    judges, beside = len(judge.endpoints), judge.checks.repeats + judge.checks.probes_of(paid=True) + empty
    of_all = [price_of(e.model, judge, prices) for e in judge.endpoints]
    pairs = mean(rejected_case_of(row) is not None for row in sample) if sample and judge.judges_rejected else 0.0
    each = sum(told.prompt * p[0] + told.reply * p[1] for p in of_all if p) * (1 + pairs) if all(of_all) else None
    notes = (*notes, *_beside(judges, pairs, beside))

    def asked(count: int) -> Asked:
        left = round((count - round(count * cached)) * (1 + pairs)) + beside
        prompt, reply = round(left * told.prompt) * judges, round(left * told.reply) * judges
        cost = each * left / (1 + pairs) / 1e6 if each is not None else None
        return Asked(left * judges, prompt, reply, cost, left * told.seconds / most)

    drawn = min(judge.cascade.sample, counted) if judge.cascade is not None else None
    paid = None
    if judge.max_cost is not None and each and judge.max_cost < each * counted * (1 - cached) / 1e6:
        paid = int(judge.max_cost / each * 1e6)
    return JudgePlan(
        model=judge.endpoint.model, rows=counted, origin=origin, told_by=by, whole=asked(counted),
        least=asked(drawn) if drawn is not None else None,
        likely=asked(drawn + round(unsure * (counted - drawn))) if drawn is not None else None,
        unsure=unsure, price=price, currency=prices.currency if price else "", max_cost=judge.max_cost, rows_paid=paid,
        notes=notes, cached=cached,
    )  # fmt: skip


def _beside(judges: int, pairs: float, beside: int) -> tuple[str, ...]:
    """What is asked more than a request for each row."""
    return (
        *([f"each of {judges} judges is asked about every row"] if judges > 1 else []),
        *([f"rejected answers of pairs are judged as well: {pairs:.0%} of the first rows have one"] if pairs else []),
        *([f"{beside} requests to each judge show how steady it is (judge.checks)"] if beside else []),
    )


@dataclass(frozen=True)
class _Told:
    """Of one request: tokens, and seconds."""

    prompt: float
    reply: float
    seconds: float

    @classmethod
    def of(cls, judge: JudgeConfig, sample: Sequence[Row], root: Path) -> "_Told":
        rubric: Rubric = read_rubric(judge.rubric, lambda name: root / name)
        cases = [case for case in map(case_of, sample) if rubric.criteria_of(case.kind)]
        chars = [len(framed(c)) + len(system_prompt(rubric, c.kind, judge.instructions)) for c in cases]
        replies = [_REPLY_TOKENS * len(rubric.criteria_of(c.kind)) for c in cases]
        return cls(mean(chars) / CHARACTERS if chars else 0.0, mean(replies) if replies else 0.0, REPLY_SECONDS)


@dataclass(frozen=True)
class _Earlier:
    """What the newest run of the config had of the same model. unsure: of rows beyond the sample, those that its
    cascade sent back.
    """

    run: str
    rows: int
    prompt: float
    reply: float
    seconds: float
    unsure: float | None


def _earlier(root: Path, run: RunRecord, judge: JudgeConfig) -> _Earlier | None:
    found = [a for a in run.artifacts if a.name == "verdicts"]
    if not found:
        return None
    columns = ["backend", "model", "prompt_tokens", "completion_tokens", "seconds"]
    try:
        table = pq.read_table(artifacts_of(root, run).file(found[-1], "verdicts.parquet"), columns=columns)
    except (AssayError, OSError, ValueError):
        return None
    assert judge.endpoint is not None
    theirs = table.filter(pc.equal(table["model"], judge.endpoint.model))
    means = [pc.mean(theirs[c]).as_py() for c in columns[2:]]
    if means[0] is None or means[1] is None:
        return None
    unsure = None
    learned = pc.sum(pc.equal(table["backend"], "classifier")).as_py() or 0
    if learned and judge.cascade is not None and table.num_rows > judge.cascade.sample:
        rest = table.num_rows - judge.cascade.sample
        unsure = max(0.0, 1 - learned / rest)
    return _Earlier(run.name, table.num_rows, means[0], means[1], means[2] or REPLY_SECONDS, unsure)


def rows_of_sources(root: Path, config: RunConfig) -> tuple[int, list[Row], str, tuple[str, ...]]:
    """How many rows the sources have, some of them, where that is from, and what isn't known."""
    total, exact, notes = 0.0, True, []
    sample: list[Row] = []
    for source in config.ingest.sources if config.ingest is not None else ():
        try:
            if config.ingest is None or source.hub is not None or is_url(source.path or ""):
                raise AssayError("not on this machine, so that its rows aren't counted")
            files = islice(peek(source, config.ingest, root), _MOST_FILES)
            sample += [row for file in files for row in file.rows][:_LOOKED_AT]
            count = count_rows(source, config.ingest, root, _COUNTED)
            total, exact = total + count.rows * source.sample, exact and count.exact
        except AssayError as e:
            notes.append(f"source {source.name}: {e.what}")
    about = "" if exact else ", told by the size of files"
    return round(total), sample, f"of the sources, before anything is filtered{about}", tuple(notes)


def _cached(root: Path, judge: JudgeConfig, sample: Sequence[Row]) -> float:
    """Share of these rows about which nobody would be asked. Nothing is sent."""
    return _known(root, judge, [case for case in map(case_of, sample) if case.has_answer])


def _known(root: Path, judge: JudgeConfig, cases: Sequence[Case]) -> float:
    cache = state_folder() / CACHE
    if not cases or not (cache / "judge_replies.sqlite").is_file():
        return 0.0
    with backend_for(judge, StageContext(cache, root, cache), len(cases)) as backend:
        return mean(backend.known(cases))


def _empty_rows(root: Path, judge: JudgeConfig, sample: Sequence[Row]) -> int:
    """Requests about rows that say nothing which aren't paid yet; judges that give probabilities need none."""
    if judge.scoring == "probabilities" or not judge.checks.empty_rows:
        return 0
    rubric = read_rubric(judge.rubric, lambda name: root / name)
    kinds = {rated_as(row["kind"]) for row in sample if rubric.criteria_of(row["kind"])}
    cases = [case for kind in sorted(kinds) for case in empty_cases(kind, judge)]
    return len(cases) - round(_known(root, judge, cases) * len(cases))


def price_of(model: str, priced: Prices, table: PriceTable) -> tuple[float, float, str] | None:
    """Per million tokens of prompt and reply: as the config says, else as the price file does."""
    if priced.price_per_million_input is not None and priced.price_per_million_output is not None:
        return priced.price_per_million_input, priced.price_per_million_output, "the config"
    listed = table.models.get(model)
    return (listed.input, listed.output, listed.source or "the price file") if listed is not None else None

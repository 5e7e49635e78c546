"""What the stages that make rows by models would ask and cost, told before anything is asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from ops.judging.plan import (
    CHARACTERS,
    FIRST_AT_ONCE,
    Asked,
    cached_line,
    price_of,
    rows_of_sources,
    shown,
)
from ops.training_plan.prices import PriceTable
from pipelines.config import RunConfig
from steps.augment.config import CACHE as AUGMENTATION
from steps.augment.config import AugmentConfig, Distill
from steps.augment.methods import KEEP_ANSWER, question_of, wanted_of
from steps.augment.prompts import to_compare as to_compare_questions
from steps.contracts.records import Row, Split, message
from steps.engines.chunking.chunking import cutter
from steps.engines.llm.cache import ReplyCache
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.objects import to_answer
from steps.engines.llm.priced import PricedEndpoint
from steps.engines.llm.prices import Prices
from steps.engines.llm.session import Question
from steps.engines.prompted.prompted import Prompted, prompted
from steps.engines.rubric.pairs import Pair, question_of_pair
from steps.engines.rubric.reading import read_rubric
from steps.prefer.config import CACHE as PREFERENCES
from steps.prefer.config import PreferConfig
from steps.synthesize.candidates import Task
from steps.synthesize.config import CACHE as SYNTHESIS
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.passages import passages_of
from steps.synthesize.prompts import to_compare, to_find_claims, to_read, to_see_refusal, to_write
from steps.synthesize.synthesize import long_enough, tasks_of
from steps.synthesize.urls import read_urls
from steps.zenml_runtime.state import state_folder

# Chosen, for models that were never asked: characters of a question and of an answer that one writes, and tokens of
# replies: a pair, what a check of claims says of an answer, a word of judgement, a question, an answer.
_QUESTION, _ANSWER = "q" * 90, "a" * 300
_PAIR, _CLAIMS, _WORD, WRITTEN, SAID = 110, 150, 10, 30, 250
# Chosen: seconds until a reply begins, and how fast it goes on.
_FIRST_TOKEN, _TOKENS_PER_SECOND = 0.5, 80


@dataclass(frozen=True)
class Ask:
    """A request: what for, and tokens of its reply. `question`: with the key under which the reply would be kept; one
    whose words aren't known before others are answered has stand-ins in it, and is never cached.
    """

    what: str
    question: Question
    reply: int
    known: bool = False
    fixed: bool = False

    def times(self, scale: float) -> float:
        """How many there are, where rows are so many times those looked at."""
        return 1.0 if self.fixed else scale


@dataclass(frozen=True)
class Part:
    """What one model is asked. by_purpose: requests, by what for. cached: share that is subtracted."""

    who: str
    model: str
    asked: Asked
    by_purpose: dict[str, int]
    cached: float
    price: tuple[float, float, str] | None
    max_cost: float | None


@dataclass(frozen=True)
class MakingPlan:
    """The requests of one stage. rows: of the sources; origin: where their number is from, in words."""

    stage: str
    rows: int
    origin: str
    parts: tuple[Part, ...]
    currency: str
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        parts = [{**vars(p), "asked": vars(p.asked)} for p in self.parts]
        return {
            "rows": self.rows,
            "origin": self.origin,
            "parts": parts,
            "currency": self.currency,
            "notes": self.notes,
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        if not self.parts:
            yield f"{self.stage}: nothing is known of its rows"
        else:
            yield f"{self.stage}: {self.rows:,} rows ({self.origin}); at most, told by the first ones"
        for part in self.parts:
            purposes = ", ".join(f"{n:,} {what}" for what, n in part.by_purpose.items())
            yield f"  {part.who}, {part.model}: {shown(part.asked, self.currency)} ({purposes})"
            if part.cached:
                yield f"    {cached_line(part.cached, 'requests')}"
            if part.price is not None:
                yield f"    price per million tokens: {part.price[0]:g} in, {part.price[1]:g} out ({part.price[2]})"
            if part.max_cost is not None and part.asked.cost is not None and part.asked.cost > part.max_cost:
                yield f"    max_cost {part.max_cost:g} stops it before; a run with a higher one goes on"
        yield from (f"  {note}" for note in self.notes)


@dataclass(frozen=True)
class Asker:
    """A model with its settings and the file of its replies."""

    who: str
    endpoint: Endpoint
    prices: Prices
    file: Path
    asks: list[Ask] = field(default_factory=list)


def making_plans(root: Path, config: RunConfig, prices: PriceTable) -> list[MakingPlan]:
    """What synthesize, augment and prefer would ask, as far as they are part of the run."""
    stages: tuple[tuple[str, Callable[[Path, Sequence[Row], RunConfig], list[Asker]]], ...] = (
        ("synthesize", _synthesis), ("augment", _augmentation), ("prefer", _preference),
    )  # fmt: skip
    running = [(name, asks) for name, asks in stages if config.curates and config.runs(name)]
    if not running:
        return []
    count, sample, origin, notes = rows_of_sources(root, config)
    scale = count / len(sample) if sample else 0.0
    if len(running) > 1:
        notes = (*notes, "what an earlier one of these stages makes isn't counted in the later ones")
    return [
        MakingPlan(name, count, origin, tuple(part_of(a, scale, prices) for a in asks(root, sample, config) if a.asks),
                   prices.currency, notes)
        for name, asks in running
    ]  # fmt: skip


def part_of(asker: Asker, scale: float, prices: PriceTable) -> Part:
    """What it would cost where rows are so many times those that its requests were made of."""
    there = _kept(asker)
    due = [a for a in asker.asks if a.question.key not in there]
    prompt = round(sum(a.times(scale) * a.question.chars for a in due) / CHARACTERS)
    reply = round(sum(a.times(scale) * a.reply for a in due))
    price = price_of(asker.endpoint.model, asker.prices, prices)
    most = FIRST_AT_ONCE if asker.endpoint.concurrency == "auto" else asker.endpoint.concurrency
    purposes: dict[str, float] = {}
    for a in due:
        purposes[a.what] = purposes.get(a.what, 0.0) + a.times(scale)
    by_purpose = {what: round(n) for what, n in purposes.items()}
    requests = sum(by_purpose.values())
    cost = (prompt * price[0] + reply * price[1]) / 1e6 if price else None
    seconds = (requests * _FIRST_TOKEN + reply / _TOKENS_PER_SECOND) / most
    return Part(
        asker.who, asker.endpoint.model, Asked(requests, prompt, reply, cost, seconds), by_purpose,
        1 - len(due) / len(asker.asks), price, asker.prices.max_cost,
    )  # fmt: skip


def _kept(asker: Asker) -> set[str]:
    """Keys of those requests whose replies are there."""
    if not asker.file.is_file():
        return set()
    with ReplyCache(asker.file) as cache:
        return set(cache.get_many(a.question.key for a in asker.asks if a.known))


def _askers(
    endpoint: Endpoint, prices: Prices, second: str, other: PricedEndpoint | None, folder: Path
) -> tuple[Asker, Asker]:
    """The model that writes, and the one that is asked beside it, which may be the same."""
    writer = Asker("writer", endpoint, prices, folder / "replies.sqlite")
    if other is None:
        return writer, writer
    return writer, Asker(second, other.endpoint, other, folder / f"{second}_replies.sqlite")


def _synthesis(root: Path, sample: Sequence[Row], config: RunConfig) -> list[Asker]:
    settings = config.synthesize
    assert settings is not None and settings.endpoint is not None
    folder = state_folder() / SYNTHESIS
    writer, checker = _askers(settings.endpoint, settings, "checker", settings.checker, folder)
    cut, urls = cutter(settings.chunk, "synthesize.chunk"), read_urls(settings.urls, root)
    found = [
        p for row in sample if row["kind"] == "document" for p in long_enough(passages_of(row, cut, urls), settings)
    ]
    for task in tasks_of(found, settings):
        asked = to_write(task.kind, task.n, task.passages, settings.instructions, writer.endpoint)
        writer.asks.append(Ask("for pairs", asked, _PAIR * task.n, known=True))
        for _ in range(task.n):
            checker.asks.extend(_checks(task, settings, checker.endpoint))
    return [writer] if checker is writer else [writer, checker]


def _checks(task: Task, settings: SynthesizeConfig, asked: Endpoint) -> Iterator[Ask]:
    """What is asked of a pair that passes everything."""
    if task.kind == "unanswerable":
        yield Ask("to answer it", to_read(_QUESTION, task.passages, asked), _WORD)
        yield Ask("whether it declines", to_see_refusal(_QUESTION, _ANSWER, asked), _WORD)
        return
    yield Ask("for claims", to_find_claims(_QUESTION, _ANSWER, task.passages, asked), _CLAIMS)
    alone = [task.passages[n : n + 1] for n in (0, 1)] if task.kind == "multi_hop" else []
    closed = [()] if settings.closed_book != "off" and task.kind != "where" else []
    for seen in (*alone, *closed):
        yield Ask("to answer it", to_read(_QUESTION, seen, asked), len(_ANSWER) // CHARACTERS)
        yield Ask("whether answers agree", to_compare(_QUESTION, _ANSWER, _ANSWER, asked), _WORD)


def _seeds(sample: Sequence[Row], config: RunConfig, splits: Sequence[Split] = ("train",)) -> list[Prompted]:
    """The prompts among the first rows; so large a share of them as each split has."""
    trains = 1 - config.split.validation - config.split.test
    ends = {"train": (0.0, trains), "validation": (trains, 1 - config.split.test)}
    found = [one for row in sample if (one := prompted({**row, "split": None})) is not None]
    return [
        Prompted({**one.row, "split": split}, one.before, one.question, one.answer)
        for split in splits for one in found if ends[split][0] <= one.position("plan") < ends[split][1]
    ]  # fmt: skip


def _augmentation(root: Path, sample: Sequence[Row], config: RunConfig) -> list[Asker]:
    settings = config.augment
    assert settings is not None and settings.endpoint is not None
    folder = state_folder() / AUGMENTATION
    writer, teacher = _askers(settings.endpoint, settings, "teacher", settings.teacher, folder)
    _ask_to_augment(_seeds(sample, config), settings, writer, teacher)
    return [writer] if teacher is writer else [writer, teacher]


def _ask_to_augment(seeds: Sequence[Prompted], settings: AugmentConfig, writer: Asker, teacher: Asker) -> None:
    for method in settings.methods:
        if isinstance(method, Distill):
            own = [s for s in seeds if s.position(method.kind) < method.share]
            teacher.asks.extend(Ask("answers", to_answer(s.turns, teacher.endpoint), SAID, known=True) for s in own)
        for w in wanted_of(method, seeds):
            asked = question_of(w, w.seeds[0].question, settings, writer.endpoint)
            alone = method.kind == "self_instruct"
            writer.asks.append(Ask(method.kind, asked, WRITTEN * w.n, known=not alone, fixed=alone))
            if method.kind == "back_translation":
                writer.asks.append(Ask(method.kind, asked, WRITTEN))
            for _ in range(w.n):
                if method.kind in KEEP_ANSWER:
                    same = to_compare_questions(w.seeds[0].question, _QUESTION, writer.endpoint)
                    writer.asks.append(Ask("whether it asks the same", same, _WORD))
                else:
                    turns = [*w.seeds[0].before, message("user", _QUESTION)]
                    teacher.asks.append(Ask("answers", to_answer(turns, teacher.endpoint), SAID, fixed=alone))


def _preference(root: Path, sample: Sequence[Row], config: RunConfig) -> list[Asker]:
    settings = config.prefer
    assert settings is not None and settings.model is not None
    folder = state_folder() / PREFERENCES
    model = Asker("model", settings.model.endpoint, settings.model, folder / "samples.sqlite")
    asked = _seeds(sample, config, ("train", "validation"))
    seeds = [s for s in asked if s.position("prefer") < settings.share_of(s.split)]
    for s in seeds:
        model.asks.extend(
            Ask(_for("samples", s), to_answer(s.turns, model.endpoint, n + 1), SAID, known=True)
            for n in range(settings.samples)
        )
    if settings.judge is None:
        return [model]
    judge = Asker("judge", settings.judge.endpoint, settings.judge, folder / "verdicts.sqlite")
    judge.asks.extend(_duels(root, seeds, settings, judge.endpoint))
    return [model, judge]


def _duels(root: Path, seeds: Sequence[Prompted], settings: PreferConfig, asked: Endpoint) -> Iterator[Ask]:
    assert settings.judge is not None
    rubric = read_rubric(settings.judge.rubric, lambda name: root / name)
    said = (message("assistant", "a" * (SAID * CHARACTERS)),)
    for s in seeds:
        both = question_of_pair(rubric, settings.judge.instructions, Pair(tuple(s.turns), said, said), asked)
        for _ in combinations(range(settings.samples + settings.with_answer), 2):
            yield from [Ask(_for("comparisons", s), both, 2 * WRITTEN)] * 2


def _for(what: str, one: Prompted) -> str:
    """What a request is for, those of validation pairs apart."""
    return f"{what} of validation rows" if one.split == "validation" else what

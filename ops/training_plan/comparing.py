"""What an evaluation's win rate would ask and cost, told before anything is asked."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ops.judging.plan import CHARACTERS, rows_of_sources
from ops.training_plan.held_out import held_out_rows
from ops.training_plan.making import SAID, WRITTEN, Ask, Asker, MakingPlan, part_of
from ops.training_plan.prices import PriceTable
from ops.training_plan.rows import version_known
from pipelines.config import RunConfig
from steps.contracts.errors import AssayError
from steps.contracts.records import Row
from steps.engines.embed.config import CACHE as EMBEDDINGS
from steps.engines.llm.endpoint import Endpoint
from steps.engines.rubric.pairs import question_of_pair
from steps.engines.rubric.reading import read_rubric
from steps.engines.scoring.metrics import HELD_OUT
from steps.evaluate.config import EvaluateConfig, WinRateConfig
from steps.evaluate.tasks import Task, suite
from steps.evaluate.win_rate import FREE, chosen_rows, duelling, pair_of
from steps.zenml_runtime.state import state_folder

# Chosen: held-out rows that say how long rows are.
_LOOKED_AT = 100


def comparing_plan(root: Path, config: RunConfig, prices: PriceTable) -> MakingPlan | None:
    """Both orders of every question and two subjects; None: nobody is asked. At most: equal answers aren't asked about,
    and which champion there will be isn't known.
    """
    evaluate = config.evaluate
    settings, judge = evaluate.win_rate, evaluate.judge
    if not config.evaluates or settings is None or judge is None:
        return None
    duels = duelling(config.subjects, config.gate.reference)
    held, notes = held_out_rows(root, config), [] if duels else ["one subject has nobody to be compared with"]
    asker = Asker("judge", judge.endpoint, judge, state_folder() / EMBEDDINGS / "preferences.sqlite")
    sample = _sample(root, config) if held is not None else []
    rows = _least(held.rows, settings) if held is not None and sample else 0
    asker.asks.extend(_asks(root, evaluate, judge.endpoint, HELD_OUT, sample, len(duels), fixed=False))
    if held is None or not sample:
        notes.append("held-out rows: their number isn't known from here, and they aren't counted")
    questions = 0
    for task in _tasks(root, evaluate, notes):
        chosen = list(chosen_rows(task, settings.max_rows).values())
        questions += len(chosen)
        asker.asks.extend(_asks(root, evaluate, judge.endpoint, task.name, chosen, len(duels), fixed=True))
    scale = rows / len(sample) if sample else 0.0
    where = f" {held.origin}" if held is not None else ""
    origin = f"{rows:,} held out{where}, {questions:,} questions of files; pairs of subjects: {len(duels)}"
    parts = (part_of(asker, scale, prices),) if asker.asks else ()
    return MakingPlan("win_rate", rows + questions, origin, parts, prices.currency, tuple(notes))


def _least(rows: int, settings: WinRateConfig) -> int:
    return rows if settings.max_rows is None else min(rows, settings.max_rows)


def _sample(root: Path, config: RunConfig) -> list[Row]:
    """Some rows of those that may be held out."""
    version = version_known(root, config)
    found = version.dataset.iter_rows("test") if version is not None else iter(rows_of_sources(root, config)[1])
    return [row for row in islice(found, _LOOKED_AT) if row["kind"] != "document"]


def _tasks(root: Path, evaluate: EvaluateConfig, notes: list[str]) -> Iterator[Task]:
    """Of files; what can't be read from here is said."""
    try:
        yield from (task for task in suite(None, evaluate, root).tasks if task.kind in FREE)
    except AssayError as e:
        notes.append(f"questions of files aren't counted: {e.what}")


def _asks(
    root: Path, evaluate: EvaluateConfig, asked: Endpoint, what: str, rows: Sequence[Row], duels: int, *, fixed: bool
) -> Iterator[Ask]:
    assert evaluate.win_rate is not None
    rubric = read_rubric(evaluate.win_rate.rubric, lambda name: root / name)
    answer = "a" * (min(SAID, evaluate.max_new_tokens or SAID) * CHARACTERS)
    for row in rows:
        try:
            pair = pair_of(row, answer, answer)
        except AssayError:  # no turn to be answered: it isn't compared
            continue
        both = question_of_pair(rubric, evaluate.win_rate.instructions, pair, asked)
        yield from [Ask(what, both, 2 * WRITTEN, fixed=fixed)] * (2 * duels)

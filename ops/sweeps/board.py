"""The leaderboard: trials by their validation loss, with intervals, and which of them can be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ops.sweeps.config import Ablation, LearningCurve, SweepConfig
from ops.sweeps.results import Result
from ops.sweeps.statistics import Interval, difference, loss_of
from ops.sweeps.trials import reference_of

Standing = Literal["reference", "better", "worse", "not told apart", "other rows", "not known by row", "failed"]


@dataclass(frozen=True)
class Entry:
    """A trial on the board.

    Attributes:
        number: when it ran, from 1. rank: by loss, None when it failed.
        loss: with its own 95 % interval; None where rows aren't known.
        change: against the reference, all such intervals holding together in 95 of 100 sweeps; None where they can't
            be compared.
    """

    number: int
    rank: int | None
    result: Result
    loss: Interval | None
    change: Interval | None
    standing: Standing


@dataclass(frozen=True)
class Board:
    """Trials, the best first; of a learning curve and an ablation in their own order."""

    sweep: SweepConfig
    entries: tuple[Entry, ...]
    reference: Result | None
    notes: tuple[str, ...]

    @property
    def best(self) -> Result | None:
        """The trial with the lowest validation loss; None: all failed."""
        return next((e.result for e in self.entries if e.rank == 1), None)


def board_of(sweep: SweepConfig, results: Sequence[Result]) -> Board:
    """The board of trials in the order in which they ran."""
    done = [r for r in results if r.loss is not None]
    ranked = sorted(done, key=lambda r: (r.loss, results.index(r)))
    at = reference_of(sweep, [r.label for r in results])
    named = results[at] if at is not None and at < len(results) and results[at].loss is not None else None
    reference = named or (ranked[0] if ranked else None)
    entries = [_entry(i, r, ranked, reference, len(done) - 1) for i, r in enumerate(results, 1)]
    if not isinstance(sweep.search, LearningCurve | Ablation):
        entries.sort(key=lambda e: (e.rank is None, e.rank, e.number))
    return Board(sweep, tuple(entries), reference, tuple(_notes(sweep, results, entries)))


def _entry(number: int, result: Result, ranked: list[Result], reference: Result | None, comparisons: int) -> Entry:
    if result.loss is None or reference is None:
        return Entry(number, None, result, None, None, "failed")
    rank, rows = ranked.index(result) + 1, result.per_row
    loss = loss_of(rows) if rows is not None else None
    if result is reference:
        return Entry(number, rank, result, loss, None, "reference")
    held = reference.per_row
    if rows is None or held is None:
        return Entry(number, rank, result, loss, None, "not known by row")
    change = difference(rows, held, comparisons)
    if change is None:
        return Entry(number, rank, result, loss, None, "other rows")
    standing: Standing = "worse" if change.above else "better" if change.below else "not told apart"
    return Entry(number, rank, result, loss, change, standing)


def _notes(sweep: SweepConfig, results: Sequence[Result], entries: Sequence[Entry]) -> list[str]:
    done = [e for e in entries if e.rank is not None]
    notes = []
    if failed := len(results) - len(done):
        notes.append(f"{failed} of {len(results)} trials failed; they are counted, and no loss is made up for them")
    if len(done) > 1:
        notes.append(
            f"intervals of differences hold together in 95 of 100 sweeps of {len(done)} trials (Bonferroni), over the"
            " same validation rows; each is of one seed, so that what another seed would change isn't in them"
        )
    together = [e for e in done if e.standing == "not told apart"]
    if isinstance(sweep.search, LearningCurve):
        notes += _of_curve(done)
    elif isinstance(sweep.search, Ablation):
        notes.append(
            "better: training without the stage loses less on the validation rows, which that stage may have cleaned as"
            " well; a stage can be worth its loss (personal data, unsafe rows)"
        )
    elif len(done) > 1:
        notes.append(
            f"{len(together)} of {len(done) - 1} others can't be told apart from the best: the cheapest of these is as"
            " good a choice. The best loss of several is too good by itself: the test rows weren't looked at, and a run"
            " of the chosen values measures them"
        )
    if any(e.standing == "other rows" for e in done):
        notes.append("trials with other validation rows than the reference aren't compared with it")
    return notes


def _of_curve(done: Sequence[Entry]) -> list[str]:
    """What more rows would do, by the last two parts."""
    if len(done) < 2 or done[-2].change is None:
        return []
    change = done[-2].change
    if change.above:
        return [
            f"the last step, from {done[-2].result.trained:,} to {done[-1].result.trained:,} rows, took"
            f" {change.value:.4f} nats per token off ({change.low:.4f} to {change.high:.4f}): more rows like these"
            " would likely help"
        ]
    return ["the last step can't be told from none: more rows like these may not help"]

"""The leaderboard: trials by their validation loss, with intervals, and which of them can be told apart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ops.sweeps.config import Ablation, LearningCurve, SweepConfig
from ops.sweeps.results import Result
from ops.sweeps.statistics import Interval, Rows, difference, loss_of, on_common
from ops.sweeps.trials import reference_of

Standing = Literal["reference", "better", "worse", "not told apart", "other rows", "not known by row", "failed"]


@dataclass(frozen=True)
class Entry:
    """A trial on the board.

    Attributes:
        number: when it ran, from 1. rank: by `compared`; None when it failed, or was measured on rows of its own.
        compared: its loss on the validation rows that all trials have; on its own ones where these aren't known.
        loss: the same with its own 95 % interval; None where rows aren't known.
        change: against the reference, all such intervals holding together in 95 of 100 sweeps; None where they can't
            be compared.
    """

    number: int
    rank: int | None
    result: Result
    compared: float | None
    loss: Interval | None
    change: Interval | None
    standing: Standing


@dataclass(frozen=True)
class Board:
    """Trials, the best first; of a learning curve and an ablation in their own order. `verdict`: what came of it, in a
    sentence; `notes`: what else is to be known.
    """

    sweep: SweepConfig
    entries: tuple[Entry, ...]
    reference: Result | None
    verdict: str
    notes: tuple[str, ...]

    @property
    def in_own_order(self) -> bool:
        """Whether trials stand in the order of the search, not of their losses."""
        return isinstance(self.sweep.search, LearningCurve | Ablation)

    @property
    def best(self) -> Entry | None:
        """The trial with the lowest validation loss; None: all failed."""
        return next((e for e in self.entries if e.rank == 1), None)


def board_of(sweep: SweepConfig, results: Sequence[Result]) -> Board:
    """The board of trials in the order in which they ran."""
    done = {i: r for i, r in enumerate(results) if r.loss is not None}
    rows = _rows(done)
    means = {i: rows[i].mean if i in rows else r.loss or 0.0 for i, r in done.items()}
    at = reference_of(sweep)
    best = min(done, key=lambda i: (means[i], i), default=None)
    reference = at if at in done else best
    entries = [_entry(i, r, means, rows, reference) for i, r in enumerate(results)]
    ranked = _ranked(entries)
    if not isinstance(sweep.search, LearningCurve | Ablation):
        ranked.sort(key=lambda e: (e.rank is None, e.rank, e.compared is None, e.number))
    named = results[reference] if reference is not None else None
    verdict = _verdict(sweep, ranked)
    return Board(sweep, tuple(ranked), named, verdict, tuple(_notes(sweep, results, ranked)))


def _rows(done: Mapping[int, Result]) -> dict[int, Rows]:
    """By place, on the rows that all trials have, where these are known; else each on its own."""
    known = {i: rows for i, r in done.items() if (rows := r.per_row) is not None}
    if len(known) == len(done) and (common := on_common(list(known.values()))) is not None:
        return dict(zip(known, common, strict=True))
    return known


def _entry(
    place: int, result: Result, means: Mapping[int, float], rows: Mapping[int, Rows], reference: int | None
) -> Entry:
    if place not in means or reference is None:
        return Entry(place + 1, None, result, None, None, None, "failed")
    own, held = rows.get(place), rows.get(reference)
    loss, change = loss_of(own) if own is not None else None, None
    standing: Standing = "reference"
    if place != reference:
        change = difference(own, held, len(means) - 1) if own is not None and held is not None else None
        if own is None or held is None:
            standing = "not known by row"
        elif change is None:
            standing = "other rows"
        else:
            standing = "worse" if change.above else "better" if change.below else "not told apart"
    return Entry(place + 1, None, result, means[place], loss, change, standing)


def _ranked(entries: Sequence[Entry]) -> list[Entry]:
    """The same, with their ranks."""
    able = [e for e in entries if e.compared is not None and e.standing != "other rows"]
    order = {e.number: rank for rank, e in enumerate(sorted(able, key=lambda e: (e.compared, e.number)), 1)}
    return [Entry(e.number, order.get(e.number), e.result, e.compared, e.loss, e.change, e.standing) for e in entries]


def _verdict(sweep: SweepConfig, entries: Sequence[Entry]) -> str:
    done = [e for e in entries if e.compared is not None]
    best = next((e for e in done if e.rank == 1), None)
    if best is None:
        return "no trial has ended well yet"
    if isinstance(sweep.search, LearningCurve):
        return _of_curve(done)
    if isinstance(sweep.search, Ablation):
        return _of_ablation(done)
    said = f"lowest validation loss: {best.compared:.4f} nats per token, with {best.result.label}"
    others = [e for e in done if e.change is not None]
    alike = sum(e.standing == "not told apart" for e in others)
    if not others:
        return said
    if not alike:
        them = {1: "the other is", 2: "both others are"}.get(len(others), f"all {len(others)} others are")
        return f"{said}; {them} worse"
    return f"{said}; {alike} of {len(others)} others can't be told apart from it: the cheapest of these is as good"


def _of_curve(done: Sequence[Entry]) -> str:
    """What more rows would do, by the last two parts."""
    if len(done) < 2 or (change := done[-2].change) is None:
        return "the last two parts can't be compared yet"
    rows = f"from {done[-2].result.trained:,} to {done[-1].result.trained:,} rows"
    low, high = sorted((abs(change.low), abs(change.high)))
    by = f"{abs(change.value):.4f} nats per token ({low:.4f} to {high:.4f})"
    if change.above:
        return f"{rows} the loss fell by {by}: more rows like these would likely help"
    if change.below:
        return f"{rows} the loss rose by {by}: more rows like these didn't help"
    return f"{rows} no change of the loss can be told: more rows like these may not help"


def _of_ablation(done: Sequence[Entry]) -> str:
    kinds: tuple[tuple[str, Standing], ...] = (("higher", "worse"), ("lower", "better"))
    names = {said: [e.result.label.removeprefix("without ") for e in done if e.standing == s] for said, s in kinds}
    found = [f"{said} without {' or '.join(stages)}" for said, stages in names.items() if stages]
    if not found:
        return "no stage changes the validation loss by so much that it can be told"
    return f"the validation loss is {', '.join(found)}"


def _notes(sweep: SweepConfig, results: Sequence[Result], entries: Sequence[Entry]) -> list[str]:
    done = [e for e in entries if e.compared is not None]
    notes = []
    if failed := len(results) - len(done):
        notes.append(f"{failed} of {len(results)} trials failed; they are counted, and no loss is made up for them")
    if any(e.standing == "other rows" for e in done):
        notes.append("trials with other validation rows than the reference aren't compared with it")
    if common := _common(done):
        notes.append(common)
    if len(done) > 1 and any(e.change is not None for e in done):
        notes.append(
            f"intervals of differences hold together in 95 of 100 sweeps of {len(done)} trials (Bonferroni), over the"
            " same validation rows; each is of one seed, so that what another seed would change isn't in them"
        )
    if isinstance(sweep.search, LearningCurve):
        notes += _unseen(done)
    elif isinstance(sweep.search, Ablation):
        notes.append(
            "where the loss is lower without a stage, that stage may have cleaned the validation rows as well, or be"
            " worth it (personal data, unsafe rows)"
        )
    elif len(done) > 1:
        notes.append(
            "the lowest loss of several is too good by itself: the test rows weren't looked at, and a run of the chosen"
            " values measures them"
        )
    return notes


def _common(done: Sequence[Entry]) -> str:
    """That not all validation rows of all trials are compared; "" when they are."""
    compared = {e.loss.n for e in done if e.loss is not None}
    had = [len(e.result.losses) for e in done]
    if len(compared) != 1 or max(had) == (n := compared.pop()):
        return ""
    span = f"{min(had):,}" if min(had) == max(had) else f"{min(had):,} to {max(had):,}"
    return f"trials differ in their validation rows: compared are the {n:,} that all have, of {span}"


def _unseen(done: Sequence[Entry]) -> list[str]:
    """That a trial hasn't seen the rows it was given: then more of them can't show what they are worth."""
    short = [e for e in done if e.result.epochs is not None and e.result.epochs < 1]
    if not short:
        return []
    last = short[-1].result
    return [
        f"{len(short)} of {len(done)} trials ended before they had seen all their rows ({last.label}:"
        f" {math.floor(100 * (last.epochs or 0))} % of {last.trained:,} in {last.steps:,} steps): a higher"
        " train.max_steps, or train.num_train_epochs, among the sweep's overrides lets all rows count"
    ]

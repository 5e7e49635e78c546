"""What the course of the losses says: the best step, when to stop, whether it diverges, how the model fits.

Everything here is a function of the trainer's log, which lies in every checkpoint: so a resumed run decides as one that
was never interrupted, and no counter has to be saved.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steps.train.watching.settings import WatchSettings

Log = Sequence[Mapping[str, Any]]
# (optimizer step, loss) in the order of the steps.
Points = list[tuple[int, float]]

# Chosen: the loss of a batch jumps by itself; three points in a row, each a mean over logging_steps, are no jump.
_IN_A_ROW, _TIMES, _ABOVE = 3, 3.0, 2.0
# Chosen: validation losses of one model on samples of a thousand rows differ by about as much.
_SAME = 0.02
# Chosen: with fewer losses than these there is no course.
_FEW = 3


def points(log: Log, key: str) -> Points:
    """Every value of the log under a key, one per optimizer step, those after the first step only."""
    found = {int(entry["step"]): float(entry[key]) for entry in log if key in entry and entry["step"] > 0}
    return sorted(found.items())


def best_step(log: Log, settings: WatchSettings) -> int | None:
    """The optimizer step with the lowest validation loss, of equal ones the first; None: there was none yet."""
    best: tuple[int, float] | None = None
    for step, loss in points(log, "eval_loss"):
        if best is None or loss < best[1] - settings.early_stopping_threshold:
            best = step, loss
    return None if best is None else best[0]


def kept_step(log: Log, settings: WatchSettings) -> int | None:
    """The step whose checkpoint is needed however old it is; None: of none."""
    return best_step(log, settings) if settings.load_best_model_at_end else None


def without_improvement(log: Log, settings: WatchSettings) -> int:
    """Validation losses since the lowest one."""
    best = best_step(log, settings)
    return sum(step > best for step, _ in points(log, "eval_loss")) if best is not None else 0


def stops_early(log: Log, settings: WatchSettings) -> bool:
    """Whether patience is at its end."""
    patience = settings.early_stopping_patience
    return patience is not None and without_improvement(log, settings) >= patience


def divergence(log: Log, settings: WatchSettings) -> str:
    """In words, with its steps, that the training loss went away from what it had come to; "": it didn't."""
    if not settings.stop_at_divergence:
        return ""
    losses = points(log, "loss")
    last, before = losses[-_IN_A_ROW:], losses[:-_IN_A_ROW]
    if not before or any(loss <= 0 for _, loss in losses):
        return ""
    step, lowest = min(before, key=lambda p: p[1])
    if any(loss <= max(_TIMES * lowest, lowest + _ABOVE) for _, loss in last):
        return ""
    said = ", ".join(f"{loss:.3g} at step {at}" for at, loss in last)
    return f"the loss went away: {said}; the lowest was {lowest:.3g} at step {step}"


Fit = Literal["not judged", "overfitted", "got worse", "still learning", "settled"]
# What decides, for who reads the verdict.
RULES: Mapping[Fit, str] = {
    "not judged": f"fewer than {_FEW} validation losses while it trained: set eval_steps",
    "overfitted": f"the last validation loss is over {_SAME:.0%} above the lowest, while the training loss fell on",
    "got worse": f"the last validation loss is over {_SAME:.0%} above the lowest, and the training loss fell no more",
    "still learning": f"the validation loss fell by more than {_SAME:.0%} in the last third of the validations",
    "settled": f"the validation loss ends within {_SAME:.0%} of its lowest, and fell by less in the last third",
}


@dataclass(frozen=True)
class Verdict:
    """How the model fits the rows, by which rule and which numbers."""

    fit: Fit
    rule: str
    numbers: tuple[tuple[str, float], ...] = ()


def verdict(log: Log) -> Verdict:
    """By the validation losses, and the training loss before and after the lowest of them."""
    losses = points(log, "eval_loss")
    if len(losses) < _FEW:
        return Verdict("not judged", RULES["not judged"])
    best = min(losses, key=lambda p: (p[1], p[0]))
    last, third = losses[-1], losses[-1 - max(1, len(losses) // 3)]
    numbers = (
        ("lowest validation loss", best[1]), ("at step", float(best[0])), ("last validation loss", last[1]),
        ("share by which it is higher", last[1] / best[1] - 1 if best[1] > 0 else 0.0),
        ("share by which it fell in the last third", 1 - last[1] / third[1] if third[1] > 0 else 0.0),
    )  # fmt: skip
    fit: Fit
    if last[1] > best[1] * (1 + _SAME):
        fit = "overfitted" if _fell(points(log, "loss"), best[0]) else "got worse"
    else:
        fit = "still learning" if last[1] < third[1] * (1 - _SAME) else "settled"
    return Verdict(fit, RULES[fit], numbers)


def _fell(losses: Points, step: int) -> bool:
    """Whether the training loss was lower on the mean after a step than in as many points before it."""
    after = [loss for at, loss in losses if at > step]
    before = [loss for at, loss in losses if at <= step][-max(1, len(after)) :]
    return bool(after) and bool(before) and _mean(after) < _mean(before)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)

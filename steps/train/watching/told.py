"""What the report says of the course of a training."""

from collections.abc import Iterator

from steps.contracts.reports import Table
from steps.train.watching.course import Log, best_step, stops_early, verdict, without_improvement
from steps.train.watching.settings import WatchSettings


def fit_table(log: Log) -> Table:
    """The verdict on over- and underfitting, with its rule and its numbers."""
    found = verdict(log)
    rows = (("verdict", found.fit), ("rule", found.rule), *((name, round(value, 6)) for name, value in found.numbers))
    return Table(title="Fit", columns=("what", "value"), rows=rows)


def watch_notes(log: Log, settings: WatchSettings, used: int | None) -> Iterator[str]:
    """`used`: the step that the weights are of; None: the last."""
    if stops_early(log, settings):
        yield (
            f"stopped early: {without_improvement(log, settings)} validation losses without a new lowest one since step"
            f" {best_step(log, settings)}"
        )
    if used is not None:
        yield f"the weights are those of step {used}, which has the lowest validation loss"

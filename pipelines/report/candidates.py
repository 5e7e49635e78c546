"""All that was evaluated in one table, by the metric that decides: who is better than the reference, and how sure."""

from collections.abc import Collection

from steps.contracts.evaluation import Comparison, Difference
from steps.contracts.reports import Table
from steps.engines.scoring.mcnemar import holm, mcnemar
from steps.engines.scoring.metrics import HELD_OUT

# As the gate takes them where its config names none.
_DECISIVE = ("field_accuracy", "exact_match", "rouge_l", "loss", "preference_accuracy")


def decisive_metric(comparison: Comparison, subjects: Collection[str]) -> str | None:
    """The first metric that decides of those that all these candidates have on held-out rows."""
    measured = {(d.metric, d.subject) for d in comparison.differences if d.task == HELD_OUT}
    return next((m for m in _DECISIVE if all((m, name) in measured for name in subjects)), None)


def candidates(comparison: Comparison) -> Table | None:
    """One line per candidate: the metric, its change from the reference, each with its 95 % interval, and of shares of
    rows McNemar's p, corrected for their number by Holm. None where there is only one candidate.
    """
    names = [c.name for c in comparison.candidates]
    decisive = decisive_metric(comparison, names)
    if decisive is None or len(names) == 1:
        return None
    found = [d for d in comparison.differences if d.task == HELD_OUT and d.metric == decisive]
    counts = [d.discordant for d in found if d.discordant is not None]
    # Of a metric with values between 0 and 1 intervals say it all.
    tested = holm([mcnemar(*c) for c in counts]) if len(counts) == len(found) else []
    lines = [(*_line(d), *p) for d, p in zip(found, [[_small(p)] for p in tested] or [[]] * len(found), strict=True)]
    first = found[0].reference
    return Table(
        title=f"{decisive.replace('_', ' ')} of all that was evaluated, on {found[0].change.n:,} rows, 95 % intervals"
        + ("; p by McNemar, corrected for their number by Holm" if tested else ""),
        columns=(
            "subject",
            decisive.replace("_", " "),
            f"change from {comparison.reference.name}",
            *["p"] * bool(tested),
        ),
        rows=(
            (comparison.reference.name, _shown(first.value, first.low, first.high), "", *[""] * bool(tested)),
            *lines,
        ),
    )


def _line(d: Difference) -> tuple[str, str, str]:
    value = _shown(d.candidate.value, d.candidate.low, d.candidate.high)
    return d.subject, value, f"{d.change.value:+.3f} [{d.change.low:+.3f}, {d.change.high:+.3f}]"


def _small(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _shown(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"

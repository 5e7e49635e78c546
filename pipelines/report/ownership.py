"""What each candidate takes: to be made, for an answer, to be changed; after how many answers training is repaid.

All figures were measured in the run, on its machine: CPU seconds, tokens, an endpoint's prices.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipelines.report.costs import StageCost
from steps.contracts.evaluation import EvalReport, Usage
from steps.contracts.humanize import duration
from steps.contracts.models import BASE, CHAMPION
from steps.contracts.reports import Table
from steps.contracts.runs import RunRecord

_TRAIN = "train"


def asked_better(record: RunRecord) -> dict[str, Mapping[str, Any]]:
    """The settings of a run's subjects that are models asked with something, by name."""
    settings: Any = record.config.get("evaluate") or {}
    return {str(s["name"]): s for s in settings.get("subjects", ())}


def ownership(record: RunRecord, evals: Sequence[EvalReport], costs: Sequence[StageCost]) -> Table | None:
    """One line per subject of which it is known what its answers took; None for fewer than two."""
    known = [(e.subject, e.usage) for e in evals if e.usage is not None and e.usage.answers]
    if len(known) < 2:
        return None
    asked = asked_better(record)
    lines = [
        (
            name,
            _made(name, asked, costs),
            f"{u.prompt_tokens / u.answers:,.0f}",
            f"{u.answer_tokens / u.answers:,.0f}",
            "elsewhere" if (asked.get(name) or {}).get("endpoint") else _milliseconds(u),
            "" if u.cost is None else f"{1_000 * u.cost / u.answers:,.4f}",
            _to_change(name, asked),
        )
        for name, u in known
    ]
    columns = (
        "subject", "to be made", "tokens of a prompt", "of an answer", "CPU ms per answer", "price of 1,000 answers",
        "to change what it knows",
    )  # fmt: skip
    # Where nobody has a price, there is no column of prices.
    kept = [i for i in range(len(columns)) if i != 5 or any(u.cost is not None for _, u in known)]
    return Table(
        title="What each of them takes, measured in this run: answers in batches, without looking up passages",
        columns=tuple(columns[i] for i in kept),
        rows=tuple(tuple(line[i] for i in kept) for line in lines),
    )


def repaid(
    record: RunRecord, evals: Sequence[EvalReport], costs: Sequence[StageCost], candidate: str, rivals: Collection[str]
) -> tuple[str, ...]:
    """After how many answers a training has cost less than its rivals' longer prompts, in CPU seconds of this machine;
    nothing is said of models behind endpoints, whose seconds are spent elsewhere.
    """
    usages = {e.subject: e.usage for e in evals if e.usage is not None and e.usage.answers > e.usage.at_hand}
    asked, training = asked_better(record), _training(costs)
    own = usages.get(candidate)
    local = [n for n in rivals if n in usages and not (asked.get(n) or {}).get("endpoint")]
    if own is None or not training or not local:
        return ()
    said = []
    for name in sorted(local):
        saved = _each(usages[name]) - _each(own)
        if saved > 0:
            after = f"after {training / saved:,.0f} answers, each of which takes it {1_000 * saved:.1f} ms more"
            said.append(f"against {name} {after}")
        else:
            said.append(f"never against {name}, whose answers take no longer")
    return (f"Training took {duration(training)} of CPU, which is repaid {'; '.join(said)}.",)  # fmt: skip


def _each(usage: Usage) -> float:
    """CPU seconds of an answer that was given in this run."""
    return usage.cpu_seconds / (usage.answers - usage.at_hand)


def _milliseconds(usage: Usage) -> str:
    """ "": all were given in an earlier run."""
    return f"{1_000 * _each(usage):,.1f}" if usage.answers > usage.at_hand else ""


def _training(costs: Sequence[StageCost]) -> float:
    return sum(c.cpu_seconds for c in costs if c.stage.startswith(_TRAIN))


def _model(name: str, asked: Mapping[str, Mapping[str, Any]]) -> str:
    """Who answers under a name."""
    return str(asked[name]["model"]) if name in asked else name


def _made(name: str, asked: Mapping[str, Mapping[str, Any]], costs: Sequence[StageCost]) -> str:
    who = _model(name, asked)
    if (asked.get(name) or {}).get("endpoint") or who in (BASE, CHAMPION):
        return "nothing"
    spent = _training(costs)
    return f"{duration(spent)} of CPU" if spent else "trained elsewhere"


def _to_change(name: str, asked: Mapping[str, Mapping[str, Any]]) -> str:
    own = asked.get(name) or {}
    ways = [
        "other documents" if own.get("retrieval") else "",
        "another prompt" if own.get("system") or own.get("shots") else "",
    ]
    if not own.get("endpoint") and _model(name, asked) not in (BASE, CHAMPION):
        ways.append("train again")
    return " or ".join(w for w in ways if w) or "train it"

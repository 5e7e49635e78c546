"""Base against tuned, row by row, and whether the difference is enough to promote."""

import math
from collections.abc import Iterator, Sequence

from steps.contracts.digests import value_digest
from steps.contracts.errors import IntegrityError
from steps.contracts.evaluation import (
    Answers,
    Comparison,
    Decision,
    Difference,
    Estimate,
    EvalReport,
    Metric,
    Reason,
    TaskResult,
)
from steps.engines.scoring.answers import Answered, read_answers
from steps.engines.scoring.metrics import (
    ANSWERED_UNANSWERABLE,
    HELD_OUT,
    LOWER_IS_BETTER,
    NON_FINITE,
    PERPLEXITY,
    TOKENS,
    difference,
    estimate,
)
from steps.gate.config import GateConfig

# What `metric: null` takes, in this order.
_DEFAULT_METRICS = ("field_accuracy", "exact_match", "rouge_l", "loss")
# Relative; the same numbers summed in the same order, so only a different file exceeds it.
_RECOMPUTED = 1e-9


def compare(base: EvalReport, base_answers: Answers, tuned: EvalReport, tuned_answers: Answers) -> Comparison:
    """Every metric that both models have, as tuned minus base on the same rows (perplexity: tuned / base).

    Raises:
        IntegrityError: the two were not measured on the same rows by the same tasks and decoding, or an answers file
            isn't the one that its report was made from.
    """
    _same("dataset", base.dataset_digest, tuned.dataset_digest)
    _same("decoding", base.decoding, tuned.decoding)
    _same("tasks", [_identity(t) for t in base.tasks], [_identity(t) for t in tuned.tasks])
    old, new = read_answers(base_answers), read_answers(tuned_answers)
    _same("answered tasks", sorted(old), sorted(new))
    _same("answered tasks", sorted(old), sorted(t.task for t in base.tasks))
    differences: list[Difference] = []
    for one, other in zip(base.tasks, tuned.tasks, strict=True):
        _check_rows(one, old[one.task], new[one.task])
        differences += _differences(one, other, old[one.task], new[one.task])
    return Comparison(
        base_digest=base.model_digest,
        tuned_digest=tuned.model_digest,
        dataset_digest=base.dataset_digest,
        differences=tuple(differences),
    )


def _identity(task: TaskResult) -> tuple[str, str, str, str, int]:
    return task.task, task.kind, task.version, task.data_digest, task.n


def _same(what: str, base: object, tuned: object) -> None:
    if base != tuned:
        raise IntegrityError(
            f"base and tuned were not measured alike: {what} differ: {base!s:.200} and {tuned!s:.200}",
            where="gate",
            hint="evaluate both models again with the same dataset and settings",
        )


def _check_rows(task: TaskResult, base: Sequence[Answered], tuned: Sequence[Answered]) -> None:
    where = f"task {task.task}:"
    _same(f"{where} rows", [r.row_id for r in base], [r.row_id for r in tuned])
    _same(f"{where} number of rows", len(base), task.n)
    _same(f"{where} references", [r.reference for r in base], [r.reference for r in tuned])
    for one, other in zip(base, tuned, strict=True):
        a, b = one.scores.get(TOKENS), other.scores.get(TOKENS)
        if a is not None and b is not None and a != b:
            _same(f"{where} row {one.row_id}: tokens", a, b)


def _differences(
    base: TaskResult, tuned: TaskResult, old: Sequence[Answered], new: Sequence[Answered]
) -> Iterator[Difference]:
    theirs = {m.name: m for m in tuned.metrics}
    before, after = [r.scores for r in old], [r.scores for r in new]
    for metric in base.metrics:
        if metric.name not in theirs:
            continue
        _check_reported(base.task, metric, estimate(metric.name, before))
        _check_reported(base.task, theirs[metric.name], estimate(metric.name, after))
        try:
            change = difference(metric.name, before, after)
        except ValueError as e:
            raise IntegrityError(f"{metric.name}: {e}", where=f"gate, task {base.task}") from e
        assert change is not None
        yield Difference(
            task=base.task,
            metric=metric.name,
            base=metric.estimate,
            tuned=theirs[metric.name].estimate,
            change=change,
            is_ratio=metric.name == PERPLEXITY,
        )


def _check_reported(task: str, metric: Metric, found: Estimate | None) -> None:
    said = metric.estimate
    if found is None or found.n != said.n or not math.isclose(found.value, said.value, rel_tol=_RECOMPUTED):
        raise IntegrityError(
            f"the report says {metric.name} = {said.value} (n {said.n}), its answers give"
            f" {None if found is None else found.value}",
            where=f"gate, task {task}",
            hint="report and answers must come from one evaluation",
        )


def decide(comparison: Comparison, config: GateConfig) -> Decision:
    """Whether to promote: every check must pass, and a check whose metric wasn't measured doesn't.

    A pure function of its arguments. A better tuned model (any bound moved the good way) never loses a promotion.
    """
    found = {_name(d): d for d in comparison.differences}
    reasons = (
        *_gain(found, config),
        *_limits(found, config),
        *_controls(found, config),
        *(_finite(d) for d in comparison.differences if d.metric == NON_FINITE),
    )
    return Decision(
        promote=all(r.passed for r in reasons),
        reasons=reasons,
        config_digest=value_digest(config.model_dump(mode="json")),
    )


def gain_bound(change: Difference) -> float:
    """The least gain that the interval allows, positive when better: shares, nats, or 1 - ratio for perplexity."""
    if change.is_ratio:
        return 1.0 - change.change.high
    return -change.change.high if change.metric in LOWER_IS_BETTER else change.change.low


def _name(d: Difference) -> str:
    return d.metric if d.task == HELD_OUT else f"{d.task}/{d.metric}"


def _gain(found: dict[str, Difference], config: GateConfig) -> Iterator[Reason]:
    wanted = (config.metric,) if config.metric is not None else _DEFAULT_METRICS
    name = next((n for n in wanted if n in found), None)
    check = f"gain in {name or ' or '.join(wanted)}"
    required = f"lower bound of the gain above {config.min_gain_lower_bound:g}"
    if name is None:
        yield Reason(check=check, passed=False, required=required, found="not measured")
        return
    d = found[name]
    bound = gain_bound(d)
    yield Reason(
        check=check,
        passed=bound > config.min_gain_lower_bound,
        required=required,
        found=f"{bound:.4f} (base {_show(d.base)}, tuned {_show(d.tuned)}, {_change(d)})",
    )
    yield Reason(
        check=f"rows behind {name}",
        passed=d.change.n >= config.min_n,
        required=f"at least {config.min_n}",
        found=str(d.change.n),
    )


def _limits(found: dict[str, Difference], config: GateConfig) -> Iterator[Reason]:
    whole = config.bounds == "interval"
    for name, floor in sorted(config.floors.items()):
        what = "lower bound" if whole else "value"
        tuned = found[name].tuned if name in found else None
        held = None if tuned is None else tuned.low if whole else tuned.value
        required = f"{what} of tuned at least {floor:g}"
        yield Reason(
            check=f"floor of {name}",
            passed=held is not None and held >= floor,
            required=required,
            found="not measured" if tuned is None else _show(tuned),
        )
    for name, ceiling in sorted(config.ceilings.items()):
        tuned = found[name].tuned if name in found else None
        held = None if tuned is None else tuned.high if whole else tuned.value
        yield Reason(
            check=f"ceiling of {name}",
            passed=held is not None and held <= ceiling,
            required=f"{'upper bound' if whole else 'value'} of tuned at most {ceiling:g}",
            found="not measured" if tuned is None else _show(tuned),
        )


def _controls(found: dict[str, Difference], config: GateConfig) -> Iterator[Reason]:
    controls = [d for d in found.values() if d.task != HELD_OUT]
    present = {d.task for d in controls if d.metric in (PERPLEXITY, ANSWERED_UNANSWERABLE)}
    for name in sorted(set(config.required_controls)):
        yield Reason(
            check=f"control {name}",
            passed=name in present,
            required="evaluated on both models",
            found="evaluated" if name in present else "not measured",
        )
    for d in controls:
        limit = {
            PERPLEXITY: config.max_perplexity_ratio,
            ANSWERED_UNANSWERABLE: config.max_answered_unanswerable,
        }.get(d.metric)
        if limit is None:
            continue
        held = d.change if d.is_ratio else d.tuned
        what = "tuned / base perplexity" if d.is_ratio else "unanswerable questions answered"
        yield Reason(
            check=f"{d.task}: {what}",
            passed=held.high <= limit,
            required=f"upper bound at most {limit:g}",
            found=_show(held),
        )
        yield Reason(
            check=f"{d.task}: rows behind it",
            passed=held.n >= config.min_control_n,
            required=f"at least {config.min_control_n}",
            found=str(held.n),
        )


def _finite(d: Difference) -> Reason:
    return Reason(
        check=f"{d.task}: finite losses",
        passed=d.tuned.value <= 0,
        required="no row with a loss that is not finite",
        found=f"{d.tuned.value:.1%} of {d.tuned.n} rows",
    )


def _show(e: Estimate) -> str:
    return f"{e.value:.4f} [{e.low:.4f}, {e.high:.4f}], n {e.n}"


def _change(d: Difference) -> str:
    return f"{'tuned / base' if d.is_ratio else 'tuned - base'} {_show(d.change)}"

"""Candidates against a reference, row by row, and whether the difference is enough to promote one."""

import json
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeAlias

from steps.contracts.digests import canonical_json, value_digest
from steps.contracts.errors import ConfigError, IntegrityError
from steps.contracts.evaluation import (
    EXPORTED,
    PROMPTING,
    SERVED,
    STOP_TOKEN_IDS,
    Compared,
    Comparison,
    Decision,
    Difference,
    Estimate,
    Evaluation,
    Metric,
    Reason,
    TaskResult,
)
from steps.contracts.models import BASE, CHAMPION
from steps.contracts.provenance import DeclaredSource
from steps.engines.graders.degeneration import DEGENERATE, EMPTY, LOOPING, ONE_ANSWER
from steps.engines.scoring.answers import Answered, read_answers
from steps.engines.scoring.metrics import (
    ANSWERED_UNANSWERABLE,
    DEGENERATE_CONTINUATION,
    HELD_OUT,
    LOSS,
    LOWER_IS_BETTER,
    MACRO_F1,
    NON_FINITE,
    PERPLEXITY,
    TOKENS,
    Scores,
    difference,
    estimate,
)
from steps.engines.scoring.power import gain_of_interval, measured_gain
from steps.gate.config import GateConfig, SourceRules

# What one task gave, and the answers behind that.
_Measured: TypeAlias = tuple[TaskResult, Sequence[Answered]]

# What `metric: null` takes, in this order.
_DEFAULT_METRICS = ("field_accuracy", "exact_match", "rouge_l", "loss", "preference_accuracy")
# What a degenerate answer is.
_FAULTS = (EMPTY, LOOPING, ONE_ANSWER)
# Relative; the same numbers summed in the same order, so only a different file exceeds it.
_RECOMPUTED = 1e-9


def compare(reference: Evaluation, candidates: Sequence[Evaluation]) -> Comparison:
    """Every metric that reference and candidate have, as candidate minus reference on the same rows (perplexity:
    candidate / reference).

    Raises:
        IntegrityError: they were not measured on the same rows by the same tasks and decoding, or an answers file isn't
            the one that its report was made from.
    """
    return Comparison(
        reference=_compared(reference),
        candidates=tuple(_compared(c) for c in candidates),
        dataset_digest=reference.report.dataset_digest,
        differences=tuple(d for c in candidates for d in _beside(reference, c)),
    )


def _compared(evaluation: Evaluation) -> Compared:
    return Compared(name=evaluation.report.subject, digest=evaluation.report.model_digest)


def _beside(reference: Evaluation, candidate: Evaluation) -> Iterator[Difference]:
    """The differences of one candidate."""
    one, other = reference.report, candidate.report
    _same("dataset", one.dataset_digest, other.dataset_digest)
    _same("decoding", *_unlike(_settings(one.decoding), _settings(other.decoding)))
    _same("tasks", [_identity(t) for t in one.tasks], [_identity(t) for t in other.tasks])
    old, new = read_answers(reference.answers), read_answers(candidate.answers)
    _same("answered tasks", sorted(old), sorted(new))
    _same("answered tasks", sorted(old), sorted(t.task for t in one.tasks))
    for before, after in zip(one.tasks, other.tasks, strict=True):
        _check_rows(before, old[before.task], new[before.task])
        yield from _differences(other.subject, (before, old[before.task]), (after, new[before.task]))


def _settings(decoding: str) -> dict[str, Any]:
    """A report's decoding without what is the model's own."""
    return {k: v for k, v in json.loads(decoding).items() if k != STOP_TOKEN_IDS}


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, str]:
    """The settings that differ, of each; where one of them answers nothing, of those that both have."""
    both = one.keys() | other.keys()
    if one.get(SERVED) != other.get(SERVED):
        # How a server decodes is its own affair.
        both = (one.keys() & other.keys()) - {PROMPTING, SERVED, "max_new_tokens", "probe_tokens"}
    if one.get(PROMPTING) != other.get(PROMPTING):
        # Who thinks aloud needs more room.
        both -= {PROMPTING, "max_new_tokens"}
    if one.get(EXPORTED) != other.get(EXPORTED):
        # What an export loses is what is looked for.
        both -= {EXPORTED}
    if ("generation" in one) != ("generation" in other):
        # Nobody's answers are compared with none, however long they may be.
        both = (one.keys() & other.keys()) - {"max_new_tokens", "probe_tokens"}
    keys = [k for k in sorted(both) if one.get(k) != other.get(k)]
    return canonical_json({k: one.get(k) for k in keys}), canonical_json({k: other.get(k) for k in keys})


def _identity(task: TaskResult) -> tuple[str, str, str, str, int]:
    return task.task, task.kind, task.version, task.data_digest, task.n


def _same(what: str, reference: object, candidate: object) -> None:
    if reference != candidate:
        raise IntegrityError(
            f"two subjects were not measured alike: {what} differ: {reference!s:.200} and {candidate!s:.200}",
            where="gate",
            hint="evaluate both again with the same dataset and settings",
        )


def _check_rows(task: TaskResult, reference: Sequence[Answered], candidate: Sequence[Answered]) -> None:
    where = f"task {task.task}:"
    _same(f"{where} rows", [r.row_id for r in reference], [r.row_id for r in candidate])
    _same(f"{where} number of rows", len(reference), task.n)
    _same(f"{where} references", [r.reference for r in reference], [r.reference for r in candidate])
    for one, other in zip(reference, candidate, strict=True):
        a, b = one.scores.get(TOKENS), other.scores.get(TOKENS)
        if a is not None and b is not None and a != b:
            _same(f"{where} row {one.row_id}: tokens", a, b)


def _differences(subject: str, *sides: _Measured) -> Iterator[Difference]:
    """Of one task on both sides: what it gave, and the answers behind that."""
    (one, old), (other, new) = sides
    measured = {m.name: m for m in other.metrics}
    before, after = [r.scores for r in old], [r.scores for r in new]
    for metric in one.metrics:
        if metric.name not in measured:
            continue
        both = ((metric, before), (measured[metric.name], after))
        reference, candidate = (_check_reported(one.task, m, estimate(m.name, rows)) for m, rows in both)
        try:
            change = difference(metric.name, before, after)
        except ValueError as e:
            raise IntegrityError(f"{metric.name}: {e}", where=f"gate, task {one.task}") from e
        if change is None:
            continue  # of what a judge decided on, nothing on both sides
        yield Difference(
            task=one.task,
            metric=metric.name,
            subject=subject,
            reference=reference,
            candidate=candidate,
            change=change,
            is_ratio=metric.name == PERPLEXITY,
            discordant=_discordant(metric.name, before, after),
            detectable=_detectable(metric.name, before, after, change),
        )


def _detectable(metric: str, before: Sequence[Scores], after: Sequence[Scores], change: Estimate) -> float | None:
    """Of a ratio nothing is said: its changes don't add up."""
    if metric == PERPLEXITY:
        return None
    if metric in (LOSS, MACRO_F1):
        return gain_of_interval(change)
    pairs = [(a.get(metric), b.get(metric)) for a, b in zip(before, after, strict=True)]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    # Where no row changed, nothing varies: what the interval allows of rows that weren't seen is taken.
    return measured_gain([a for a, _ in both], [b for _, b in both]) or gain_of_interval(change)


def _discordant(metric: str, before: Sequence[Scores], after: Sequence[Scores]) -> tuple[int, int] | None:
    pairs = [(a.get(metric), b.get(metric)) for a, b in zip(before, after, strict=True)]
    if metric in (LOSS, PERPLEXITY) or not all(v in (None, 0.0, 1.0) for pair in pairs for v in pair):
        return None
    return sum(a == 0 and b == 1 for a, b in pairs), sum(a == 1 and b == 0 for a, b in pairs)


def _check_reported(task: str, metric: Metric, found: Estimate | None) -> Estimate:
    """The metric as its answers give it today, whatever interval an earlier version reported."""
    reported = metric.estimate
    if found is None or found.n != reported.n or not math.isclose(found.value, reported.value, rel_tol=_RECOMPUTED):
        raise IntegrityError(
            f"the report says {metric.name} = {reported.value} (n {reported.n}), its answers give"
            f" {None if found is None else found.value}",
            where=f"gate, task {task}",
            hint="report and answers must come from one evaluation",
        )
    return found


def gate(
    evaluations: Sequence[Evaluation], config: GateConfig, sources: Sequence[DeclaredSource] = ()
) -> tuple[Comparison, Decision]:
    """Every other subject against the reference, and whether the candidate is promoted. `sources`: of its rows.

    Raises:
        ConfigError: the config names a subject that was not evaluated, or there is nothing beside the reference.
    """
    names = [e.report.subject for e in evaluations]
    asked = [("must_beat", name) for name in config.must_beat]
    for key, name in (("reference", config.reference), ("candidate", config.candidate), *asked):
        if name is not None and name not in names:
            raise ConfigError(f"no subject {name!r} was evaluated", where=f"gate.{key}", hint=f"there are {names}")
    reference = next(e for e in evaluations if e.report.subject == config.reference)
    candidates = [e for e in evaluations if e is not reference]
    if not candidates or config.candidate == config.reference:
        raise ConfigError("nothing to compare the reference with", where="gate", hint=f"the subjects are {names}")
    comparison = compare(reference, candidates)
    judged = next(e for e in evaluations if e.report.subject == (config.candidate or names[-1]))
    if config.min_gain_over_champion is not None:
        comparison = comparison.model_copy(update={"over_champion": _over_champion(reference, judged, evaluations)})
    others = (e for e in candidates if e is not judged and e.report.subject != CHAMPION)
    over = {e.report.subject: tuple(_beside(e, judged)) for e in others}
    comparison = comparison.model_copy(update={"over": over})
    return comparison, decide(comparison, config, sources, judged.report.tasks)


def _over_champion(
    reference: Evaluation, judged: Evaluation, evaluations: Sequence[Evaluation]
) -> tuple[Difference, ...]:
    """Nothing where the champion is the very same model, or there is none yet, so that the base was measured."""
    champion = next(e for e in evaluations if e.report.subject == CHAMPION)
    same = {judged.report.model_digest, *(e.report.model_digest for e in evaluations if e.report.subject == BASE)}
    return () if champion.report.model_digest in same else tuple(_beside(champion, judged))


def decide(
    comparison: Comparison,
    config: GateConfig,
    sources: Sequence[DeclaredSource] = (),
    tasks: Sequence[TaskResult] = (),
) -> Decision:
    """Whether to promote the candidate: every check must pass, and a check whose metric wasn't measured doesn't.
    `tasks`: of the candidate, whose suites say what must be reached.

    A pure function of its arguments. A better candidate (any bound moved the good way) never loses a promotion.
    """
    candidate = config.candidate or comparison.candidates[-1].name
    differences = comparison.of(candidate)
    found = {_name(d): d for d in differences}
    reasons = (
        *_gain(found, config, (comparison.reference.name, candidate)),
        *_gain_over_champion({_name(d): d for d in comparison.over_champion}, config, candidate),
        *_must_beat(comparison, config, candidate),
        *_limits(found, config, candidate),
        *_drops(found, config),
        *_degenerate(found, config, candidate),
        *_controls(found, config, f"{candidate} / {comparison.reference.name}", {t.task for t in tasks if t.suite}),
        *(reason for task in tasks for reason in _thresholds(task, config, candidate)),
        *(_finite(d) for d in differences if d.metric == NON_FINITE),
        *_declared(sources, config.sources),
    )
    return Decision(
        promote=all(r.passed for r in reasons),
        reference=comparison.reference.name,
        candidate=candidate,
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


def _gain(found: dict[str, Difference], config: GateConfig, names: tuple[str, str]) -> Iterator[Reason]:
    wanted = (config.metric,) if config.metric is not None else _DEFAULT_METRICS
    name = next((n for n in wanted if n in found), None)
    check = f"gain in {name or ' or '.join(wanted)}"
    required = f"lower bound of the gain above {config.min_gain_lower_bound:g}"
    if name is None:
        yield Reason(check=check, passed=False, required=required, found="not measured")
        return
    d = found[name]
    bound = gain_bound(d)
    old, new = names
    change = f"{new} / {old}" if d.is_ratio else f"{new} - {old}"
    yield Reason(
        check=check,
        passed=bound > config.min_gain_lower_bound,
        required=required,
        found=f"{bound:.4f} ({old} {_show(d.reference)}, {new} {_show(d.candidate)}, {change} {_show(d.change)})"
        + (f"; these rows show a change of {d.detectable:.4f} and more, with power 0.8" if d.detectable else ""),
    )
    yield Reason(
        check=f"rows behind {name}",
        passed=d.change.n >= config.min_n,
        required=f"at least {config.min_n}",
        found=str(d.change.n),
    )


def _gain_over_champion(found: dict[str, Difference], config: GateConfig, candidate: str) -> Iterator[Reason]:
    if config.min_gain_over_champion is None or not found:
        return
    least = config.min_gain_over_champion
    asked = config.model_copy(update={"min_gain_lower_bound": least})
    for reason in _gain(found, asked, (CHAMPION, candidate)):
        yield reason.model_copy(update={"check": f"over the champion: {reason.check}"})


def _must_beat(comparison: Comparison, config: GateConfig, candidate: str) -> Iterator[Reason]:
    for name, least in sorted(config.must_beat.items()):
        asked = config.model_copy(update={"min_gain_lower_bound": least})
        found = {_name(d): d for d in comparison.over.get(name, ())}
        for reason in _gain(found, asked, (name, candidate)):
            yield reason.model_copy(update={"check": f"over {name}: {reason.check}"})


def _limits(found: dict[str, Difference], config: GateConfig, candidate: str) -> Iterator[Reason]:
    whole = config.bounds == "interval"
    for name, floor in sorted(config.floors.items()):
        measured = found[name].candidate if name in found else None
        held = None if measured is None else measured.low if whole else measured.value
        yield Reason(
            check=f"floor of {name}",
            passed=held is not None and held >= floor,
            required=f"{'lower bound' if whole else 'value'} of {candidate} at least {floor:g}",
            found="not measured" if measured is None else _show(measured),
        )
    for name, ceiling in sorted(config.ceilings.items()):
        measured = found[name].candidate if name in found else None
        held = None if measured is None else measured.high if whole else measured.value
        yield Reason(
            check=f"ceiling of {name}",
            passed=held is not None and held <= ceiling,
            required=f"{'upper bound' if whole else 'value'} of {candidate} at most {ceiling:g}",
            found="not measured" if measured is None else _show(measured),
        )


def _drops(found: dict[str, Difference], config: GateConfig) -> Iterator[Reason]:
    for name, most in sorted(config.max_drop.items()):
        bound = gain_bound(found[name]) if name in found else None
        yield Reason(
            check=f"drop of {name}",
            passed=bound is not None and bound >= -most,
            required=f"at most {most:g}, at the bound of the change",
            found="not measured" if bound is None else f"{max(-bound, 0.0):.4f}, change {_show(found[name].change)}",
        )


def _degenerate(found: dict[str, Difference], config: GateConfig, candidate: str) -> Iterator[Reason]:
    """What was measured of them: a subject that doesn't answer, or isn't asked, has no such figure."""
    limits = (
        (DEGENERATE, "degenerate answers", config.max_degenerate),
        (DEGENERATE_CONTINUATION, "degenerate continuations of documents", config.max_degenerate_continuations),
    )
    for name, check, limit in limits:
        if limit is None or name not in found:
            continue
        share = found[name].candidate
        kinds = (f"{k.replace('_', ' ')} {found[k].candidate.value:.1%}" for k in _FAULTS if k in found)
        why = f" ({', '.join(kinds)})" if name == DEGENERATE and share.value else ""
        yield Reason(
            check=check,
            passed=share.high <= limit,
            required=f"upper bound of {candidate} at most {limit:g}",
            found=_show(share) + why,
        )


def _thresholds(task: TaskResult, config: GateConfig, candidate: str) -> Iterator[Reason]:
    """What a suite says that must be reached: a floor, or of what is better when lower a ceiling."""
    measured = {m.name: m.estimate for m in task.metrics}
    whole = config.bounds == "interval"
    for name, wanted in sorted(task.thresholds.items()):
        lower = name in LOWER_IS_BETTER
        found = measured.get(name)
        held = None if found is None else (found.high if lower else found.low) if whole else found.value
        side = ("upper bound" if lower else "lower bound") if whole else "value"
        yield Reason(
            check=f"{task.task}: {name}",
            passed=held is not None and (held <= wanted if lower else held >= wanted),
            required=f"{side} of {candidate} at {'most' if lower else 'least'} {wanted:g}",
            found="not measured" if found is None else _show(found),
        )


def _controls(
    found: dict[str, Difference], config: GateConfig, ratio: str, of_suites: Collection[str]
) -> Iterator[Reason]:
    """Of suites' tasks (`of_suites`) the questions without an answer have thresholds of their own."""
    controls = [d for d in found.values() if d.task != HELD_OUT]
    present = {d.task for d in controls if d.metric in (PERPLEXITY, ANSWERED_UNANSWERABLE)}
    for name in sorted(set(config.required_controls)):
        yield Reason(
            check=f"control {name}",
            passed=name in present,
            required="evaluated on both subjects",
            found="evaluated" if name in present else "not measured",
        )
    for d in controls:
        limit = {
            PERPLEXITY: config.max_perplexity_ratio,
            ANSWERED_UNANSWERABLE: config.max_answered_unanswerable,
        }.get(d.metric)
        if limit is None or (d.task in of_suites and d.metric == ANSWERED_UNANSWERABLE):
            continue
        held = d.change if d.is_ratio else d.candidate
        what = f"{ratio} perplexity" if d.is_ratio else "unanswerable questions answered"
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
        passed=d.candidate.value <= 0,
        required="no row with a loss that is not finite",
        found=f"{d.candidate.value:.1%} of {d.candidate.n} rows",
    )


def _declared(sources: Sequence[DeclaredSource], rules: SourceRules) -> Iterator[Reason]:
    for label, allowed in rules:
        if allowed is None:
            continue
        said = {s.name: getattr(s, label) for s in sources}
        wrong = [f"{name}: {word or 'not declared'}" for name, word in said.items() if word not in allowed]
        yield Reason(
            check=f"{label} of the sources",
            passed=bool(said) and not wrong,
            required=f"of each one of: {', '.join(allowed) or 'none'}",
            found=", ".join(wrong) or (", ".join(sorted(set(said.values()))) if said else "no source is recorded"),
        )


def _show(e: Estimate) -> str:
    return f"{e.value:.4f} [{e.low:.4f}, {e.high:.4f}], n {e.n}"

"""Which rule decided about a row, in words: what was measured, what that came to, and the key that sets the bound."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from steps.contracts.humanize import number

# Of one ledger line: reason, score, evidence; and the settings of its stage in that run.
_Rule: TypeAlias = Callable[[str, float | None, Mapping[str, Any], Mapping[str, Any]], str]


def rule_of(
    stage: str, reason: str, score: float | None, evidence: Mapping[str, Any], settings: Mapping[str, Any]
) -> str:
    """The rule in words; "" where the reason and the evidence say all there is to say.

    `settings`: the stage's in the run's resolved config; empty where that isn't known.
    """
    rule = _RULES.get(stage.split("_", maxsplit=1)[0])
    return rule(reason, score, evidence, settings) if rule is not None else ""


def _judge(reason: str, score: float | None, evidence: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if reason.startswith("undecided:"):
        return f"it has no verdict, and judge.undecided is {settings.get('undecided', 'not known')}"
    scores = evidence.get("scores") or {}
    criterion = _criterion(reason, scores, evidence.get("reasons") or {})
    share = f"the share of all points, {_value(score)}"
    threshold = settings.get("threshold")
    if reason == "below_threshold":
        return f"{share}, is below judge.threshold{_bound(threshold)}"
    wanted = settings.get("min_criterion_score")
    if criterion is not None and wanted is not None and scores[criterion] >= wanted:
        return f"{criterion} has {scores[criterion]} of 5{_because(evidence, criterion)}: worth a flag, not below" \
            f" judge.min_criterion_score{_bound(wanted)}"  # fmt: skip
    if criterion is not None:
        least = _bound(wanted)
        also = "" if threshold is None else f"; {share}, {_side(score, threshold)} judge.threshold{_bound(threshold)}"
        return f"{criterion} has {scores[criterion]} of 5{_because(evidence, criterion)}, less than" \
            f" judge.min_criterion_score{least}{also}"  # fmt: skip
    return ""


def _criterion(reason: str, scores: Mapping[str, int], reasons: Mapping[str, str]) -> str | None:
    """The criterion that a reason speaks of: by its name, or by the signal that lowered it."""
    named = reason.removeprefix("low_")
    if named in scores:
        return named
    return next((c for c in sorted(scores, key=lambda c: scores[c]) if reason in reasons.get(c, "")), None)


def _because(evidence: Mapping[str, Any], criterion: str) -> str:
    why = (evidence.get("reasons") or {}).get(criterion)
    return f" ({why})" if why else ""


def _side(score: float | None, bound: float) -> str:
    # As the judge compares: in whole points.
    return "passes" if score is not None and round(score, 9) >= bound else "is below"


def _dedup(reason: str, score: float | None, evidence: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    other = _other(evidence)
    if reason == "exact_duplicate":
        return f"it says the same as {other}, which wins"
    if reason == "near_duplicate":
        bound = _bound(settings.get("threshold"))
        return f"its Jaccard similarity with {other}, {_value(score)}, reaches dedup.threshold{bound}"
    return ""


def _semantic(reason: str, score: float | None, evidence: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if reason != "semantic_duplicate":
        return ""
    bound = _bound(settings.get("threshold"))
    return f"its cosine with {_other(evidence)}, {_value(score)}, reaches semantic.threshold{bound}"


def _leakcheck(reason: str, score: float | None, evidence: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    against = f"{evidence.get('against', 'held-out')} row {_other(evidence)}"
    if "overlap" in evidence:
        bound = _bound(settings.get("overlap"))
        grams = f"{evidence.get('ngram', 'n')}-grams of words"
        return f"{_value(evidence['overlap'])} of its {grams} stand in {against}: leakcheck.overlap{bound}"
    if "jaccard" in evidence or reason.startswith("near"):
        bound = _bound(settings.get("threshold"))
        return f"its similarity with {against}, {_value(score)}, reaches leakcheck.threshold{bound}"
    return f"it says the same as {against}"


def _screen(reason: str, score: float | None, evidence: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    group, _, rule = reason.partition(".")
    for section, names in (("unsafe", ("profanity",)), ("poisoned", tuple(settings.get("poisoned") or ()))):
        if group in names:
            key = rule if section == "unsafe" else group
            action = (settings.get(section) or {}).get(key)
            places = ", ".join(dict.fromkeys(str(h[1]) for h in evidence.get("hits") or () if h[0] == reason))
            said = "" if action is None else f"; screen.{section}.{key} is {action}"
            return f"rule {reason} matched in {places or 'its text'}{said}"
    return ""


def _ingest(reason: str, score: float | None, evidence: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    said = {
        "sampled_out": "the `sample` of its source leaves it out, by the hash of its content",
        "mixed_out": "the `weight` of its source leaves it out, by the hash of its content",
    }
    return said.get(reason, "")


def _train(reason: str, score: float | None, evidence: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if reason in ("overlong", "truncated"):
        return f"it has more tokens than train.max_length{_bound(settings.get('max_length'))}"
    return ""


def _other(evidence: Mapping[str, Any]) -> str:
    return str(evidence.get("witness") or "another row")


def _value(value: float | None) -> str:
    """All digits that may decide: a value that is rounded up to its bound says nothing."""
    return "none" if value is None else f"{value:.9g}"


def _bound(value: Any) -> str:
    return "" if value is None else f" ({value if isinstance(value, str) else number(value)})"


_RULES: Mapping[str, _Rule] = {
    "ingest": _ingest,
    "dedup": _dedup,
    "screen": _screen,
    "semantic": _semantic,
    "judge": _judge,
    "leakcheck": _leakcheck,
    "train": _train,
}

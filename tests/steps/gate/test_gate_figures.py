"""The gate's checks on differences written down by hand: exactly met, just missed, and in which words."""

import pytest

from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, IntegrityError
from steps.contracts.evaluation import Compared, Comparison, Decision, Difference, Estimate, Reason
from steps.gate.config import GateConfig
from steps.gate.gate import decide, gate

STEP = 1e-9


def estimate(value: float, low: float, high: float, n: int = 200) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=n)


def differs(metric: str, task: str = "held_out", **parts: object) -> Difference:
    """A metric that rose from 0.5 to 0.7, give or take 0.05; `parts` replaces fields."""
    given = {
        "reference": estimate(0.5, 0.45, 0.55), "candidate": estimate(0.7, 0.65, 0.75),
        "change": estimate(0.2, 0.15, 0.25), "is_ratio": False,
    }  # fmt: skip
    return Difference(task=task, metric=metric, subject="tuned", **{**given, **parts})


def decided(*differences: Difference, **settings: object) -> Decision:
    comparison = Comparison(
        reference=Compared(name="base", digest="b"),
        candidates=(Compared(name="tuned", digest="t"),),
        dataset_digest="d",
        differences=differences,
    )
    return decide(comparison, GateConfig(**settings))


def reason(decision: Decision, check: str) -> Reason:
    (found,) = (r for r in decision.reasons if r.check == check)
    return found


def test_the_gain_in_words_and_figures() -> None:
    decision = decided(differs("exact_match"), min_gain_lower_bound=0.1)
    assert decision.promote
    assert (decision.reference, decision.candidate) == ("base", "tuned")
    assert decision.config_digest == value_digest(GateConfig(min_gain_lower_bound=0.1).model_dump(mode="json"))
    assert reason(decision, "gain in exact_match") == Reason(
        check="gain in exact_match",
        passed=True,
        required="lower bound of the gain above 0.1",
        found="0.1500 (base 0.5000 [0.4500, 0.5500], n 200, tuned 0.7000 [0.6500, 0.7500], n 200,"
        " tuned - base 0.2000 [0.1500, 0.2500], n 200)",
    )
    assert reason(decision, "rows behind exact_match").found == "200"


@pytest.mark.parametrize(
    ("metric", "change", "is_ratio", "bound"),
    [
        ("exact_match", estimate(0.2, 0.15, 0.25), False, 0.15),
        # Lower is better: the gain is what the loss fell by at least.
        ("loss", estimate(-0.2, -0.25, -0.15), False, 0.15),
        # A ratio of 0.9 at most: it fell by a tenth at least.
        ("general/perplexity", estimate(0.85, 0.8, 0.9), True, 0.1),
    ],
)
def test_the_gain_must_lie_above_its_bound_not_on_it(
    metric: str, change: Estimate, is_ratio: bool, bound: float
) -> None:
    task, _, name = metric.rpartition("/")
    one = differs(name, task or "held_out", change=change, is_ratio=is_ratio)
    settings = {"metric": metric, "max_perplexity_ratio": None}
    check = f"gain in {metric}"
    assert not reason(decided(one, min_gain_lower_bound=bound + STEP, **settings), check).passed
    assert reason(decided(one, min_gain_lower_bound=bound - STEP, **settings), check).passed
    assert not reason(decided(differs(name, task or "held_out", change=estimate(0, 0, 0)), metric=metric), check).passed


def test_the_gain_in_perplexity_in_words() -> None:
    ratio = differs("perplexity", change=estimate(0.85, 0.8, 0.9), is_ratio=True)
    found = reason(decided(ratio, metric="perplexity"), "gain in perplexity").found
    assert found.startswith("0.1000 (base 0.5000 ") and found.endswith("tuned / base 0.8500 [0.8000, 0.9000], n 200)")


def test_a_tie_is_no_gain() -> None:
    assert not decided(differs("exact_match", change=estimate(0.0, 0.0, 0.0))).promote


def test_the_first_metric_of_the_usual_order_is_taken_unless_one_is_named() -> None:
    measured = [differs(m) for m in ("loss", "rouge_l", "exact_match", "field_accuracy")]
    for left in range(len(measured), 0, -1):
        assert decided(*measured[:left]).reasons[0].check == f"gain in {measured[left - 1].metric}"
    assert decided(*measured, metric="rouge_l").reasons[0].check == "gain in rouge_l"
    nothing = decided(differs("json_valid"))
    assert nothing.reasons[0] == Reason(
        check="gain in field_accuracy or exact_match or rouge_l or loss or preference_accuracy", passed=False,
        required="lower bound of the gain above 0", found="not measured",
    )  # fmt: skip


def test_a_control_of_the_same_metric_is_not_the_held_out_one() -> None:
    assert decided(differs("exact_match", "general")).reasons[0].found == "not measured"
    assert decided(differs("exact_match", "general"), metric="general/exact_match").promote


def test_rows_exactly_as_many_as_required() -> None:
    one = differs("exact_match")
    assert reason(decided(one, min_n=200), "rows behind exact_match").passed
    assert not reason(decided(one, min_n=201), "rows behind exact_match").passed


@pytest.mark.parametrize(("bounds", "side", "at"), [("interval", "lower bound", 0.65), ("value", "value", 0.7)])
def test_a_floor_holds_where_it_is_met_exactly(bounds: str, side: str, at: float) -> None:
    one, valid = differs("exact_match"), differs("json_valid")
    met = reason(decided(one, valid, floors={"json_valid": at}, bounds=bounds), "floor of json_valid")
    assert met == Reason(
        check="floor of json_valid", passed=True, required=f"{side} of tuned at least {at:g}",
        found="0.7000 [0.6500, 0.7500], n 200",
    )  # fmt: skip
    missed = decided(one, valid, floors={"json_valid": at + STEP}, bounds=bounds)
    assert not reason(missed, "floor of json_valid").passed and not missed.promote
    unmeasured = reason(decided(one, floors={"json_valid": 0.0}, bounds=bounds), "floor of json_valid")
    assert (unmeasured.passed, unmeasured.found) == (False, "not measured")


@pytest.mark.parametrize(("bounds", "side", "at"), [("interval", "upper bound", 0.75), ("value", "value", 0.7)])
def test_a_ceiling_holds_where_it_is_met_exactly(bounds: str, side: str, at: float) -> None:
    one, declined = differs("exact_match"), differs("over_declined")
    met = reason(decided(one, declined, ceilings={"over_declined": at}, bounds=bounds), "ceiling of over_declined")
    assert met == Reason(
        check="ceiling of over_declined", passed=True, required=f"{side} of tuned at most {at:g}",
        found="0.7000 [0.6500, 0.7500], n 200",
    )  # fmt: skip
    missed = decided(one, declined, ceilings={"over_declined": at - STEP}, bounds=bounds)
    assert not reason(missed, "ceiling of over_declined").passed and not missed.promote
    unmeasured = reason(decided(one, ceilings={"over_declined": 1.0}, bounds=bounds), "ceiling of over_declined")
    assert (unmeasured.passed, unmeasured.found) == (False, "not measured")


def test_forgetting_is_held_against_the_upper_bound_of_the_ratio() -> None:
    ratio = differs("perplexity", "general", change=estimate(1.05, 1.0, 1.1, n=20), is_ratio=True)
    check = "general: tuned / base perplexity"
    met = decided(differs("exact_match"), ratio, max_perplexity_ratio=1.1, min_control_n=20)
    assert met.promote
    assert reason(met, check) == Reason(
        check=check, passed=True, required="upper bound at most 1.1", found="1.0500 [1.0000, 1.1000], n 20"
    )
    assert reason(met, "general: rows behind it").found == "20"
    assert not decided(differs("exact_match"), ratio, max_perplexity_ratio=1.1 - STEP, min_control_n=20).promote
    assert not decided(differs("exact_match"), ratio, min_control_n=21).promote


def test_answered_unanswerables_are_held_against_the_candidates_upper_bound() -> None:
    one = differs("answered_unanswerable", "unknown", candidate=estimate(0.05, 0.0, 0.1))
    check = "unknown: unanswerable questions answered"
    met = decided(differs("exact_match"), one, max_answered_unanswerable=0.1)
    assert met.promote and reason(met, check).found == "0.0500 [0.0000, 0.1000], n 200"
    assert not decided(differs("exact_match"), one, max_answered_unanswerable=0.1 - STEP).promote
    assert decided(differs("exact_match"), one, max_answered_unanswerable=None).promote


def test_a_required_control_counts_only_when_its_own_metric_was_measured() -> None:
    wanted = {"required_controls": ("general",)}
    ratio = differs("perplexity", "general", change=estimate(1.0, 1.0, 1.0), is_ratio=True)
    assert reason(decided(differs("exact_match"), ratio, **wanted), "control general") == Reason(
        check="control general", passed=True, required="evaluated on both subjects", found="evaluated"
    )
    for others in ((), (differs("loss", "general"),), (differs("perplexity", "other", is_ratio=True),)):
        found = reason(decided(differs("exact_match"), *others, **wanted), "control general")
        assert (found.passed, found.found) == (False, "not measured")


def test_one_loss_that_is_not_finite_refuses() -> None:
    broken = differs("non_finite", candidate=estimate(0.005, 0.0, 0.015))
    found = decided(differs("exact_match"), broken)
    assert not found.promote
    assert reason(found, "held_out: finite losses") == Reason(
        check="held_out: finite losses", passed=False, required="no row with a loss that is not finite",
        found="0.5% of 200 rows",
    )  # fmt: skip
    assert decided(differs("exact_match"), differs("non_finite", candidate=estimate(0, 0, 0))).promote


def test_nothing_to_compare_is_an_error_that_names_the_subjects() -> None:
    with pytest.raises(ConfigError, match=r"(?s)gate.reference: no subject 'base' was evaluated.*there are \[\]"):
        gate([], GateConfig())


def test_integrity_errors_say_where_and_the_way_out() -> None:
    from steps.gate.gate import _check_reported, _same

    with pytest.raises(IntegrityError) as unlike:
        _same("decoding", "greedy", "sampled")
    assert str(unlike.value) == (
        "gate: two subjects were not measured alike: decoding differ: greedy and sampled\n"
        "  way out: evaluate both again with the same dataset and settings"
    )
    from steps.contracts.evaluation import Metric

    said = Metric(name="exact_match", estimate=estimate(0.5, 0.4, 0.6))
    for found, shown in (
        (None, "None"),
        (estimate(0.5, 0.4, 0.6, n=199), "0.5"),
        (estimate(0.5 + 1e-8, 0, 1), "0.50000001"),
    ):
        with pytest.raises(IntegrityError) as other:
            _check_reported("held_out", said, found)
        assert str(other.value) == (
            f"gate, task held_out: the report says exact_match = 0.5 (n 200), its answers give {shown}\n"
            "  way out: report and answers must come from one evaluation"
        )
    _check_reported("held_out", said, estimate(0.5 * (1 + 5e-10), 0.4, 0.6))

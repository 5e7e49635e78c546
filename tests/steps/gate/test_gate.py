import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.contracts.errors import ConfigError, IntegrityError
from steps.contracts.evaluation import (
    Compared,
    Comparison,
    Difference,
    Estimate,
    EvalReport,
    Evaluation,
    Metric,
    TaskResult,
)
from steps.contracts.provenance import DeclaredSource
from steps.engines.scoring.answers import Answered, write_answers
from steps.engines.scoring.metrics import LOWER_IS_BETTER, estimate, metric_names
from steps.gate.config import GateConfig
from steps.gate.gate import compare, decide, gain_bound, gate

KINDS = {"held_out": "held_out", "general": "perplexity", "unknown": "unanswerable"}


def evaluation(path, tasks, subject="base"):
    """A report and its answers from {task: [scores per row]}, made with the evaluation's own arithmetic."""
    rows = [
        Answered(task, f"r{i:04d}", "p", f"ref {i}", "a", scores) for task, all_scores in tasks.items()
        for i, scores in enumerate(all_scores)
    ]  # fmt: skip
    results = []
    for task, scores in tasks.items():
        metrics = [Metric(name=n, estimate=estimate(n, scores), higher_is_better=n not in LOWER_IS_BETTER)
                   for n in metric_names(scores)]  # fmt: skip
        results.append(
            TaskResult(
                task=task, version="1", kind=KINDS[task], data_digest=f"d-{task}", n=len(scores), metrics=metrics
            )
        )
    report = EvalReport(
        subject=subject, model_digest=subject[0] * 64, dataset_digest="data", tasks=tuple(results),
        decoding='{"beams":1}', seconds=0, cpu_seconds=0,
    )  # fmt: skip
    return Evaluation(report, write_answers(rows, path / f"{subject}.parquet"))


SUBJECTS = {
    "reference": Compared(name="base", digest="b"),
    "candidates": (Compared(name="tuned", digest="t"),),
}  # fmt: skip


def shares(values, name="exact_match"):
    return [{name: float(v)} for v in values]


def losses(nats, tokens=10.0):
    return [{"nats": float(x), "tokens": tokens, "non_finite": 0.0} for x in nats]


def both(tmp_path, base, tuned):
    return compare(evaluation(tmp_path, base), [evaluation(tmp_path, tuned, "tuned")])


def by_name(comparison):
    return {(d.task, d.metric): d for d in comparison.differences}


def test_a_clear_gain_is_promoted_and_every_check_is_told(tmp_path):
    right = np.arange(200) % 10
    found = both(tmp_path, {"held_out": shares(right < 5)}, {"held_out": shares(right < 8)})
    d = by_name(found)["held_out", "exact_match"]
    assert (d.reference.value, d.candidate.value, d.change.value, d.change.n) == (0.5, 0.8, pytest.approx(0.3), 200)
    decision = decide(found, GateConfig())
    assert decision.promote
    assert [r.check for r in decision.reasons] == ["gain in exact_match", "rows behind exact_match"]


def test_a_tie_a_loss_and_a_gain_within_noise_are_not_promoted(tmp_path):
    generator = np.random.default_rng(0)
    base = generator.random(200) < 0.5
    for tuned in (base, base & (generator.random(200) < 0.5), generator.random(200) < 0.52):
        assert not decide(both(tmp_path, {"held_out": shares(base)}, {"held_out": shares(tuned)}), GateConfig()).promote


def test_too_few_rows_are_not_promoted(tmp_path):
    found = both(tmp_path, {"held_out": shares([0] * 99)}, {"held_out": shares([1] * 99)})
    decision = decide(found, GateConfig())
    assert [r.passed for r in decision.reasons] == [True, False]
    assert not decision.promote
    assert decide(found, GateConfig(min_n=99)).promote


def test_the_interval_is_the_one_of_paired_rows(tmp_path):
    # The pairs gain 0.1 or 0.11, so the paired interval is narrow while each side's own is wide.
    base = np.random.default_rng(1).random(150) * 0.8
    gained = {"held_out": shares(base + 0.1 + 0.01 * (np.arange(150) % 2))}
    d = by_name(both(tmp_path, {"held_out": shares(base)}, gained))["held_out", "exact_match"]
    assert 0.1 < d.change.low < 0.105 < d.change.high < 0.11
    assert d.reference.high - d.reference.low > 0.05


def test_rows_that_all_say_the_same_leave_room_for_those_not_seen(tmp_path):
    # Wilson's upper bound of 0 of 16 is z^2 / (16 + z^2) = 3.8415 / 19.8415 = 0.19361.
    refusals = {"held_out": shares([0] * 100), "unknown": shares([1] * 16, "answered_unanswerable")}
    declines = {"held_out": shares([1] * 100), "unknown": shares([0] * 16, "answered_unanswerable")}
    found = both(tmp_path, refusals, declines)
    refused = decide(found, GateConfig(min_control_n=16))
    assert [(r.check, r.found) for r in refused.reasons if not r.passed] == [
        ("unknown: unanswerable questions answered", "0.0000 [0.0000, 0.1936], n 16")
    ]
    assert decide(found, GateConfig(min_control_n=16, max_answered_unanswerable=0.194)).promote
    # 3.8415 / 103.8415 = 0.036993: all 100 rows gain 1, and that share might have lost 1.
    gain = by_name(found)["held_out", "exact_match"].change
    assert (gain.value, gain.high) == (1.0, 1.0) and gain.low == pytest.approx(1 - 2 * 0.036993, abs=1e-5)
    half = {"held_out": shares([0.5] * 100)}
    tie = by_name(both(tmp_path, half, half))["held_out", "exact_match"]
    for e, low, high in ((tie.change, -0.036993, 0.036993), (tie.candidate, 0.481503, 0.518497)):
        assert (e.low, e.high) == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))


def answers(share, shift):
    """200 held-out rows whose loss is lower by `shift`, that share of them in loops."""
    nats = np.random.default_rng(3).random(200) * 10 + 20 - shift
    faults = [float(i < 200 * share) for i in range(200)]
    rows = zip(losses(nats), faults, strict=True)
    return {"held_out": [row | {"looping": f, "degenerate": f} for row, f in rows]}


def test_a_model_that_degenerates_is_not_promoted_for_its_loss(tmp_path):
    loops = both(tmp_path, answers(1.0, 0), answers(0.9, 10))
    refused = decide(loops, GateConfig())
    assert [r.check for r in refused.reasons if not r.passed] == ["degenerate answers"]
    assert refused.reasons[2].found.endswith("n 200 (looping 90.0%)")
    assert decide(loops, GateConfig(max_degenerate=None)).promote
    # 5 of 200: Wilson's upper bound is 0.0573; 20 of 200: 0.1494.
    assert decide(both(tmp_path, answers(0, 0), answers(0.025, 10)), GateConfig()).promote
    assert not decide(both(tmp_path, answers(0, 0), answers(0.1, 10)), GateConfig()).promote


def test_documents_gone_on_with_have_a_limit_of_their_own(tmp_path):
    def texts(share, shift):
        rows = answers(share, shift)["held_out"]
        return {"held_out": [{"degenerate_continuation": r.pop("degenerate"), **r} for r in rows]}

    assert decide(both(tmp_path, texts(0.3, 0), texts(0.3, 10)), GateConfig()).promote
    refused = decide(both(tmp_path, texts(1, 0), texts(1, 10)), GateConfig())
    assert [r.check for r in refused.reasons if not r.passed] == ["degenerate continuations of documents"]


def test_forgetting_is_a_ratio_of_perplexities(tmp_path):
    nats = np.random.default_rng(2).random(40) * 10 + 20
    base = {"held_out": shares([0] * 100), "general": losses(nats)}
    tuned = {"held_out": shares([1] * 100), "general": losses(nats + 10 * math.log(1.2))}
    found = both(tmp_path, base, tuned)
    d = by_name(found)["general", "perplexity"]
    assert d.is_ratio and d.change.value == pytest.approx(1.2) and d.change.high == pytest.approx(1.2)
    refused = decide(found, GateConfig())
    assert [r.check for r in refused.reasons if not r.passed] == ["general: tuned / base perplexity"]
    assert decide(found, GateConfig(max_perplexity_ratio=1.21)).promote
    assert decide(found, GateConfig(max_perplexity_ratio=None)).promote
    assert not decide(found, GateConfig(max_perplexity_ratio=1.21, min_control_n=41)).promote


def test_answered_unanswerables_have_a_ceiling(tmp_path):
    base = {"held_out": shares([0] * 100), "unknown": shares([1] * 30, "answered_unanswerable")}
    tuned = {"held_out": shares([1] * 100), "unknown": shares([1] * 6 + [0] * 24, "answered_unanswerable")}
    found = both(tmp_path, base, tuned)
    assert [r.check for r in decide(found, GateConfig()).reasons if not r.passed] == [
        "unknown: unanswerable questions answered"
    ]
    assert decide(found, GateConfig(max_answered_unanswerable=0.4)).promote


def test_a_required_control_that_was_not_evaluated_stops(tmp_path):
    found = both(tmp_path, {"held_out": shares([0] * 100)}, {"held_out": shares([1] * 100)})
    decision = decide(found, GateConfig(required_controls=("general",)))
    assert [(r.check, r.found) for r in decision.reasons if not r.passed] == [("control general", "not measured")]


def test_floors_and_ceilings_read_the_bound_or_the_value(tmp_path):
    found = both(tmp_path, {"held_out": shares([0] * 100)}, {"held_out": shares([1] * 96 + [0] * 4)})
    assert not decide(found, GateConfig(floors={"exact_match": 0.95})).promote
    assert decide(found, GateConfig(floors={"exact_match": 0.95}, bounds="value")).promote
    assert not decide(found, GateConfig(floors={"exact_match": 0.97}, bounds="value")).promote
    assert not decide(found, GateConfig(ceilings={"exact_match": 0.97})).promote
    assert not decide(found, GateConfig(floors={"json_valid": 0.0})).promote
    assert not decide(found, GateConfig(ceilings={"over_declined": 1.0})).promote


def test_lower_loss_is_gain(tmp_path):
    nats = np.random.default_rng(3).random(120) * 10 + 20
    better, worse = ({"held_out": losses(nats + by)} for by in (-5, 5))
    base = {"held_out": losses(nats)}
    assert decide(both(tmp_path, base, better), GateConfig()).promote
    assert not decide(both(tmp_path, base, worse), GateConfig()).promote
    assert decide(both(tmp_path, base, better), GateConfig(metric="perplexity", min_gain_lower_bound=0.3)).promote
    assert not decide(both(tmp_path, base, better), GateConfig(metric="perplexity", min_gain_lower_bound=0.5)).promote


def test_a_model_whose_loss_is_not_finite_is_not_promoted(tmp_path):
    base = {"held_out": [{**a, **b} for a, b in zip(shares([0] * 100), losses([20] * 100), strict=True)]}
    tuned = {"held_out": [{**a, **b} for a, b in zip(shares([1] * 100), losses([10] * 100), strict=True)]}
    tuned["held_out"][7] |= {"nats": None, "tokens": None, "non_finite": 1.0}
    found = both(tmp_path, base, tuned)
    assert ("held_out", "loss") not in by_name(found)
    assert [r.check for r in decide(found, GateConfig()).reasons if not r.passed] == ["held_out: finite losses"]


@pytest.mark.parametrize("metric", [None, "exact_match", "general/loss"])
def test_nothing_measured_never_passes(metric):
    empty = comparison_of([])
    decision = decide(empty, GateConfig(metric=metric, min_n=1, min_gain_lower_bound=-9))
    assert not decision.promote
    assert decision.reasons[0].found == "not measured"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"dataset_digest": "other"}, "dataset differ: data and other"),
        ({"decoding": '{"beams":4}'}, 'decoding differ: {"beams":1} and {"beams":4}'),
        (
            {"decoding": '{"beams":1,"template":{"thinking":"on"}}'},
            'decoding differ: {"template":null} and {"template":{"thinking":"on"}}',
        ),
        ({"tasks": ()}, "tasks differ: [('held_out', 'held_out', '1', 'd-held_out', 2)] and []"),
    ],
)
def test_other_data_or_decoding_is_refused(tmp_path, changed, says):
    one = evaluation(tmp_path, {"held_out": shares([0, 1])})
    other = evaluation(tmp_path, {"held_out": shares([1, 1])}, "tuned")
    with pytest.raises(IntegrityError) as e:
        compare(one, [replace(other, report=other.report.model_copy(update=changed))])
    assert e.value.what == f"two subjects were not measured alike: {says}"


def test_subjects_may_end_their_answers_at_tokens_of_their_own(tmp_path):
    one = evaluation(tmp_path, {"held_out": shares([0, 1])})
    other = evaluation(tmp_path, {"held_out": shares([1, 1])}, "tuned")
    ends = [e.report.model_copy(update={"decoding": d}) for e, d in
            ((one, '{"beams":1,"stop_token_ids":[2]}'), (other, '{"stop_token_ids":[2,7],"beams":1}'))]  # fmt: skip
    compared = compare(replace(one, report=ends[0]), [replace(other, report=ends[1])])
    assert compared.differences


def test_other_rows_references_or_tokens_are_refused(tmp_path):
    one = evaluation(tmp_path, {"held_out": losses([1, 2])})
    rows = [Answered("held_out", f"r{i:04d}", "p", f"ref {i}", "a", s) for i, s in enumerate(losses([1, 2]))]
    cases = {
        "task held_out: rows differ: ['r0000', 'r0001'] and ['r0000', 'zz']": [rows[0], replace(rows[1], row_id="zz")],
        "task held_out: references differ: ['ref 0', 'ref 1'] and ['ref 0', 'else']": [
            rows[0], replace(rows[1], reference="else")
        ],
        "task held_out: row r0001: tokens differ: 10.0 and 9.0": [
            rows[0], replace(rows[1], scores={"nats": 2.0, "tokens": 9.0, "non_finite": 0.0})
        ],
        "task held_out: rows differ: ['r0000', 'r0001'] and ['r0000']": rows[:1],
        "task held_out: rows differ: ['r0000', 'r0001'] and ['r0000', 'r0001', 'zz']": [
            *rows, replace(rows[0], row_id="zz")
        ],
        "answered tasks differ: ['held_out'] and ['other']": [replace(r, task="other") for r in rows],
    }  # fmt: skip
    for says, wrong in cases.items():
        with pytest.raises(IntegrityError) as e:
            compare(one, [Evaluation(one.report, write_answers(wrong, tmp_path / "wrong.parquet"))])
        assert e.value.what == f"two subjects were not measured alike: {says}"


def test_answers_that_are_not_the_reports_are_refused(tmp_path):
    one = evaluation(tmp_path, {"held_out": shares([0, 1])})
    rows = [Answered("held_out", f"r{i:04d}", "p", f"ref {i}", "a", {"exact_match": float(i)}) for i in (0, 1)]
    for says, wrong in {
        "answered tasks differ: ['other'] and ['held_out']": [replace(r, task="other") for r in rows],
        "task held_out: number of rows differ: 1 and 2": rows[:1],
    }.items():
        answers = write_answers(wrong, tmp_path / "wrong.parquet")
        with pytest.raises(IntegrityError) as e:
            compare(Evaluation(one.report, answers), [Evaluation(one.report, answers)])
        assert e.value.what == f"two subjects were not measured alike: {says}"


def test_answers_of_another_evaluation_are_refused(tmp_path):
    one = evaluation(tmp_path, {"held_out": shares([0, 1, 1])})
    other = evaluation(tmp_path, {"held_out": shares([1, 1, 1])}, "tuned")
    mixed = Evaluation(one.report, other.answers)
    for pair in ((one, mixed), (mixed, one)):
        with pytest.raises(IntegrityError, match=r"^gate, task held_out: the report says .* its answers give 1\.0"):
            compare(pair[0], [pair[1]])


def test_a_metric_that_is_not_defined_on_the_same_rows_is_refused(tmp_path):
    one = evaluation(tmp_path, {"held_out": shares([0, 1])})
    other = evaluation(tmp_path, {"held_out": [{"exact_match": 1.0}, {"exact_match": None}]}, "tuned")
    with pytest.raises(IntegrityError) as e:
        compare(one, [other])
    assert str(e.value) == (
        "gate, task held_out: exact_match: reference and candidate are not defined on the same rows"
    )


def test_every_candidate_is_compared_and_one_is_judged_by_its_name(tmp_path):
    right = np.arange(200) % 10
    tried = {
        name: evaluation(tmp_path, {"held_out": shares(right < n)}, name)
        for name, n in {"champion": 6, "sft": 7, "dpo": 9, "weak": 5}.items()
    }  # fmt: skip
    comparison, decision = gate(list(tried.values()), GateConfig(reference="champion", candidate="dpo"))
    assert comparison.reference == Compared(name="champion", digest="c" * 64)
    assert [c.name for c in comparison.candidates] == ["sft", "dpo", "weak"]
    changes = {c.name: comparison.of(c.name)[0].change.value for c in comparison.candidates}
    assert changes == {n: pytest.approx(x) for n, x in {"sft": 0.1, "dpo": 0.3, "weak": -0.1}.items()}
    assert (decision.promote, decision.reference, decision.candidate) == (True, "champion", "dpo")
    assert "champion 0.6000" in decision.reasons[0].found and "dpo - champion 0.3000" in decision.reasons[0].found
    # Nobody named: the last one, here the one that is worse.
    assert gate(list(tried.values()), GateConfig(reference="sft"))[1].candidate == "weak"
    assert not gate(list(tried.values()), GateConfig(reference="sft"))[1].promote


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"reference": "nobody"}, "gate.reference: no subject 'nobody' was evaluated\n  way out: there are"),
        ({"candidate": "nobody"}, "gate.candidate: no subject 'nobody' was evaluated\n  way out: there are"),
        ({"candidate": "base"}, "gate: nothing to compare the reference with\n  way out: the subjects are"),
    ],
)
def test_a_subject_that_was_not_evaluated_is_a_mistake_in_the_config(tmp_path, named, says):
    pair = [evaluation(tmp_path, {"held_out": shares([0, 1])}, name) for name in ("base", "tuned")]
    with pytest.raises(ConfigError) as e:
        gate(pair, GateConfig(**named))
    assert str(e.value) == f"{says} ['base', 'tuned']"
    with pytest.raises(ConfigError, match="nothing to compare"):
        gate(pair[:1], GateConfig())


def test_a_comparison_of_an_earlier_version_is_read():
    half = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    old = {
        "base_digest": "b", "tuned_digest": "t", "dataset_digest": "d",
        "differences": [
            {"task": "held_out", "metric": "loss", "base": half, "tuned": half | {"value": 0.41}, "change": half,
             "is_ratio": False}
        ],
    }  # fmt: skip
    read = Comparison.model_validate_json(json.dumps(old))
    assert {"reference": read.reference, "candidates": read.candidates} == SUBJECTS
    (d,) = read.of("tuned")
    assert (d.reference.value, d.candidate.value, d.change.n) == (0.5, 0.41, 9)
    assert Comparison.model_validate_json(read.model_dump_json()) == read


NUMBERS = st.floats(0, 2)


@st.composite
def differences(draw):
    task, metric = draw(
        st.sampled_from(
            [("held_out", "exact_match"), ("held_out", "json_valid"), ("held_out", "loss"),
             ("held_out", "over_declined"), ("general", "perplexity"), ("unknown", "answered_unanswerable")]
        )
    )  # fmt: skip
    n = draw(st.sampled_from([5, 50, 200]))

    def one(sign=0.0):
        low, value, high = sorted(draw(st.tuples(NUMBERS, NUMBERS, NUMBERS)))
        return Estimate(value=value - sign, low=low - sign, high=high - sign, n=n)

    ratio = metric == "perplexity"
    return Difference(
        task=task, metric=metric, subject="tuned", reference=one(), candidate=one(),
        change=one(0 if ratio else 1), is_ratio=ratio,
    )  # fmt: skip


CONFIGS = st.builds(
    GateConfig,
    metric=st.sampled_from([None, "exact_match", "loss"]),
    min_gain_lower_bound=st.sampled_from([-1.0, -0.9, -0.5, 0.0]),
    min_n=st.sampled_from([1, 40]),
    min_control_n=st.sampled_from([1, 20]),
    # Mostly none: a metric that wasn't drawn can't hold them.
    floors=st.sampled_from([{}, {}, {}, {"json_valid": 0.2}]),
    ceilings=st.sampled_from([{}, {}, {}, {"over_declined": 1.5}]),
    bounds=st.sampled_from(["interval", "value"]),
    max_perplexity_ratio=st.sampled_from([None, 1.5]),
    max_answered_unanswerable=st.sampled_from([None, 0.9]),
)


def comparison_of(found):
    unique = {(d.task, d.metric): d for d in found}
    return Comparison(**SUBJECTS, dataset_digest="d", differences=tuple(unique.values()))


def shifted(e, by):
    return Estimate(value=e.value + by, low=e.low + by, high=e.high + by, n=e.n)


def improved(d, by):
    sign = -by if d.metric in LOWER_IS_BETTER else by
    return d.model_copy(update={"candidate": shifted(d.candidate, sign), "change": shifted(d.change, sign)})


# The gate promoted in some of the drawn cases and refused in others: see the counts below.
SEEN = {True: 0, False: 0}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(differences(), min_size=1, max_size=4), CONFIGS, st.floats(0, 1), st.data())
def test_deciding_is_monotone(found, config, by, data):
    before = decide(comparison_of(found), config)
    SEEN[before.promote] += 1
    unique = comparison_of(found).differences
    better = [improved(d, by) if data.draw(st.booleans()) else d for d in unique]
    after = decide(comparison_of(better), config)
    assert after.promote or not before.promote
    for a, b in zip(before.reasons, after.reasons, strict=True):
        assert b.passed or not a.passed


def test_the_monotone_property_reached_both_verdicts():
    if not sum(SEEN.values()):
        pytest.skip("runs after the property")
    assert min(SEEN.values()) >= 10, SEEN


@settings(max_examples=100, deadline=None)
@given(st.lists(differences(), min_size=1, max_size=7), CONFIGS, st.data())
def test_a_nan_never_passes_the_check_that_reads_it(found, config, data):
    nan = Estimate.model_construct(value=math.nan, low=math.nan, high=math.nan, n=1_000)
    unique = list(comparison_of(found).differences)
    i = data.draw(st.integers(0, len(unique) - 1))
    unique[i] = unique[i].model_copy(update={"candidate": nan, "change": nan})
    comparison = Comparison.model_construct(**SUBJECTS, dataset_digest="d", differences=unique)
    assert not gain_bound(unique[i]) > -math.inf
    for reason in decide(comparison, config).reasons:
        if "nan" in reason.found:
            assert not reason.passed


def over_champion(path, base, champion, tuned, **settings):
    subjects = (evaluation(path, base), evaluation(path, champion, "champion"), evaluation(path, tuned, "tuned"))
    return gate(subjects, GateConfig(**settings))


def test_a_candidate_must_beat_the_champion_too_where_that_is_asked(tmp_path):
    right = np.arange(200) % 10
    base, champion, tuned = ({"held_out": shares(right < n)} for n in (3, 7, 5))
    assert over_champion(tmp_path, base, champion, tuned)[1].promote
    comparison, decision = over_champion(tmp_path, base, champion, tuned, min_gain_over_champion=0)
    reasons = {r.check: r for r in decision.reasons}
    assert not decision.promote and reasons["gain in exact_match"].passed
    refused = reasons["over the champion: gain in exact_match"]
    assert not refused.passed and "champion 0.7000" in refused.found and "tuned 0.5000" in refused.found
    (d,) = comparison.over_champion
    assert (d.reference.value, d.candidate.value, d.change.value) == (0.7, 0.5, pytest.approx(-0.2))
    assert over_champion(tmp_path, base, tuned, champion, min_gain_over_champion=0)[1].promote
    assert over_champion(tmp_path, base, champion, tuned, min_gain_over_champion=-0.3)[1].promote


@pytest.mark.parametrize("champion", ["base", "tuned"])
def test_a_base_in_its_place_and_the_champion_itself_ask_nothing(tmp_path, champion):
    rows = {"held_out": shares(np.arange(200) % 2)}
    base, tuned = evaluation(tmp_path, rows), evaluation(tmp_path, {"held_out": shares(np.ones(200))}, "tuned")
    same = evaluation(tmp_path, {"held_out": shares(np.ones(200))} if champion == "tuned" else rows, "champion")
    digest = (tuned if champion == "tuned" else base).report.model_digest
    same = replace(same, report=same.report.model_copy(update={"model_digest": digest}))
    comparison, decision = gate((base, same, tuned), GateConfig(min_gain_over_champion=0))
    assert decision.promote and comparison.over_champion == ()
    assert [r.check for r in decision.reasons] == ["gain in exact_match", "rows behind exact_match"]


SOURCES = (
    DeclaredSource(name="chat", location="chat.jsonl", licence="CC-BY-4.0", access="public", consent="given"),
    DeclaredSource(name="mails", location="mails/", access="restricted"),
)


@pytest.mark.parametrize(
    ("rules", "sources", "found"),
    [
        ({}, SOURCES, {}),
        ({"access": ("public", "restricted")}, SOURCES, {"access": (True, "public, restricted")}),
        ({"access": ("public",)}, SOURCES, {"access": (False, "mails: restricted")}),
        ({"consent": ("given",)}, SOURCES, {"consent": (False, "mails: not declared")}),
        ({"licence": ("CC-BY-4.0",), "consent": ("given",)}, SOURCES[:1],
         {"licence": (True, "CC-BY-4.0"), "consent": (True, "given")}),
        ({"access": ()}, SOURCES[:1], {"access": (False, "chat: public")}),
        ({"access": ("public",)}, (), {"access": (False, "no source is recorded")}),
    ],
)  # fmt: skip
def test_what_sources_declare_can_refuse_a_model(tmp_path, rules, sources, found):
    better = both(tmp_path, {"held_out": shares([0] * 100)}, {"held_out": shares([1] * 100)})
    decision = decide(better, GateConfig(sources=rules), sources)
    told = {r.check.split()[0]: (r.passed, r.found) for r in decision.reasons if r.check.endswith("of the sources")}
    assert told == found and decision.promote == all(passed for passed, _ in found.values())

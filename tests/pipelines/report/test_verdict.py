"""Whether training was worth it, in words that follow from the figures."""

import pytest
from support.sample_run import record

from pipelines.report.candidates import candidates
from pipelines.report.verdict import verdict, verdict_of
from steps.contracts.evaluation import Compared, Comparison, Difference, Estimate


def estimate(value: float, spread: float = 0.02, n: int = 200) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread, n=n)


def difference(subject: str, old: float, new: float, metric: str = "exact_match", task: str = "held_out") -> Difference:
    return Difference(
        task=task, metric=metric, subject=subject, reference=estimate(old), candidate=estimate(new),
        change=estimate(new - old, 0.05), discordant=(round(200 * max(new - old, 0)), round(200 * max(old - new, 0))),
    )  # fmt: skip


def comparison(base: float, tuned: float, extra: tuple[Difference, ...] = (), **asked: float) -> Comparison:
    return Comparison(
        reference=Compared(name="base", digest="b"), dataset_digest="d",
        candidates=tuple(Compared(name=n, digest=n) for n in (*asked, "tuned")),
        differences=(*(difference(n, base, v) for n, v in asked.items()), difference("tuned", base, tuned), *extra),
        over={n: (difference("tuned", v, tuned),) for n, v in asked.items()},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("base", "asked", "tuned", "wanted"),
    [
        (0.2, {"prompted": 0.5, "rag": 0.4}, 0.8, "was worth it: exact match of tuned is 0.800, of prompted, the"
         " best without training, 0.500; +0.300"),
        (0.2, {"prompted": 0.5, "rag": 0.79}, 0.8, "Training brought nothing that is clear"),
        (0.2, {"prompted": 0.9}, 0.8, "Training made it worse"),
        (0.5, {"prompted": 0.3}, 0.8, "exact match of tuned is 0.800, of base, 0.500"),
        (0.5, {}, 0.8, "No prompt and no retrieval was measured beside it"),
        (0.0, {"prompted": 0.01, "rag": 0.0}, 0.9, "is not said: without it at most 0.030 of the"),
    ],
)  # fmt: skip
def test_it_is_said_beside_the_best_that_was_not_trained(base, asked, tuned, wanted) -> None:
    first, *rest = verdict(comparison(base, tuned, **asked), "tuned", set(asked))
    assert wanted in first
    assert rest == ["Nothing that was measured got clearly worse than base."]


def test_what_got_worse_is_named_with_its_interval() -> None:
    worse = Difference(
        task="general", metric="perplexity", subject="tuned", reference=estimate(20), candidate=estimate(24),
        change=estimate(1.2, 0.1), is_ratio=True,
    )  # fmt: skip
    declined = difference("tuned", 0.1, 0.3, "answered_unanswerable", "unanswerable")
    (_, said) = verdict(comparison(0.2, 0.8, (worse, declined), prompted=0.3), "tuned", {"prompted"})
    assert said == (
        "What got worse against base: perplexity (general) ×1.200 [1.100, 1.300]; answered unanswerable (unanswerable)"
        " +0.200 [0.150, 0.250]."
    )


def test_all_stand_in_one_table_with_corrected_p_values() -> None:
    table = candidates(comparison(0.2, 0.8, prompted=0.21))
    assert table is not None and [row[0] for row in table.rows] == ["base", "prompted", "tuned"]
    # 2 rows of 2 for prompted: p 0.5 by itself, which Holm leaves as the largest of two.
    assert [row[3] for row in table.rows] == ["", "0.500", "< 0.001"]
    assert candidates(comparison(0.2, 0.8)) is None


def test_where_a_metric_has_values_in_between_there_is_no_p() -> None:
    found = comparison(0.2, 0.8, prompted=0.21)
    plain = (found.differences[0].model_copy(update={"discordant": None}), *found.differences[1:])
    table = candidates(found.model_copy(update={"differences": plain}))
    assert table is not None and table.columns == ("subject", "exact match", "change from base")
    assert {len(row) for row in table.rows} == {3} and "McNemar" not in table.title


def test_a_tuned_model_that_is_asked_better_is_no_rival_of_training() -> None:
    subjects = [{"name": "prompted", "model": "base"}, {"name": "tuned_rag", "model": "tuned"}]
    found = record().model_copy(update={"config": {"evaluate": {"subjects": subjects}}})
    first, _ = verdict_of(found, comparison(0.2, 0.8, prompted=0.5, tuned_rag=0.9), "tuned")
    assert "of prompted, the best without training, 0.500" in first

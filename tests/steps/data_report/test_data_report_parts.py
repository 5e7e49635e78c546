"""Figures of the data report on rows whose truth is known, and against a second implementation."""

import random
from math import log

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from steps.data_report.diversity import tell_diversity
from steps.data_report.intervals import mean, number, quantile, share
from steps.data_report.looks import Look
from steps.data_report.noise import tell_noise
from steps.data_report.topics import name_topics, topics_of
from steps.engines.diversity.diversity import block_length, distinct, self_bleu
from steps.engines.embed.vectorise import hashed, hashed_by_rarity
from steps.engines.scoring.wilson import newcombe, wilson
from steps.engines.text.terms import terms
from steps.engines.yardsticks.enough import GOALS


def look(n: int, asked: str, answered: str = "", code: int = 0, **more: object) -> Look:
    values = {"kind": "conversation", "wanted": True, "language": "en", "length": 1, "answer": 1, **more}
    return Look(f"{n:032x}", code, n, asked=asked, answered=answered, about=asked, **values)


def test_a_difference_of_shares_is_newcombes() -> None:
    # Newcombe 1998, table II, method 10: 56 of 70 against 48 of 80.
    found = newcombe(wilson(48, 80), wilson(56, 70))
    assert (round(found.value, 4), round(found.low, 4), round(found.high, 4)) == (0.2, 0.0524, 0.3339)
    assert newcombe(None, wilson(1, 2)) is None
    both = share("format", "x", [(48, 80), (56, 70)], "test")
    assert (both.difference, both.values[1].n) == (found, 70)
    assert share("format", "x", [(0, 0), (1, 2)], "test").difference is None


def test_numbers_have_the_intervals_of_resampled_rows() -> None:
    values = np.random.default_rng(5).normal(10, 2, 400)
    found = number("lengths", "mean", [values], mean, "test").values[0]
    spread = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - spread, values.mean() + spread), abs=0.03)
    counted = np.array([1.0] * 50 + [2.0] * 49 + [100.0])
    assert number("lengths", "m", [counted], quantile(0.5), "test").values[0].value == 1.0
    assert number("lengths", "m", [counted], quantile(0.51), "test").values[0].value == 2.0
    assert number("lengths", "m", [np.zeros(0)], mean, "test").values == (None,)
    # All rows alike: as many as Wilson's bound of 0 of 9 says may be otherwise.
    (same,) = number("quality", "m", [np.full(9, 5.0)], mean, "test", bounds=(1, 5)).values
    assert (same.value, same.high, same.low) == pytest.approx((5, 5, 5 - 4 * wilson(0, 9).high))


def test_self_bleu_is_sacrebleus_against_all_others() -> None:
    rng = random.Random(7)
    texts = [[rng.choice("abcdef") for _ in range(rng.choice((1, 3, 8, 20)))] for _ in range(40)]
    texts += [texts[0], ["never", "seen"]]
    theirs = BLEU(tokenize="none", effective_order=True, smooth_method="exp")
    for place, score in enumerate(self_bleu(texts)):
        others = [" ".join(t) for i, t in enumerate(texts) if i != place]
        assert score == pytest.approx(theirs.sentence_score(" ".join(texts[place]), others).score / 100), place


def test_distinct_n_is_of_whole_blocks_and_of_no_two_texts() -> None:
    # Blocks: "a b", "a a", "b" is left over; pairs go from no text into the next.
    assert distinct([["a", "b"], ["a"], ["a", "b"]], 1, 2) == [1.0, 0.5]
    assert distinct([["a", "b", "a", "b"]], 2, 4) == [2 / 3]
    assert distinct([["a"], ["b"]], 2, 2) == []
    assert [block_length(t) for t in ([99], [100], [10**6, 600], [])] == [0, 20, 120, 0]
    same = [look(i, "q", "one two three four five six") for i in range(30)]
    told = {f.name: f.values[0].value for f in tell_diversity([same], None)}
    assert told["distinct-1 of answers"] == pytest.approx(6 / 36)
    assert told["distinct-2 of answers"] == pytest.approx(5 / 30)
    assert told["self-BLEU of answers"] == pytest.approx(1)
    assert "distinct-1 of prompts" not in told
    papers = [look(i, "one two three four five six", kind="document") for i in range(30)]
    for kinds, said in (([papers], "documents"), ([papers, same], "answers and documents")):
        names = {f.name for f in tell_diversity(kinds, None)}
        assert names == {f"distinct-1 of {said}", f"distinct-2 of {said}", f"self-BLEU of {said}"}


def test_the_spread_of_embeddings_is_the_mean_over_pairs() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    rows = [look(i, "a b") for i in range(3)]
    assert tell_diversity([rows], [vectors])[-1].values[0].value == pytest.approx(2 / 3)


def test_words_that_name_a_topic_are_those_of_its_rows_and_of_three_at_least() -> None:
    texts = ["cats purr softly here"] * 4 + ["dogs bark loudly here"] * 4 + ["dogs howl Smith here"]
    nearest = np.array([0] * 4 + [1] * 5)
    # tf / words of the topic * ln(1 + 18 / tf in all), equal ones by name.
    assert 5 / 20 * log(1 + 18 / 5) > 4 / 20 * log(1 + 18 / 4)
    assert name_topics(texts, nearest, 2) == [("cats", "purr", "softly"), ("dogs", "bark", "loudly")]
    assert topics_of([look(i, "x") for i in range(19)], np.ones((19, 2), np.float32), 12, 1, 0, named=True) == []
    unnamed = topics_of([look(i, t) for i, t in enumerate(texts * 3)], hashed(texts * 3), 2, 1, 0, named=False)
    assert [t.words for t in unnamed] == [(), ()] and sum(t.shares[0].value for t in unnamed) == pytest.approx(1)


def test_scripts_without_spaces_have_terms_that_are_found_again() -> None:
    assert terms("東京タワーはどこ") == ["東京", "京タ", "タワ", "ワー", "ーは", "はど", "どこ"]
    assert terms("أين يقع البرج؟ <PERSON_K7Q2M4XA7DTR>") == ["أين", "يقع", "البرج", "person"]
    tower, where, rain = hashed(["東京タワーはどこですか", "東京タワーはどこにありますか", "明日は雨が降るでしょう"])
    assert tower @ where > 0.5
    assert tower @ rain < 0.2


def test_prompts_that_are_nearly_equal_and_answered_otherwise_are_told_with_both_answers() -> None:
    filler = [look(i, f"Tell me about subject{i} and matter{i} please", f"It is about thing{i}") for i in range(30)]
    long = "Which of our warehouses keeps spare gaskets for Norwegian turbines"
    rows = [
        *filler, look(40, f"{long} today", "The one in Bergen."), look(41, f"{long} today, then", "Only Oslo does."),
        look(42, f"{long}", "The one in Bergen."), look(43, f"{long} today", "unlike", code=1),
        look(44, "never answered"), look(45, f"{long} today", "unwanted", wanted=False),
    ]  # fmt: skip
    vectors = hashed_by_rarity([r.asked for r in rows])
    figures, examples, left_out = tell_noise(rows, vectors, vectors, 2, 0.8, shown=True)
    assert [(round(v.value * v.n), v.n) for v in figures[0].values] == [(3, 33), (0, 1)]
    assert {e.record_id for e in examples} == {f"{n:032x}" for n in (40, 41, 42)}
    assert any("→ Only Oslo does.\n↔ The one in Bergen." in e.text for e in examples)
    assert left_out == ["Labels against neighbours: answers aren't labels (few words, few kinds)."]
    hidden = tell_noise(rows, vectors, vectors, 2, 0.8, shown=False)[1]
    assert [e.text for e in hidden] == [""] * 3


def test_a_label_that_its_neighbours_contradict_is_found() -> None:
    rows = [look(i, f"the parcel came broken and torn {i}", "Complaint") for i in range(20)]
    rows += [look(20 + i, f"many thanks for the quick help {i}", "praise.") for i in range(20)]
    rows.append(look(99, "the parcel came torn and broken today", "praise"))
    vectors = hashed_by_rarity([r.asked for r in rows])
    figures, examples, left_out = tell_noise(rows, vectors, vectors, 1, 1.0, shown=True)
    (value,) = figures[1].values
    assert (figures[1].name, round(value.value * value.n), value.n) == (
        "label that 4 of 5 neighbours contradict",
        1,
        41,
    )
    assert ([e.record_id for e in examples], left_out) == ([f"{99:032x}"], [])


def test_every_goal_has_a_rule_and_says_who_says_so() -> None:
    assert list(GOALS) == ["style", "structured", "domain", "facts"]
    assert all(y.rule and y.source for y in GOALS.values())
    assert [[y.verdict(n) for y in GOALS.values()] for n in (199, 200, 999, 5000)] == [
        ["few", "few", "few", "retrieval"],
        ["enough", "few", "few", "retrieval"],
        ["enough", "few", "few", "retrieval"],
        ["enough", "enough", "enough", "retrieval"],
    ]

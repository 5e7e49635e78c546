"""Diversity against figures worked out by hand and a second, plain computation."""

import math
import random
from collections import Counter

import numpy as np
import pytest

from steps.engines.diversity.diversity import distinct, self_bleu, spread
from steps.engines.diversity.repeated import repeated


def plain_bleu(text: list[str], others: list[list[str]]) -> float:
    logs, smooth, orders = 0.0, 1.0, [n for n in (1, 2, 3, 4) if n <= len(text)]
    for n in orders:
        grams = Counter(zip(*(text[i:] for i in range(n)), strict=False))
        best: Counter = Counter()
        for other in others:
            best |= Counter(zip(*(other[i:] for i in range(n)), strict=False))
        matched = (grams & best).total()
        if n == 1 and not matched:
            return 0.0
        smooth *= 1 if matched else 2
        logs += math.log(matched / grams.total() if matched else 1 / (smooth * grams.total()))
    nearest = min((abs(len(o) - len(text)), len(o)) for o in others)[1]
    return math.exp(logs / len(orders)) * (1.0 if len(text) >= nearest else math.exp(1 - nearest / len(text)))


def test_self_bleu_is_that_of_every_text_against_all_others() -> None:
    draw = random.Random(1)
    for _ in range(100):
        texts = [[draw.choice("abcd") for _ in range(draw.randint(1, 9))] for _ in range(draw.randint(2, 7))]
        plain = [plain_bleu(t, texts[:i] + texts[i + 1 :]) for i, t in enumerate(texts)]
        assert self_bleu(texts) == pytest.approx(plain, rel=1e-12)
    assert self_bleu([["a", "b", "c", "d"]] * 2) == pytest.approx([1.0, 1.0])


def test_distinct_pairs_by_hand() -> None:
    # Four words make three pairs: a-b, b-a, a-b, of which two are distinct; then c-c three times.
    assert distinct([["a", "b", "a", "b"], ["c", "c", "c", "c"]], 2, 4) == pytest.approx([2 / 3, 1 / 3])


def test_spread_is_the_mean_over_pairs() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    assert spread(vectors) == pytest.approx((1 + 0 + 1) / 3)
    assert spread(vectors[:1]) is None


def test_repeated_questions_are_those_of_all_pairs() -> None:
    draw = random.Random(2)
    pairs = [(" ".join(draw.choices("abcdefgh", k=draw.randint(1, 6))), None) for _ in range(200)]
    for similarity in (0.5, 0.75, 1.0):
        kept: list[int] = []
        plain = {}
        for i, (q, _) in enumerate(pairs):
            own = set(q.split())
            same = [
                j
                for j in kept
                if len(own & set(pairs[j][0].split())) >= similarity * len(own | set(pairs[j][0].split()))
            ]
            if same:
                plain[i] = same[0]
            else:
                kept.append(i)
        assert repeated(pairs, similarity) == plain


def test_questions_that_differ_in_a_name_alone_are_told_apart_by_their_answers() -> None:
    long = "In which year was the old wooden bridge over the northern arm of the river in {} first built and by whom?"
    pairs = [(long.format(p), f"{p} had it built in {y}.") for p, y in (("Bern", 1901), ("Riga", 1760))]
    assert repeated(pairs, 0.85) == {}
    assert repeated([*pairs, (long.format("Bern"), "Nobody."), (long.format("Kyiv"), None)], 0.85) == {2: 0, 3: 0}

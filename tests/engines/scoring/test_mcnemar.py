"""McNemar's exact test and Holm's correction, against scipy and by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from steps.engines.scoring.mcnemar import holm, mcnemar


@given(one=st.integers(0, 400), other=st.integers(0, 400))
def test_it_is_the_two_sided_binomial_test(one: int, other: int) -> None:
    expected = binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(one, other) == mcnemar(other, one)


@pytest.mark.parametrize("pair", [(20_000, 20_600), (499_000, 501_000), (3, 2_000_000)])
def test_many_rows_give_a_number(pair: tuple[int, int]) -> None:
    assert mcnemar(*pair) == pytest.approx(binomtest(pair[0], sum(pair), 0.5).pvalue, rel=1e-7, abs=1e-290)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []

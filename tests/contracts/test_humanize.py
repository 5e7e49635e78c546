import math

import pytest

from steps.contracts.humanize import duration, number


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12, "0.12"), (0.0, "0"), (1234567, "1,234,567"), (2441.7, "2,442"), (0.00001234, "1.23e-05"), (None, "–"),
     (-0.02, "-0.02"), (100.0, "100"), (1e9 + 0.5, "1e+09"), (math.inf, "inf"), (math.nan, "nan"), (1e15, "1e+15"),
     (-1e15, "-1e+15"), (1e15 - 1, "999,999,999,999,999"), (0.001, "0.001"), (0.00099999, "0.001"), (0.0009, "0.0009"),
     (999_999.5, "1,000,000"), (999_998.5, "999,998"), (1_000_000.5, "1e+06"), (1.23456, "1.235"), (10.5, "10.5"),
     (99.999, "100"), (-1234.5678, "-1,235"), (7, "7"), (0.1 + 0.2, "0.3"), (3.10001, "3.1")],
)  # fmt: skip
def test_numbers_for_people(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.004, "< 0.01 s"), (0.42, "0.42 s"), (9.96, "10 s"), (9.94, "9.9 s"), (0.01, "0.01 s"),
     (0.0099, "< 0.01 s"),
     (59.4, "59 s"), (59.6, "1 min 0 s"), (3_599, "59 min 59 s"), (3_600, "1 h 0 min"), (86_400, "24 h 0 min"),
     (10.0, "10 s"), (1, "1 s"), (9.95, "9.9 s"), (38.4, "38 s"), (60, "1 min 0 s"),
     (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)  # fmt: skip
def test_times_for_people(seconds, text):
    assert duration(seconds) == text

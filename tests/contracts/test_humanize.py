import pytest

from steps.contracts.humanize import duration, number


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12, "0.12"), (0.0, "0"), (1234567, "1,234,567"), (2441.7, "2,442"), (0.00001234, "1.23e-05"), (None, "–"),
     (-0.02, "-0.02"), (100.0, "100"), (1e9 + 0.5, "1e+09")],
)  # fmt: skip
def test_numbers_for_people(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.004, "< 0.01 s"), (0.42, "0.42 s"), (9.96, "10 s"), (38.4, "38 s"), (60, "1 min 0 s"),
     (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)  # fmt: skip
def test_times_for_people(seconds, text):
    assert duration(seconds) == text

import pytest

from steps.contracts.reports import StageReport

WHOLE = {
    "stage": "a", "rows_in": 9, "created": 4, "kept": 6, "dropped": 5, "quarantined": 2,
    "dropped_by": {"x": 3, "y": 2}, "quarantined_by": {"z": 2}, "config_digest": "", "seconds": 1.0, "cpu_seconds": 1.0,
}  # fmt: skip


def test_counters_that_balance_are_the_report_itself() -> None:
    report = StageReport(**WHOLE)
    assert report.balanced() is report


@pytest.mark.parametrize("name", ["rows_in", "created", "kept", "dropped", "quarantined"])
@pytest.mark.parametrize("by", [-1, 1])
def test_a_row_too_many_or_too_few_is_no_balance(name: str, by: int) -> None:
    with pytest.raises(AssertionError, match=r"^stage a: \d+ in \+ \d created != \d kept \+ \d dropped \+ \d quaran"):
        StageReport(**{**WHOLE, name: WHOLE[name] + by}).balanced()


@pytest.mark.parametrize("name", ["dropped", "quarantined"])
def test_reasons_must_make_up_their_sum(name: str) -> None:
    with pytest.raises(AssertionError, match=rf"^stage a: {name}: {WHOLE[name]} rows, but {WHOLE[name] + 1} by reason"):
        StageReport(**{**WHOLE, f"{name}_by": {"x": WHOLE[name] + 1}}).balanced()

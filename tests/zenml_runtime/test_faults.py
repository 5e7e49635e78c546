"""What is kept of an error that nobody foresaw, in a step that holds unscrubbed text."""

import io
import sys

import pytest

from steps.contracts.errors import InputError
from steps.zenml_runtime.faults import StepFault, without_quotes

SECRET = "jane.roe@example.org"


def raised(error: Exception) -> Exception:
    try:
        {}[SECRET] if isinstance(error, KeyError) else (_ for _ in ()).throw(error)
    except Exception as e:  # noqa: BLE001 - any
        return e
    raise AssertionError


def test_its_class_and_place_are_told_and_not_what_it_said(capfd: pytest.CaptureFixture[str]) -> None:
    for error in (ValueError(SECRET), KeyError()):
        told = without_quotes(raised(error), "dedup")
        assert isinstance(told, StepFault) and SECRET not in str(told)
        assert str(told).startswith(f"{type(error).__name__} in dedup, at tests/zenml_runtime/test_faults.py:")
    assert capfd.readouterr().err == ""


def test_errors_that_show_no_rows_stay() -> None:
    for error in (InputError("no rows", where="s/a.jsonl"), OSError(28, "No space left on device")):
        assert without_quotes(error, "dedup") is error


def test_the_terminal_is_told_where_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setenv("ASSAY_TRACEBACK", "1")
    monkeypatch.setattr(sys, "__stderr__", shown)
    told = without_quotes(raised(ValueError(SECRET)), "dedup")
    assert SECRET in shown.getvalue() and SECRET not in str(told)

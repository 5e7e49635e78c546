"""A bar on a terminal only, and only for work that takes a while."""

import io
import sys

import pytest

from steps.engines.progress import progress
from steps.engines.progress.progress import Progress, Stopwatch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass: one per look at the clock."""
    now = [0.0]

    def tick() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(progress.time, "monotonic", tick)
    return now


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, units: int, setting: str = "on") -> str:
    monkeypatch.setenv("ASSAY_PROGRESS", setting)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress("dedup: reading", 40, "texts") as bar:
        for _ in range(units):
            bar.advance()
    assert bar.done == units
    return stderr.getvalue()


def test_a_terminal_sees_what_is_done_of_how_much(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    text = shown(monkeypatch, Terminal(), 20)
    assert "dedup: reading" in text and "20/40" in text and "texts" in text


def test_logs_programs_and_short_work_see_nothing(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    assert shown(monkeypatch, io.StringIO(), 20) == ""
    assert shown(monkeypatch, Terminal(), 20, "off") == ""
    assert shown(monkeypatch, Terminal(), 1) == ""


def test_the_stopwatch_counts_wall_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Stopwatch()
    sum(range(200_000))
    assert watch.seconds > 0 and watch.cpu_seconds > 0

"""Worker processes that are killed for real."""

import functools
import os
import signal
from pathlib import Path

import pytest

from steps.contracts.errors import AssayError
from steps.scrub import detectors
from steps.scrub.config import ScrubConfig
from steps.scrub.detector import find_in_worker
from steps.scrub.findings import Finding
from steps.scrub.pool import Workers


def killed_once(marker: Path, batch: list[int]) -> list[int]:
    """Dies by SIGKILL on the batch with a 13, as long as the marker isn't there."""
    if 13 in batch and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [number * 2 for number in batch]


def always_killed(batch: list[int]) -> list[int]:
    if 13 in batch:
        os.kill(os.getpid(), signal.SIGKILL)
    return batch


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    workers: Workers[list[int], list[int]] = Workers(functools.partial(killed_once, tmp_path / "killed"), 2)
    batches = [[n, n + 1] for n in range(0, 40, 2)]
    assert workers.results(batches) == [[2 * n, 2 * n + 2] for n in range(0, 40, 2)]
    assert (tmp_path / "killed").exists()
    assert workers.results(batches[:3]) == [[0, 2], [4, 6], [8, 10]]
    workers.close()


def test_a_worker_that_always_dies_is_told() -> None:
    workers: Workers[list[int], list[int]] = Workers(always_killed, 2)
    with pytest.raises(AssayError, match=r"died 3 times(.|\n)*fewer workers"):
        workers.results([[n] for n in range(10, 16)])
    assert workers.results([[1]]) == [[1]]
    workers.close()


def find_until_killed(marker: Path, config: str, texts: list[str]) -> list[list[Finding] | None]:
    if any("row 300 " in text for text in texts) and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return find_in_worker(config, texts)


def test_findings_are_the_same_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"row {n} of jane{n}@mail.example.com, 212-555-0142" for n in range(700)]
    with detectors.Detectors(ScrubConfig()) as one:
        expected = one.find(texts)
    marker = tmp_path / "killed"
    monkeypatch.setattr(detectors, "find_in_worker", functools.partial(find_until_killed, marker))
    with detectors.Detectors(ScrubConfig(workers=2)) as several:
        assert several.find(texts) == expected
    assert marker.exists() and all(len(found or ()) == 2 for found in expected.values())

"""Work for executors: functions at the top of a module that other processes can import."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from steps.engines.rowwise.stage import Batch


def doubling(_: object) -> Callable[[int], int]:
    return lambda n: 2 * n


def dividing(number: int) -> Callable[[int], int]:
    return lambda n: number // n


def saying_where(_: object) -> Callable[[object], int]:
    return lambda _: os.getpid()


def unable(reason: str) -> Callable[[int], int]:
    raise ValueError(reason)


def killed_once(marker: str) -> Callable[[int], int]:
    """Dies by SIGKILL on 13, as long as the marker isn't there."""

    def work(n: int) -> int:
        if n == 13 and not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * n

    return work


def always_killed(poison: int) -> Callable[[int], int]:
    def work(n: int) -> int:
        if n == poison:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * n

    return work


def sleeping(folder: str) -> Callable[[int], int]:
    """Leaves its process id, and sleeps long."""

    def work(n: int) -> int:
        (Path(folder) / str(os.getpid())).touch()
        time.sleep(600)
        return n

    return work


def shortening(poison: str) -> Callable[[Batch], list[int | None]]:
    """Characters of each document; None where the text says `undecidable`; dies on a text with the poison."""

    def work(batch: Batch) -> list[int | None]:
        texts = batch.rows["text"].to_pylist()
        if poison and any(poison in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        return [None if text == "undecidable" else len(text) for text in texts]

    return work

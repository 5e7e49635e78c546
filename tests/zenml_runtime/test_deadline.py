"""A step that takes too long is ended, in any thread, and one that doesn't isn't disturbed."""

import signal
import threading
import time
from contextlib import suppress

import pytest

from steps.contracts.errors import StepTimeoutError
from steps.zenml_runtime.deadline import deadline


def test_waiting_is_ended_by_a_signal_and_says_what_to_do() -> None:
    before = signal.getsignal(signal.SIGALRM)
    started = time.monotonic()
    with pytest.raises(StepTimeoutError) as caught, deadline(0.05, "judge"):
        time.sleep(20)
    assert time.monotonic() - started < 5
    assert str(caught.value).startswith("judge: not done after 0.05 s\n  way out: raise `timeout`")
    assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_error_that_was_swallowed_is_raised_all_the_same() -> None:
    with pytest.raises(StepTimeoutError), deadline(0.02, "judge"), suppress(Exception):
        time.sleep(20)


def test_a_thread_that_computes_is_ended() -> None:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            with deadline(0.05, "train"):
                end = time.monotonic() + 20
                while time.monotonic() < end:
                    pass
        except StepTimeoutError as e:
            caught.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert not thread.is_alive() and "train: not done after 0.05 s" in str(caught[0])


@pytest.mark.parametrize("limit", [None, 30.0])
def test_what_is_done_in_time_is_left_alone(limit: float | None) -> None:
    with deadline(limit, "gate"):
        pass
    with pytest.raises(ValueError, match="its own"), deadline(limit, "gate"):
        raise ValueError("its own")

"""A step's time limit, kept by the step itself: no orchestrator of ZenML's keeps one that all have."""

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from steps.contracts.errors import StepTimeoutError

# Chosen: a library that catches every error and goes on is told again, after so many seconds.
_AGAIN = 30.0


@contextmanager
def deadline(seconds: float | None, step: str) -> Iterator[None]:
    """Within, the step is ended after so many seconds; None: never.

    In a process's first thread a signal ends also what waits for a file or a socket; in another thread what computes is
    ended at its next line of Python. Work in compiled code is ended when it returns.

    Raises:
        StepTimeoutError: time is up.
    """
    if seconds is None:
        yield
        return
    started = time.monotonic()
    first = threading.current_thread() is threading.main_thread()
    stop = _by_signal(seconds, step) if first else _by_thread(seconds)
    try:
        yield
    except StepTimeoutError as e:
        raise _late(seconds, step) from e
    finally:
        stop()
    if time.monotonic() - started > seconds:
        raise _late(seconds, step)


def _late(seconds: float, step: str) -> StepTimeoutError:
    return StepTimeoutError(
        f"not done after {seconds:g} s",
        where=step,
        hint="raise `timeout` in the infra file, or give it more to work with; finished steps are reused",
    )


def _by_signal(seconds: float, step: str) -> Callable[[], None]:
    def ring(_signal: int, _frame: object) -> None:
        raise _late(seconds, step)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)

    def stop() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    return stop


def _by_thread(seconds: float) -> Callable[[], None]:
    over = threading.Event()
    worker = threading.get_ident()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker), ctypes.py_object(_Late))
            wait = _AGAIN

    threading.Thread(target=watch, daemon=True, name="deadline").start()
    return over.set


class _Late(StepTimeoutError):
    """What a thread is given by its class, since Python takes no object there."""

    def __init__(self) -> None:
        super().__init__("time is up")

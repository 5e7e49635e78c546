"""Errors that nobody foresaw, in steps that hold text which no scrub has seen: their messages may quote it."""

import os
import sys
import traceback
from pathlib import Path

from steps.contracts.errors import AssayError

# Shows whole errors, on the terminal alone.
_SHOWN = "ASSAY_TRACEBACK"
_HOME = Path(__file__).resolve().parents[2]


class StepFault(RuntimeError):
    """An error of a step without what it said: that would go to ZenML's store, logs, the run's record and its page."""


def without_quotes(error: Exception, step: str) -> Exception:
    """The error itself where it is one of ours or of the system, whose messages show no rows; else one that names its
    class and its place.
    """
    if isinstance(error, AssayError | OSError):
        return error
    if os.environ.get(_SHOWN) == "1" and sys.__stderr__ is not None:
        # Not the stream that ZenML copies to the step's log.
        traceback.print_exception(error, file=sys.__stderr__)
    return StepFault(
        f"{type(error).__name__} in {step}, at {_place(error)}; what it says may quote rows and isn't kept:"
        f" {_SHOWN}=1 shows it, on the terminal alone"
    )


def _place(error: Exception) -> str:
    """The last line of ours that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if Path(f.filename).is_relative_to(_HOME) and ".venv" not in f.filename]
    last = (ours or frames)[-1]
    path = Path(last.filename)
    return f"{path.relative_to(_HOME) if path.is_relative_to(_HOME) else path.name}:{last.lineno}"

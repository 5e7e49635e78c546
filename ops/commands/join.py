"""`assay join`."""

from pathlib import Path

from ops.environment import prepare
from steps.train.ranks.meeting import MEETINGS
from steps.train.ranks.node import join


def join_training(root: Path, seconds: float) -> None:
    """Be another machine of a run that trains on several. `seconds`: how long none may ask for one.

    Raises:
        StepTimeoutError: none has asked. AssayError: what the run has ended with.
    """
    state = prepare(root)
    join(state / MEETINGS, seconds)

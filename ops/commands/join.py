"""`assay join`."""

from pathlib import Path

from ops.console import emit
from ops.environment import prepare
from steps.train.ranks.meeting import MEETINGS
from steps.train.ranks.node import join


def join_training(root: Path, seconds: float, json_output: bool) -> None:
    """Be another machine of a run that trains on several. `seconds`: how long none may ask for one.

    Raises:
        StepTimeoutError: none has asked. AssayError: what the run has ended with.
    """
    state = prepare(root)
    phases = join(state / MEETINGS, seconds)
    if json_output:
        emit({"phases": phases})

"""A sweep as a whole in the tracker of the stack: what was searched, the leaderboard, the best values, its trials."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ops.infra import load_infra, merged
from ops.stacks.files import stack_file
from ops.sweeps.board import Board
from ops.sweeps.config import SweepConfig
from ops.sweeps.leaderboard import files, table
from steps.contracts.errors import AssayError
from steps.engines.progress.progress import say
from steps.engines.tracking.secrets import without_secret
from steps.engines.tracking.sweeps import LOSS, Leaderboard, TrackedSweep, TrackedTrial
from steps.zenml_runtime.state import state_folder

# Of the infra file: the step that trains, and the pipeline of every trial.
_TRAINS, _PIPELINE = "train_step", "train"
# Chosen: characters of what a tracker says when it fails.
_SAID = 300
_T = TypeVar("_T")


@dataclass
class Tracked:
    """What a sweep writes in the tracker; `run` None: there is none. A tracker that fails ends no sweep."""

    run: TrackedSweep | None = None
    page: Callable[[Board], Mapping[str, str]] | None = None

    @contextmanager
    def of(self, sweep: SweepConfig) -> Iterator[None]:
        """What is searched and how; within, trials are run."""
        self._do(lambda run: run.begin(settings_of(sweep)))
        try:
            yield
        except BaseException:
            self._do(lambda run: run.end(whole=False))
            raise
        self._do(lambda run: run.end(whole=True))

    def trial_begins(self, number: int) -> Mapping[str, str]:
        """What the trial's own run is tagged with."""
        return self._do(lambda run: run.trial_begins(number)) or {}

    def record(self, board: Board) -> None:
        """What is known by now."""
        self._do(lambda run: run.record(leaderboard(board, self.page(board) if self.page else {})))

    def _do(self, what: Callable[[TrackedSweep], _T]) -> _T | None:
        if self.run is None:
            return None
        try:
            return what(self.run)
        except Exception as e:  # noqa: BLE001 - each tracker has errors of its own
            why = without_secret(str(e)).strip().splitlines() or [type(e).__name__]
            say(f"sweep: the tracker can't be written: {why[0][:_SAID]}; the same command writes what is missing there")
            return None


def tracker_for(root: Path, folder: Path, name: str, infra: str | None, stack: str | None) -> TrackedSweep | None:
    """The tracker that the trials' training is bound to; None: it is bound to none. `folder`: of the sweep, whose name
    it is known by.

    Raises:
        AssayError: there is no such infra file or stack, or it can't be made ready.
    """
    place = load_infra(root, infra or stack)
    where = stack_file(root, stack or place.stack)
    step = place.filled(os.environ).of(_TRAINS)
    if step.experiment_tracker is None:
        return None
    from ops.stacks.apply import apply
    from steps.zenml_runtime.database import open_store, starting
    from steps.zenml_runtime.tracker import sweep_tracker

    with starting():
        open_store()
        os.environ["ZENML_ACTIVE_STACK_ID"] = apply(where, dict(os.environ)).id
        settings = merged(place.filled(os.environ).settings, step.settings)
        try:
            return sweep_tracker(folder.name, name, _PIPELINE, settings, state_folder(root))
        except AssayError:
            raise
        except Exception as e:  # noqa: BLE001 - the trials' own check says what is wrong with it
            say(f"sweep: the tracker can't be used: {without_secret(str(e))[:_SAID]}")
            return None


def settings_of(sweep: SweepConfig) -> dict[str, Any]:
    """Strategy, metric and direction of the search, and what it searches."""
    search = sweep.search.model_dump(mode="json")
    parameters = search.pop("parameters", {})
    return {
        "sweep.config": sweep.config,
        "sweep.strategy": search.pop("kind"),
        "sweep.metric": LOSS,
        "sweep.direction": "minimize",
        **{f"sweep.{key}": value for key, value in search.items()},
        **{f"search.{key}": value for key, value in parameters.items()},
        **{f"overrides.{key}": value for key, value in sweep.overrides.items()},
    }


def leaderboard(board: Board, more: Mapping[str, str]) -> Leaderboard:
    """As trackers take it. `more`: files beside those of the table."""
    done = [e for e in board.entries if e.compared is not None]
    metrics: dict[str, float] = {
        "trials_done": len(done), "trials_failed": len(board.entries) - len(done),
        "cpu_seconds": sum(e.result.cpu_seconds for e in done),
    }  # fmt: skip
    tags: dict[str, str] = {}
    if best := board.best:
        metrics |= {LOSS: best.compared or 0.0, "best_trial": best.number}
        tags = {"best_trial": str(best.number), "best_run": best.result.run or "", "best": best.result.label}
        tags |= {f"best.{key}": v if isinstance(v, str) else json.dumps(v) for key, v in best.result.values.items()}
        tags["verdict"] = board.verdict
    columns, rows = table(board)
    # Of trials with the same values there is one run.
    first = {e.result.run: e for e in sorted(done, key=lambda e: -e.number) if e.result.run}
    trials = [
        TrackedTrial(e.number, run, e.result.trained_in or run, e.result.values, e.compared or 0.0)
        for run, e in sorted(first.items(), key=lambda found: found[1].number)
    ]
    return Leaderboard(tags, metrics, columns, rows, {**files(board), **more}, trials)

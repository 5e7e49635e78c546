"""A sweep as a whole in the experiment tracker that the stack has: MLflow or Weights & Biases.

Its trials are runs of their own, in which their training steps record. What is written here comes from the process that
starts the trials: the run that stands for all of them, and what leads from there to each. All of it may be written
again, by a sweep that goes on: nothing is there twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from steps.engines.tracking.trackers import as_plain
from steps.engines.tracking.training import PARENT, TRAINED_IN, TRAINED_IN_NAME, copy_training

# What the trials of a sweep and the run that stands for it are found by: its name, the digest of all that decides it,
# and which trial it is.
SWEEP, SWEEP_ID, TRIAL = "sweep", "sweep_id", "trial"
# The metric that trials are compared by, of each trial's run.
LOSS = "validation_loss"
# Of the run that stands for the sweep alone.
_WHOLE = "sweep_whole"
# MLflow's limits: runs of a page, parameters of a request, characters of a parameter.
_PAGE, _PARAMS, _VALUE = 1_000, 100, 6_000


@dataclass(frozen=True)
class TrackedTrial:
    """A trial that has a loss. `run` of the pipeline; `trained_in`: the run that trained, an earlier one where the
    cache answered.
    """

    number: int
    run: str
    trained_in: str
    values: Mapping[str, Any]
    loss: float


@dataclass(frozen=True)
class Leaderboard:
    """What is known by now. `columns`, `rows`: the table; `files`: the same as texts, by name."""

    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    files: Mapping[str, str]
    trials: Sequence[TrackedTrial]


class TrackedSweep(Protocol):
    """The run of a tracker that stands for a sweep."""

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Have it, with what is searched and how."""

    def trial_begins(self, number: int) -> dict[str, str]:
        """It goes on; with what that trial's own run is tagged."""

    def record(self, board: Leaderboard) -> None:
        """What is known by now, instead of what was."""

    def end(self, *, whole: bool) -> None:
        """It doesn't go on for now; `whole`: all trials are done."""


@dataclass
class _Mlflow:
    """A parent run in the experiment of the trials, which become its children."""

    key: str
    name: str
    place: Mapping[str, str]
    _run: str = ""

    @property
    def _client(self) -> Any:
        return import_module("mlflow").MlflowClient()

    @property
    def _experiment(self) -> str:
        return self.place["experiment"]

    def begin(self, settings: Mapping[str, Any]) -> None:
        found = self._runs(f"tags.{_WHOLE} = '{self.key}'")
        tags = {SWEEP: self.name, SWEEP_ID: self.key, _WHOLE: self.key}
        run = found[0] if found else self._client.create_run(self._experiment, run_name=self.name, tags=tags)
        self._run = run.info.run_id
        entities = import_module("mlflow.entities")
        new = [entities.Param(k, str(as_plain(v))[:_VALUE]) for k, v in settings.items() if k not in run.data.params]
        for start in range(0, len(new), _PARAMS):
            self._client.log_batch(self._run, params=new[start : start + _PARAMS])

    def trial_begins(self, number: int) -> dict[str, str]:
        if self._client.get_run(self._run).info.status != "RUNNING":
            self._client.update_run(self._run, status="RUNNING")
        return {**self._tags(number), PARENT: self._run}

    def record(self, board: Leaderboard) -> None:
        for key, tag in board.tags.items():
            self._client.set_tag(self._run, key, tag)
        for key, value in board.metrics.items():
            self._client.log_metric(self._run, key, value, step=len(board.rows))
        for name, text in board.files.items():
            self._client.log_text(self._run, text, name)
        there = {r.data.tags.get(TRIAL): r for r in reversed(self._runs(f"tags.{SWEEP_ID} = '{self.key}'"))}
        for trial in board.trials:
            run = there.get(str(trial.number)) or self._run_of(trial)
            if run.data.metrics.get(LOSS) != trial.loss:
                self._client.log_metric(run.info.run_id, LOSS, trial.loss)

    def end(self, *, whole: bool) -> None:
        if self._client.get_run(self._run).info.status == "RUNNING":
            self._client.set_terminated(self._run, "FINISHED" if whole else "KILLED")

    def _run_of(self, trial: TrackedTrial) -> Any:
        """The run of a trial that isn't tagged yet: its own, or one with the parameters and metrics of the training
        that the cache answered with.
        """
        tags = {**self._tags(trial.number), PARENT: self._run}
        found = self._runs(f"attributes.run_name = '{trial.trained_in}'")
        if found and trial.run == trial.trained_in:
            for key, value in tags.items():
                self._client.set_tag(found[0].info.run_id, key, value)
            return found[0]
        tags |= {TRAINED_IN_NAME: trial.trained_in, **({TRAINED_IN: found[0].info.run_id} if found else {})}
        run = self._client.create_run(self._experiment, run_name=trial.run, tags=tags)
        if found:
            copy_training(self._client, found[0], run.info.run_id)
        self._client.set_terminated(run.info.run_id, "FINISHED")
        return run

    def _tags(self, number: int) -> dict[str, str]:
        return {SWEEP: self.name, SWEEP_ID: self.key, TRIAL: str(number)}

    def _runs(self, wanted: str) -> list[Any]:
        """The newest first."""
        runs, token = [], None
        while True:
            found = self._client.search_runs([self._experiment], wanted, max_results=_PAGE, page_token=token)
            runs += found
            if not (token := found.token):
                return runs


@dataclass
class _Wandb:
    """A run by the sweep's id, opened whenever there is something to write; trials are filtered by their config."""

    key: str
    name: str
    place: Mapping[str, str]

    def begin(self, settings: Mapping[str, Any]) -> None:
        found = {**{k: as_plain(v) for k, v in settings.items()}, SWEEP: self.name, SWEEP_ID: self.key}
        with self._open(self.key, self.name) as run:
            run.config.update(found, allow_val_change=True)

    def trial_begins(self, number: int) -> dict[str, str]:
        return {SWEEP: self.name, SWEEP_ID: self.key, TRIAL: str(number)}

    def record(self, board: Leaderboard) -> None:
        wandb = import_module("wandb")
        with self._open(self.key, self.name) as run:
            run.config.update(dict(board.tags), allow_val_change=True)
            table = wandb.Table(list(board.columns), [[as_plain(v) for v in row] for row in board.rows])
            run.log({**board.metrics, "leaderboard": table})
            artifact = wandb.Artifact(f"{self.key}-leaderboard", type="leaderboard")
            for name, text in board.files.items():
                with artifact.new_file(name, encoding="utf-8") as file:
                    file.write(text)
            run.log_artifact(artifact)
        for trial in board.trials:
            if trial.trained_in != trial.run:
                self._from_cache(trial)

    def end(self, *, whole: bool) -> None:
        pass

    def _from_cache(self, trial: TrackedTrial) -> None:
        with self._open(f"{self.key}-{trial.number}", trial.run) as run:
            tags = {**self.trial_begins(trial.number), TRAINED_IN_NAME: trial.trained_in}
            run.config.update({**{k: as_plain(v) for k, v in trial.values.items()}, **tags}, allow_val_change=True)
            run.summary[LOSS] = trial.loss

    def _open(self, key: str, name: str) -> Any:
        return import_module("wandb").init(
            id=key, name=name, project=self.place.get("project"), entity=self.place.get("entity"), job_type="sweep",
            group=self.key, dir=self.place.get("folder"), resume="allow",
        )  # fmt: skip


def tracked_sweep(flavor: str, key: str, name: str, place: Mapping[str, str]) -> TrackedSweep | None:
    """What stands for the sweep in a tracker of that flavour; None: nothing can be recorded there.

    Args:
        key: of the sweep, equal for the same sweep. place: where in the tracker; `experiment` (its id) of MLflow's;
            `project`, `entity` and `folder` (for its files) of Weights & Biases.
    """
    known: Mapping[str, type[_Mlflow | _Wandb]] = {"mlflow": _Mlflow, "wandb": _Wandb}
    return known[flavor](key, name, place) if flavor in known else None

"""Runs a sweep: each trial a run of its own process, one after the other; what is done isn't done again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.sweeps.board import Board, board_of
from ops.sweeps.config import SweepConfig, Tpe
from ops.sweeps.results import Log, Result, failed, result_of
from ops.sweeps.tracked import Tracked
from ops.sweeps.trials import Proposal, Trial, all_known, proposals
from pipelines.config import RunConfig
from pipelines.input_digests import read_inputs
from pipelines.load import load_model
from steps.contracts.digests import value_digest
from steps.contracts.errors import AssayError, ConfigError
from steps.contracts.humanize import duration
from steps.contracts.locks import locked
from steps.contracts.storage import writing
from steps.engines.progress.progress import say
from steps.zenml_runtime.state import state_folder

FOLDER = "sweeps"
# What the trial that runs now, or ran last, writes: its JSON, its messages.
_OUTPUT = ("trial.out", "trial.log")
# Chosen: characters of the digest in the folder's name, and of what a failed trial said.
_DIGEST, _ERROR = 12, 400
_WAITS = "the sweep waits for a process that runs the same, or for a trial that a killed one left"


@dataclass(frozen=True)
class Start:
    """What a trial is started with: all its overrides, the tags of its run in the tracker, and the sweep's lock (the
    number of the open file), which its process holds as well.
    """

    overrides: Sequence[str]
    tags: Mapping[str, str]
    lock: int


# Runs a trial; one that fails is a result as well.
Run = Callable[[Trial, Start], Result]


@dataclass(frozen=True)
class Sweep:
    """A sweep that can begin: its file is right, and so are all trials' configs that are known."""

    root: Path
    config: SweepConfig
    proposal: Proposal
    common: tuple[str, ...]
    folder: Path

    @property
    def size(self) -> int:
        """How many trials there are."""
        return self.config.search.trials if isinstance(self.config.search, Tpe) else len(planned(self))

    @property
    def log(self) -> Log:
        """Of the trials that are done."""
        return Log(self.folder / "trials.jsonl")


def prepared(root: Path, path: Path, overrides: Sequence[str]) -> Sweep:
    """Read a sweep, and check every trial's config that can be known before anything runs.

    Raises:
        ConfigError: the sweep or a trial's config is wrong, or there would be no validation rows.
        InputNotFoundError: a file isn't there. MissingDependencyError: what it searches with isn't installed.
    """
    sweep = load_model(SweepConfig, path, overrides)
    config = _config(root, sweep, _overrides(sweep.overrides))
    common = (*_overrides(sweep.overrides), *_as_trial(config))
    resolved = _config(root, sweep, common)
    if resolved.curates and not resolved.split.validation:
        raise ConfigError(
            "trials are compared by their validation loss, and split.validation is 0", where=sweep.config,
            hint="give it a share, such as 0.05",
        )  # fmt: skip
    proposal = proposals(sweep, resolved, _sources(resolved))
    if all_known(sweep):
        for trial in _all(proposal):
            _config(root, sweep, (*common, *trial.overrides))
    read = read_inputs(root, resolved).model_dump(mode="json")
    # Other data, another config or another search is another sweep.
    digest = value_digest([sweep.model_dump(mode="json"), resolved.model_dump(mode="json"), read])[:_DIGEST]
    return Sweep(root, sweep, proposal, common, state_folder(root) / FOLDER / f"{sweep.name}-{digest}")


def _overrides(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def _as_trial(config: RunConfig) -> list[str]:
    """What makes a run of the config a trial."""
    if not config.tunes:
        raise ConfigError("pipeline 'curate' trains nothing", where="pipeline")
    # By the config's own name: `latest` is that of who asks, and trials have another.
    dataset = [f"dataset={config.name}"] if config.dataset == "latest" else []
    return [*dataset, "pipeline=train", f"name={config.name}-trial"]


def _config(root: Path, sweep: SweepConfig, overrides: Sequence[str]) -> RunConfig:
    return load_model(RunConfig, root / sweep.config, overrides)


def _sources(config: RunConfig) -> list[str]:
    return [s.name for s in config.ingest.sources] if config.ingest is not None else []


def _all(proposal: Proposal) -> list[Trial]:
    found: list[Trial] = []
    while (trial := proposal([None] * len(found))) is not None:
        found.append(trial)
    return found


def planned(sweep: Sweep) -> list[Trial]:
    """The trials that are known before the first one runs."""
    return _all(sweep.proposal) if all_known(sweep.config) else []


def run_sweep(sweep: Sweep, run: Run, again: bool = False, tracked: Tracked | None = None) -> Board:
    """Run the trials that aren't done. `again`: also those that failed.

    Raises:
        KeyboardInterrupt: what is done is kept.
    """
    tracker = tracked or Tracked()
    with locked(sweep.folder / ".lock", lambda: say(_WAITS)) as lock, tracker.of(sweep.config):
        known, done = sweep.log.read(), list[Result]()
        while (trial := sweep.proposal([r.loss for r in done])) is not None:
            found, number = known.get(trial.key), len(done) + 1
            if found is None or (again and found.loss is None):
                say(f"sweep {sweep.config.name}: trial {number} of {sweep.size}: {trial.label}")
                start = Start([*sweep.common, *trial.overrides], tracker.trial_begins(number), lock.fileno())
                found = known[trial.key] = run(trial, start)
                sweep.log.add(found)
                say(f"  {_in_short(found)}")
                tracker.record(board_of(sweep.config, [*done, found]))
            done.append(found)
        board = board_of(sweep.config, done)
        tracker.record(board)
    return board


def _in_short(result: Result) -> str:
    if result.loss is None:
        return f"failed: {result.error}"
    cached = f", from the cache (trained in {result.trained_in})" if result.trained_in != result.run else ""
    return f"validation loss {result.loss:.4f}, {result.steps:,} steps, {duration(result.seconds)} of training{cached}"


def board_so_far(sweep: Sweep) -> Board:
    """The board of what is done by now; nothing is run."""
    known, done = sweep.log.read(), list[Result]()
    while (trial := sweep.proposal([r.loss for r in done])) is not None and trial.key in known:
        done.append(known[trial.key])
    return board_of(sweep.config, done)


def as_process(sweep: Sweep, infra: str | None, stack: str | None) -> Run:
    """Trials as `assay run` in a process each, which takes what others have made from ZenML's cache."""
    # As it is now: a tracker sets variables of its own, which lead ZenML in a trial astray.
    environment, options = dict(os.environ), placed(infra, stack)

    def run(trial: Trial, start: Start) -> Result:
        name, error = run_apart(sweep.root, sweep.config.config, options, start, sweep.folder, environment)
        try:
            return result_of(sweep.root, trial, name) if name else failed(trial, error)
        except AssayError as e:
            return failed(trial, e.what)

    return run


def placed(infra: str | None, stack: str | None) -> list[str]:
    """Options of `assay run` that say where."""
    return [*(("--infra", infra) if infra else ()), *(("--stack", stack) if stack else ())]


def run_apart(
    root: Path, config: str, options: Sequence[str], start: Start, folder: Path, environment: Mapping[str, str]
) -> tuple[str | None, str]:
    """`assay run` of a config in a process of its own: the run's name, or None and why there is none. `folder`: for
    what it says.
    """
    sets = [part for override in start.overrides for part in ("--set", override)]
    tags = [part for key, value in start.tags.items() for part in ("--tag", f"{key}={value}")]
    command = [sys.executable, "-m", "ops.main", "run", str(root / config), "--json", *options, *sets, *tags]
    out, log = (folder / name for name in _OUTPUT)
    # In a session of its own, so that Ctrl-C is told to it once. With the lock, and into files, so that it goes on when
    # the sweep is killed: one that is started again waits for it, and takes it from the cache.
    with (
        writing(out), out.open("w") as to, log.open("w") as errors,
        subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=to, stderr=errors,
            start_new_session=True, pass_fds=[start.lock],
        ) as process,
    ):  # fmt: skip
        status = _waited(process)
    try:
        if status == 0:
            return str(json.loads(out.read_text(errors="replace"))["name"]), ""
    except (ValueError, KeyError) as e:
        return None, f"its run said nothing that can be read: {type(e).__name__}"
    return None, _last_error(log.read_text(errors="replace"))[:_ERROR] or f"exit status {status}"


def _waited(process: subprocess.Popen[bytes]) -> int:
    """Exit status of a trial; where this process is told to end, so is the trial, as Ctrl-C would end it."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def _last_error(said: str) -> str:
    """What a run said last, from the line that begins with the error."""
    lines = said.strip().splitlines()
    at = next((i for i in range(len(lines) - 1, -1, -1) if lines[i].startswith("error")), max(0, len(lines) - 3))
    return "\n".join(lines[at:])

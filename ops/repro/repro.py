"""A run once more: the code of its commit, its config, its inputs, in a state folder where nothing is cached.

The repetition runs on this machine, with the environment as it is, in a process of its own. Its MLflow is its own too,
so that nothing is registered twice; nothing of it is left but what is asked for.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from materializers.artifacts import Artifacts
from ops.environment import prepare
from ops.repro.code import check_out, lay_beside
from ops.repro.compare import Pair, compare
from ops.repro.inputs import check_inputs, recorded_inputs
from ops.repro.reasons import LOCK, Surroundings, explained, surroundings
from ops.run_index import artifacts_of, config_text, find_run
from pipelines.config import RunConfig
from pipelines.input_digests import Inputs
from pipelines.slots import slot_of, slotted
from steps.contracts import errors
from steps.contracts.errors import AssayError, ConfigError, InputNotFoundError, StepFailedError
from steps.contracts.runs import RunRecord
from steps.contracts.storage import STATE, STATE_URI
from steps.contracts.tombstones import FOLDER
from steps.engines.progress.progress import say
from steps.engines.state_store.store import StateStore
from steps.ingest.config import SourceConfig
from steps.zenml_runtime.state import clear_workspaces, state_folder, workspace

# What a repetition must not see of this process: where things go that it would leave there.
_LEFT_OUT = (STATE_URI, "MLFLOW_TRACKING_URI", "OPENLINEAGE_URL", "ZENML_ACTIVE_STACK_ID")
_PYTHON = "PYTHONPATH"


@dataclass(frozen=True)
class Repetition:
    """A run and its repetition.

    Attributes:
        pairs: their artifacts.
        why: of those that differ, by step and name; [] where nothing explains it.
        state: its state folder, where it was kept; None: it is gone.
    """

    then: RunRecord
    now: RunRecord
    pairs: list[Pair]
    surroundings: Surroundings
    why: dict[tuple[str, str], list[str]]
    state: Path | None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return all(pair.fine for pair in self.pairs)


@dataclass(frozen=True)
class _Recorded:
    """A run with what it needs to be run again."""

    run: RunRecord
    config: RunConfig
    values: dict[str, Any]
    inputs: Inputs


def repeat(root: Path, name: str, keep: Path | None, *, here: bool) -> Repetition:
    """Run the run of that name again, and compare. `keep`: its state folder, which is removed otherwise; `here`: with
    the code of this checkout.

    Raises:
        InputNotFoundError: the run, its commit, or something that it read isn't there. InputError: something differs
        from what it read. StepFailedError: it doesn't end well any more.
    """
    prepare(root)
    try:
        return _repeat(root, find_run(root, name), keep, here=here)
    finally:
        clear_workspaces()


def _repeat(root: Path, last: RunRecord, keep: Path | None, *, here: bool) -> Repetition:
    chain = [_recorded(root, run) for run in _chain(root, last)]
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise ConfigError("this folder isn't empty", where=str(keep), hint="--keep wants a new one")
    folder = workspace("repro")
    codes = [root if here else _code(root, one, folder / f"code{n}") for n, one in enumerate(chain)]
    erased = [check_inputs(one.run.name, one.inputs, code, one.config) for one, code in zip(chain, codes, strict=True)]
    state = (keep or folder / "state").resolve()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    _bring_erasures([str(state_folder(root) / FOLDER), f"{last.artifact_store}/{FOLDER}"], state)
    for position, (one, code) in enumerate(zip(chain, codes, strict=True)):
        say(f"repro: {one.run.name} once more, with the code of {'this checkout' if here else one.run.commit}")
        _run(code, state, _written(one, chain[:position], one is not chain[-1], folder), one.run)
    now = _newest(state, last.config_name)
    around = surroundings(last, now, codes[-1] / LOCK, here=here, erased=any(erased))
    pairs = compare(artifacts_of(root, last), Artifacts(now, state / "cache"))
    why = explained(pairs, chain[-1].config, around)
    return Repetition(last, now, pairs, around, why, state if keep else None)


def _code(root: Path, one: _Recorded, folder: Path) -> Path:
    """The code of a run's commit, with what its config reads beside it."""
    check_out(root, one.run, folder)
    _know_erasures(root, one.run, folder)
    lay_beside(_names(one, root), root, folder)
    return folder


def _chain(root: Path, run: RunRecord) -> list[RunRecord]:
    """The run; before it the one that made its dataset, if it made none."""
    if run.status != "completed":
        raise InputNotFoundError(f"the run didn't end well ({run.status})", where=run.name, hint="there is no result")
    if run.pipeline != "finetune":
        return [run]
    from zenml.client import Client

    from steps.zenml_runtime.context import noted

    version = noted(_of_zenml(run)).get("dataset", "")
    maker = Client().get_artifact_version(version).producer_pipeline_run_id
    return [find_run(root, str(maker)), run]


def _of_zenml(run: RunRecord) -> Any:
    from zenml.client import Client

    from steps.zenml_runtime.database import open_store, starting

    with starting():
        open_store()
    try:
        return Client().get_pipeline_run(run.run_id)
    except KeyError as e:
        hint = "use the ZenML store that it ran with: what it read stands there"
        raise InputNotFoundError("this ZenML store doesn't have the run", where=run.name, hint=hint) from e


def _recorded(root: Path, run: RunRecord) -> _Recorded:
    text = config_text(root, run)
    if not text:
        hint = "assay runs --sync brings it back from ZenML's store"
        raise InputNotFoundError("the run's config isn't in the index", where=run.name, hint=hint)
    values = yaml.safe_load(text)
    try:
        config = slotted(RunConfig.model_validate(values), slot_of(run.slot) if run.slot else None)
    except ValueError as e:
        hint = "check its commit out and use the assay that is there"
        raise ConfigError("its config is one of another version of assay", where=run.name, hint=hint) from e
    for said, source in zip((values.get("ingest") or {}).get("sources", ()), _sources(config), strict=True):
        said["path"] = source.path
    return _Recorded(run, config, values, recorded_inputs(_of_zenml(run)))


def _sources(config: RunConfig) -> tuple[SourceConfig, ...]:
    return config.ingest.sources if config.ingest else ()


def _names(one: _Recorded, root: Path) -> Iterator[str]:
    """What the config names by path."""
    from pipelines.input_digests import further_files, named_files
    from pipelines.stages import STAGES

    for source in _sources(one.config):
        if source.path is not None:
            yield source.path
    for names in named_files(one.config).values():
        yield from names
    for stage in (s for s in STAGES if s.further and one.config.runs(s.name)):
        yield from further_files(stage, getattr(one.config, stage.field), root)


def _written(one: _Recorded, before: Sequence[_Recorded], after: bool, folder: Path) -> Path:
    """The run's config as a file: what it took from elsewhere it takes from this state folder. `after`: another run
    goes on from its dataset, which is all that is wanted of it then.
    """
    values = {**one.values, "pipeline": "curate"} if after else dict(one.values)
    if values.get("reuse"):
        # Nothing is there to reuse; what is kept for later runs is made all the same.
        values["reuse"] = "latest"
    if before:
        values["dataset"] = before[-1].run.config_name
    if values.get("registry"):
        values["registry"] = {**values["registry"], "tracking_uri": None}
    file = folder / f"{one.run.config_name}.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def _know_erasures(root: Path, run: RunRecord, code: Path) -> None:
    """Raises InputNotFoundError where code that knows of no erasures would bring erased rows back."""
    if _erasures(str(state_folder(root) / FOLDER)) and not (code / "steps/contracts/tombstones.py").is_file():
        what = "rows were erased since, and the code of its commit knows of no erasures: it would bring them back"
        raise InputNotFoundError(what, where=run.name, hint="--here runs it with the code of this checkout")


def _erasures(uri: str) -> dict[str, bytes]:
    store = StateStore(uri)
    return {name: store.get(name) for name in store.names() if Path(name).suffix == ".json"}


def _bring_erasures(uris: Sequence[str], state: Path) -> None:
    for uri in uris:
        for name, text in _erasures(uri).items():
            file = state / FOLDER / Path(name).name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)


def _run(code: Path, state: Path, config: Path, run: RunRecord) -> None:
    """Raises the error class by which the repetition ended."""
    environment = {k: v for k, v in os.environ.items() if k not in _LEFT_OUT and not k.startswith("ZENML_")}
    environment |= {STATE: str(state), "ASSAY_ROOT": str(code), _PYTHON: str(code)}
    slot = ("--slot", run.slot) if run.slot else ()
    words = [sys.executable, "-m", "ops.main", "run", str(config), "--infra", "local", "--json", *slot]
    done = subprocess.run(words, cwd=code, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        kinds = {k.exit_code: k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, AssayError)}
        kind = kinds.get(done.returncode, StepFailedError)
        raise kind(f"it doesn't end well any more: status {done.returncode}, as said above", where=run.name)


def _newest(state: Path, config_name: str) -> RunRecord:
    found = (RunRecord.model_validate_json(f.read_bytes()) for f in state.glob("runs/*/run.json"))
    return max((r for r in found if r.config_name == config_name), key=lambda r: r.started)

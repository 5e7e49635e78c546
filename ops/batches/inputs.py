"""What `assay show-batch` reads: the rows and the model that a phase of training would start from, without a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from materializers import layout
from materializers.artifacts import is_remote
from ops.run_index import artifacts_of, known_runs
from ops.versions import newest_completed, trained_on
from pipelines.config import RunConfig
from steps.base.base import resolve_base
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.models import ModelFolder
from steps.contracts.records import Row
from steps.contracts.runs import RunRecord
from steps.engines.progress.progress import say
from steps.engines.template.effective import settings_of
from steps.ingest.peek import peek
from steps.split.config import SplitConfig
from steps.split.split import split
from steps.train.config import TrainConfig

# Chosen: files per source that are looked into.
_MOST_FILES = 8


@dataclass(frozen=True)
class Rows:
    """The rows, and where they come from. `version`: they are those of a dataset version, so that training reads just
    these; otherwise the first ones of the sources, as they are before any curation.
    """

    dataset: Dataset
    where: str
    version: bool
    scrubbed: bool


def phase_of(config: RunConfig, name: str | None) -> TrainConfig:
    """The phase of that name; None: the first.

    Raises:
        ConfigError: the config trains nothing, or has no such phase.
    """
    if not config.phases:
        raise ConfigError("pipeline 'curate' trains nothing, so there is no batch", where="pipeline")
    if name is None:
        return config.phases[0]
    found = next((p for p in config.phases if name in (p.name, p.model_name)), None)
    if found is None:
        names = ", ".join(p.model_name for p in config.phases)
        raise ConfigError(f"no phase {name!r}", where="--phase", hint=f"one of {names}")
    return found


def rows_for(root: Path, config: RunConfig, folder: Path) -> Rows:
    """The dataset version that the config names or that its newest completed run ended with, else the sources' first
    rows.

    Raises:
        InputNotFoundError: a dataset, a file or a source isn't there. InputError: no row can be read.
    """
    found = trained_on(root, config.dataset, config.name) if config.dataset else newest_completed(root, config.name)
    if found is not None:
        return Rows(found.dataset, f"run {found.run.name}, {found.artifact.name}", True, found.scrubbed)
    rows = list(_first_rows(config, root))
    if not rows:
        raise InputError("no row of the sources can be read", hint="`assay validate CONFIG` says why")
    writer = DatasetWriter(folder / "peeked", "ingest")
    writer.write_rows(rows)
    made = writer.close()
    labelled = split(made, config.split or SplitConfig(), StageContext(folder / "split", root)).rows
    return Rows(labelled, "the sources' first rows, before any curation", False, False)


def _first_rows(config: RunConfig, root: Path) -> Iterator[Row]:
    """Of each source the first ones of its first files; a row that stands there twice, once."""
    if config.ingest is None:
        return
    seen = set[str]()
    for source in config.ingest.sources:
        for file in islice(peek(source, config.ingest, root), _MOST_FILES):
            for row in file.rows:
                if row["record_id"] not in seen:
                    seen.add(row["record_id"])
                    yield row


def base_for(root: Path, config: RunConfig, folder: Path) -> ModelFolder:
    """The base model. One that is made by a function is taken from the newest run that made the same, or is made now.

    Raises: as `resolve_base`.
    """
    assert config.base is not None
    if not config.base.is_built:
        return resolve_base(config.base, folder, root, template=config.template)
    made = made_before(root, config)
    if made is None:
        say(f"{config.base.model} makes the base model, whose tokenizer is needed; no run has it yet")
        return resolve_base(config.base, folder, root, template=config.template)
    settings = settings_of(config.template, root)
    return ModelFolder(made.info.model_copy(update={"template": settings}), made.path)


def made_before(root: Path, config: RunConfig) -> ModelFolder | None:
    """The base that a function makes, as the newest run has made it from the same settings; None: no run has."""
    assert config.base is not None
    wanted = config.base.model_dump(mode="json")
    return next((m for r in known_runs(root) if r.config.get("base") == wanted and (m := _base_of(root, r))), None)


def _base_of(root: Path, run: RunRecord) -> ModelFolder | None:
    """The base that a run made, where its files lie on this machine."""
    for artifact in run.of_type("model"):
        if artifact.step == "base_step" and not is_remote(artifact.uri):
            folder = Path(layout.model_file(artifact.uri.removeprefix("file://"), ""))
            if folder.is_dir():
                return ModelFolder(artifacts_of(root, run).model(artifact), folder)
    return None

"""What a rank is given and what it gives back, as files."""

import dataclasses
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from steps.contracts.errors import AssayError
from steps.contracts.models import ModelFolder, ModelInfo
from steps.contracts.reports import Frozen
from steps.contracts.storage import write_whole
from steps.train.config import TrainConfig
from steps.train.report import Run
from steps.train.settings import Plan
from steps.train.start import Start

JOB, RESULT = "job.json", "result.json"


class Stored(Frozen):
    """A model and where its files lie on this machine; `path` None: only a reference."""

    info: ModelInfo
    path: Path | None

    @property
    def folder(self) -> ModelFolder:
        """The model."""
        return ModelFolder(self.info, self.path)


def recorded(model: ModelFolder) -> Stored:
    """A model as it is handed over."""
    return Stored(info=model.info, path=model.path)


class Job(Frozen):
    """A phase whose rows are encoded.

    Attributes:
        train, validation: folders of encoded rows (datasets' own format).
        asked: models that the objective asks, each as the start is given.
        sources, source_codes: of the validation rows, one code per row.
        end_tokens: ids that end trained turns.
        model: where the trained model goes.
        home: the run's checkpoints; resume: the one to go on from.
        journal: what the first rank writes of what is seen meanwhile.
    """

    base: Stored
    adapter: Stored | None
    asked: dict[str, tuple[Stored, Stored | None]]
    config: TrainConfig
    plan: Plan
    train: Path
    validation: Path | None
    sources: tuple[str, ...]
    source_codes: tuple[int, ...]
    end_tokens: tuple[int, ...]
    dataset_digest: str
    model: Path
    home: Path
    resume: Path | None
    journal: Path | None

    def places(self) -> list[Path]:
        """The files and folders that every rank reads, or writes into."""
        models = [self.base, self.adapter, *(m for both in self.asked.values() for m in both)]
        folders = [m.path for m in models if m is not None]
        return [p for p in (self.train, self.validation, self.home, self.resume, self.model.parent, *folders) if p]

    @property
    def start(self) -> Start:
        """What training starts from."""
        asked = {key: _start(*stored) for key, stored in self.asked.items()}
        return dataclasses.replace(_start(self.base, self.adapter), asked=asked)


def _start(base: Stored, adapter: Stored | None) -> Start:
    return Start(base.folder, adapter.folder if adapter else None)


class Result(Frozen):
    """What rank 0 has made."""

    model: ModelInfo
    run: Run


class RankError(Frozen):
    """Why a rank ended. `kind`: name of its class; `where`, `hint`: of an error of ours."""

    kind: str
    what: str
    where: str | None = None
    hint: str | None = None


def said_of(error: BaseException) -> RankError:
    """An error as it is told to another process."""
    known = error if isinstance(error, AssayError) else None
    return RankError(
        kind=type(error).__name__,
        what=known.what if known else str(error),
        where=known.where if known else None,
        hint=known.hint if known else None,
    )


def write(value: Frozen, path: Path) -> None:
    """Write one of these, whole or not at all."""
    write_whole(path, TypeAdapter(type(value)).dump_json(value, indent=1))


def read(kind: type[Any], path: Path) -> Any:
    """Read one of these."""
    return kind.model_validate_json(path.read_bytes())

"""Evaluations that were made outside a run, kept so that the same one isn't made twice.

<state>/measured/<key>/report.json, answers.parquet, manifest.json: the key is a digest of the model, the rows and the
settings, of our code and the libraries that decide over numbers. The manifest has the digests of the other two and is
written last; without one, or with others, nothing has been measured.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError

from ops.found_endpoints import Candidate, FoundEndpoint
from steps.contracts.code import code_digest
from steps.contracts.dataset import Dataset
from steps.contracts.digests import file_digest, value_digest
from steps.contracts.evaluation import Answers, EvalReport, Evaluation
from steps.contracts.locks import OwnFolder, locked, remove_left
from steps.contracts.models import ModelFolder
from steps.contracts.storage import aside, write_whole
from steps.engines.embed.config import CACHE as EMBEDDINGS
from steps.engines.progress.progress import say
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.measure import measure, measure_served
from steps.evaluate.named_files import files_of
from steps.evaluate.tasks import Suite
from steps.zenml_runtime.state import state_folder

FOLDER = "measured"
_SCRATCH = ".measuring-"
_REPORT, _ANSWERS, _MANIFEST = "report.json", "answers.parquet", "manifest.json"
# As the evaluation step's key names them.
_LIBRARIES = ("torch", "transformers", "peft", "rouge-score", "sacrebleu", "jsonschema")


@dataclass(frozen=True)
class Measured:
    """An evaluation, where it is kept, and whether it was there already."""

    evaluation: Evaluation
    folder: Path
    reused: bool


@dataclass(frozen=True)
class Terms:
    """What models are measured by.

    Attributes:
        suite: of `dataset` and `config`. root: what the paths in `config` are relative to.
        kept: the folder for evaluations.
        scrubbed: whether what is asked may go to a server elsewhere: rows that were scrubbed, or no rows at all but
            suites, which somebody named beside the server.
    """

    dataset: Dataset | None
    suite: Suite
    config: EvaluateConfig
    root: Path
    kept: Path
    scrubbed: bool = False


def kept_folder(root: Path) -> Path:
    """Where evaluations are kept unless somebody names another folder."""
    return state_folder(root) / FOLDER


def measured(model: Candidate, terms: Terms) -> Measured:
    """The model's evaluation on these terms: the one that is kept, else a new one.

    Raises: as `measure`; StorageError: it can't be kept.
    """
    parts = _parts(model, terms)
    folder = terms.kept / value_digest(parts)[:32]
    with locked(terms.kept / f".{folder.name}.lock", lambda: say(f"{model.name}: another process measures it ...")):
        known = _kept(folder, parts)
        if known is None:
            _make(model, terms, folder, parts)
            known = _kept(folder, parts)
            assert known is not None
            return Measured(_called(known, model.name), folder, reused=False)
    return Measured(_called(known, model.name), folder, reused=True)


def _parts(model: Candidate, terms: Terms) -> dict[str, Any]:
    """All that decides over an evaluation, as JSON values."""
    tasks = [[t.name, t.kind, t.data_digest, len(t.rows)] for t in terms.suite.tasks]
    named = (*terms.config.files(), *files_of(terms.config, lambda name: terms.root / name))
    files = {name: file_digest(terms.root / name) for name in named}
    return {
        "model": _identities(model),
        "dataset": terms.suite.dataset_digest,
        "tasks": tasks,
        "files": files,
        "settings": terms.config.of_one.model_dump(mode="json"),
        "code": code_digest("steps.evaluate.measure"),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def _identities(model: Candidate) -> list[Any]:
    if isinstance(model, FoundEndpoint):
        # Its replies are kept as well: a server that gives others under the same name isn't asked again.
        return ["endpoint", model.endpoint.model_dump(mode="json")]
    return [_identity(model.base), _identity(model.tuned) if model.tuned else None]


def _identity(model: ModelFolder) -> list[Any]:
    template = model.info.template
    return [model.info.digest, template.model_dump(mode="json") if template else None]


def all_kept(kept: Path, unread: Callable[[str], None]) -> Iterator[tuple[EvalReport, str]]:
    """Every whole evaluation in the folder, with when it was made (ISO 8601, UTC); what is damaged is told."""
    for folder in sorted(kept.glob("[!.]*/")):
        try:
            parts = json.loads((folder / _MANIFEST).read_bytes())["parts"]
            found = _kept(folder, parts)
        except (OSError, ValueError, KeyError, TypeError):
            found = None
        if found is None:
            unread(f"{folder}: not a whole evaluation")
            continue
        made = datetime.fromtimestamp((folder / _MANIFEST).stat().st_mtime, UTC)
        yield found.report, made.isoformat(timespec="seconds")


def _kept(folder: Path, parts: dict[str, Any]) -> Evaluation | None:
    """What a folder holds, if it is whole and of these parts."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        digests = {name: file_digest(folder / name) for name in (_REPORT, _ANSWERS)}
        if manifest != {"parts": json.loads(json.dumps(parts)), "files": digests}:
            return None
        report = EvalReport.model_validate_json((folder / _REPORT).read_bytes())
        return Evaluation(report, Answers(folder / _ANSWERS, pq.read_metadata(folder / _ANSWERS).num_rows))
    except (OSError, ValueError, ValidationError):
        return None


def _make(model: Candidate, terms: Terms, folder: Path, parts: dict[str, Any]) -> None:
    say(f"{model.name}: measuring ...")
    (folder / _MANIFEST).unlink(missing_ok=True)
    cache = state_folder() / EMBEDDINGS
    remove_left(terms.kept, _SCRATCH)
    with closing(OwnFolder(terms.kept, _SCRATCH)) as scratch:
        config = terms.config.of_one
        rest = (terms.dataset, config, terms.root, scratch.path, cache)
        if isinstance(model, FoundEndpoint):
            done = measure_served(model.name, model.endpoint, *rest, terms.scrubbed)
        else:
            done = measure(model.name, model.base, model.tuned, *rest)
        with aside(folder / _ANSWERS) as partial:
            done.answers.path.replace(partial)
    write_whole(folder / _REPORT, done.report.model_dump_json(indent=1))
    files = {name: file_digest(folder / name) for name in (_REPORT, _ANSWERS)}
    write_whole(folder / _MANIFEST, json.dumps({"parts": parts, "files": files}, indent=1))


def _called(evaluation: Evaluation, name: str) -> Evaluation:
    """The evaluation under the name that the model has here."""
    return Evaluation(evaluation.report.model_copy(update={"subject": name}), evaluation.answers)

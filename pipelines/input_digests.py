"""What a run reads from outside, by digest: it enters the cache keys, so that a changed byte re-runs what reads it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.config import RunConfig
from pipelines.stages import STAGES, Stage, imported, stage_named
from steps.contracts.digests import file_digest, folder_digests, value_digest
from steps.contracts.errors import InputNotFoundError
from steps.contracts.reports import Frozen
from steps.contracts.tombstones import INPUT, Tombstones
from steps.scrub.config import ScrubConfig
from steps.zenml_runtime.tombstones import own_tombstones
from steps.zenml_runtime.urls import downloaded, is_url


class Inputs(Frozen):
    """What the stages of a run read.

    Attributes:
        digests: stage -> SHA-256 (or pinned revision) per file, folder or model, by the name that the config gives it;
            stages that read nothing are left out.
        key_id: one-way fingerprint of the pseudonym key and the files that scrub reads; "" when nothing is scrubbed.
    """

    digests: dict[str, dict[str, str]] = Field(default_factory=dict)
    key_id: str = ""

    def of(self, stage: str) -> dict[str, str]:
        """What that stage reads."""
        return self.digests.get(stage, {})


def read_inputs(
    root: Path, config: RunConfig, roots: Mapping[str, Path] | None = None, tombstones: Tombstones | None = None
) -> Inputs:
    """Digests of everything the run reads from outside. `roots`: stages whose files lie under another root;
    `tombstones`: rows that were erased, by default those that the state folder knows.

    Raises:
        InputNotFoundError: a named file or folder doesn't exist.
    """
    at = {s.name: (roots or {}).get(s.name, root) for s in STAGES}
    found = {
        s.name: {
            **digests_of(s, getattr(config, s.field), at[s.name]),
            **_file_digests(at[s.name], s.files_of_run(config)),
        }
        for s in STAGES
        if config.runs(s.name)
    }
    erased = own_tombstones() if tombstones is None else tombstones
    for reader in ("ingest", "logs"):
        if erased and reader in found:
            found[reader][INPUT] = erased.digest
    key_id = scrub_id(at["scrub"], config.scrub) if config.scrub is not None and config.runs("scrub") else ""
    return Inputs(digests={name: digests for name, digests in found.items() if digests}, key_id=key_id)


def read_digest(config: RunConfig, inputs: Inputs, dataset: str) -> str:
    """One digest of a config and all that a run of it reads. `dataset`: digest of the version that fine-tuning alone
    starts from; "" otherwise.
    """
    return value_digest([config.model_dump(mode="json"), inputs.model_dump(mode="json"), dataset])


def named_files(config: RunConfig) -> dict[str, tuple[str, ...]]:
    """Per stage that runs: files that its settings name, by path or URL, and folders of models.

    Sources aren't among them: ingest reads those where they are, whatever their size.
    """
    named = {
        s.name: (*s.named(getattr(config, s.field)), *s.files_of_run(config)) for s in STAGES if config.runs(s.name)
    }
    return {stage: names for stage, names in named.items() if names}


def further_files(stage: Stage, settings: Any, root: Path) -> tuple[str, ...]:
    """Names of the files that the files which these settings name, name in turn.

    Raises:
        InputNotFoundError, ConfigError: one that settings name isn't there, or can't be read.
    """
    if not stage.further:
        return ()
    found: tuple[str, ...] = imported(stage.further)(settings, lambda name: _place(name, root))
    return found


def _place(name: str, root: Path) -> Path:
    """What a URL names lies under it where it was brought to this machine before."""
    return downloaded(name) if is_url(name) and not (root / name).is_file() else root / name


def digests_of(stage: Stage, settings: Any, root: Path) -> dict[str, str]:
    """Digests of the files and models that these settings of the stage name.

    Raises:
        InputNotFoundError: one of them doesn't exist.
    """
    if stage.digests:
        found: dict[str, str] = imported(stage.digests)(settings, root)
        return found
    models = {}
    if named := stage.models(settings):
        from steps.engines.embed.models import model_digest

        models = {name: model_digest(name, revision, root) for name, revision in named}
    documents = (n for n in stage.documents(settings) if (root / n).is_dir())
    folders = {n: value_digest(folder_digests(root / n)) for n in documents}
    paths = (*_paths(stage, settings), *further_files(stage, settings, root))
    return {**models, **folders, **_file_digests(root, [n for n in paths if n not in folders])}


def _paths(stage: Stage, settings: Any) -> tuple[str, ...]:
    return (*stage.files(settings), *stage.documents(settings))


def scrub_id(root: Path, config: ScrubConfig) -> str:
    """Fingerprint of the pseudonym key, and of what else scrub reads: word files, the NER model."""
    from steps.scrub.ner.models import model_digest
    from steps.scrub.pseudonyms.key import key_fingerprint, read_key

    key = key_fingerprint(read_key(config))
    outside = digests_of(stage_named("scrub"), config, root)
    if config.ner is not None:
        outside[config.ner.model] = model_digest(config.ner, root)
    return value_digest([key, outside]) if outside else key


def search_id(root: Path, config: ScrubConfig) -> str:
    """What `StageContext.search` is in a run with these settings."""
    from steps.scrub.row_codec import search_digest

    return search_digest(config, scrub_id(root, config))


def _file_digests(root: Path, paths: Sequence[str]) -> dict[str, str]:
    digests = {}
    for name in paths:
        file = _place(name, root)
        if not file.is_file():
            raise InputNotFoundError("no such file", where=name, hint=f"paths in a config start from {root}")
        digests[name] = file_digest(file)
    return digests

"""What a run reads from outside, by digest: it enters the cache keys, so that a changed byte re-runs what reads it."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from pipelines.config import RunConfig
from steps.base.config import BaseConfig
from steps.contracts.digests import file_digest, folder_digests, value_digest
from steps.contracts.errors import InputNotFoundError
from steps.contracts.reports import Frozen
from steps.scrub.config import ScrubConfig


class Inputs(Frozen):
    """SHA-256 (or pinned revision) per file or folder, by the name that the config gives it.

    Attributes:
        sources: files and hub datasets that ingest reads.
        benchmarks: files that the leak check compares with.
        decisions: files of human decisions that review applies.
        models: per stage, models that it shows rows to (hub models by commit, others by their files) and their files.
        base: files of a local base model.
        controls: files of the evaluation's control suite.
        key_id: one-way fingerprint of the pseudonym key and the files that scrub reads; "" when nothing is scrubbed.
    """

    sources: dict[str, str] = Field(default_factory=dict)
    benchmarks: dict[str, str] = Field(default_factory=dict)
    decisions: dict[str, str] = Field(default_factory=dict)
    models: dict[str, dict[str, str]] = Field(default_factory=dict)
    base: dict[str, str] = Field(default_factory=dict)
    controls: dict[str, str] = Field(default_factory=dict)
    key_id: str = ""


def read_inputs(root: Path, config: RunConfig) -> Inputs:
    """Digests of everything the run reads from outside.

    Raises:
        InputNotFoundError: a named file or folder doesn't exist.
    """
    from steps.ingest.ingest import input_digests

    sources = input_digests(config.ingest, root) if config.curates and config.ingest else {}
    benchmarks = _file_digests(root, [b.path for b in config.leakcheck.benchmarks]) if config.curates else {}
    decisions = _file_digests(root, config.review.decisions) if config.curates else {}
    controls: dict[str, str] = {}
    base: dict[str, str] = {}
    if config.tunes and config.base is not None:
        files = [c.path for c in config.evaluate.controls]
        controls = _file_digests(
            root, [*files, *([config.evaluate.json_schema] if config.evaluate.json_schema else [])]
        )
        base = _base_digests(root, config.base)
    key_id = ""
    if config.curates and config.scrub is not None and "scrub" not in config.skip:
        key_id = scrub_id(root, config.scrub)
    return Inputs(
        sources=sources, benchmarks=benchmarks, decisions=decisions, models=_model_digests(root, config), base=base,
        controls=controls, key_id=key_id,
    )  # fmt: skip


def scrub_id(root: Path, config: ScrubConfig) -> str:
    """Fingerprint of the pseudonym key, and of what else scrub reads: word files, the NER model."""
    from steps.scrub.ner.models import model_digest
    from steps.scrub.pseudonyms.pseudonym import key_fingerprint, read_key

    key = key_fingerprint(read_key(config))
    outside = _file_digests(root, config.word_files)
    if config.ner is not None:
        outside[config.ner.model] = model_digest(config.ner, root)
    return value_digest([key, outside]) if outside else key


def search_id(root: Path, config: ScrubConfig) -> str:
    """What `StageContext.search` is in a run with these settings."""
    from steps.scrub.row_codec import search_digest

    return search_digest(config, scrub_id(root, config))


def _model_digests(root: Path, config: RunConfig) -> dict[str, dict[str, str]]:
    """Per stage of curation the models that it shows rows to, by the name that the config gives them; and files."""
    from steps.engines.embed.models import model_digest

    digests: dict[str, dict[str, str]] = {}
    if config.curates and "screen" not in config.skip:
        found = {name: model_digest(name, revision, root) for name, revision in config.screen.models()}
        digests["screen"] = {**found, **_file_digests(root, config.screen.files())}
    if config.curates and config.semantic is not None:
        digests["semantic"] = {name: model_digest(name, revision, root) for name, revision in config.semantic.models()}
    return digests


def _base_digests(root: Path, config: BaseConfig) -> dict[str, str]:
    """Files of a local base by content, a hub model by the commit that its revision points to now."""
    from steps.engines.lm.hub import resolve_revision

    folder = root / config.model
    if folder.is_dir():
        return folder_digests(folder)
    return {} if config.model == "scratch" else {config.model: resolve_revision(config.model, config.revision)}


def _file_digests(root: Path, paths: Sequence[str]) -> dict[str, str]:
    digests = {}
    for name in paths:
        file = root / name
        if not file.is_file():
            raise InputNotFoundError("no such file", where=name, hint=f"paths in a config start from {root}")
        digests[name] = file_digest(file)
    return digests

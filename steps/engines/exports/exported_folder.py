"""A model written in a format, proven, and described by a manifest: all of a folder or nothing of it."""

import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from steps.contracts.digests import folder_digests
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.exports import ExportManifest, Parity
from steps.contracts.storage import full_disk, write_whole
from steps.engines.exports.folder_format import Asked, FolderFormat, Options, Source, Written
from steps.engines.exports.parity import check_parity, reference_of

MANIFEST = "export.json"
CARD = "README.md"
_PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "gguf", "xllamacpp", "onnx", "onnxruntime")
# Shares of tokens that may differ, each of them within ε; chosen: some times the largest of the tests' models.
MOST_DIFFERING: Mapping[str, float] = MappingProxyType({"bf16": 0.1, "bfloat16": 0.1, "q8_0": 0.2, "q4_k_m": 0.5})
_MOST = 0.05
# Chosen: room for answers in the check, and for what templates write around prompts.
_SPARE = 64


def write_export(
    source: Source,
    name: str,
    how: FolderFormat,
    folder: Path,
    scratch: Path,
    asked: Sequence[Asked],
    texts: Sequence[str],
    options: Options,
    *,
    format_name: str,
    epsilon: float | None = None,
    limit: float | None = None,
    max_new_tokens: int = 48,
    run: str | None = None,
) -> ExportManifest:
    """Write a model into an empty folder, its manifest last, once it has answered as the trained model does.

    Args:
        asked, texts: what both are asked, and tokenise.
        epsilon, limit: instead of the format's own: logits, and the share of tokens that may differ.

    Raises:
        IntegrityError: the export isn't the model. StorageError: there is no room.
        As the format's `write` and `opened`, and `load`.
    """
    try:
        written = how.write(source, folder, options, scratch)
        take_card(source, folder)
        reference = reference_of(source, asked, texts, max_new_tokens=max_new_tokens)
        context = max(len(r.prompt) + len(r.answer) for r in reference.replies) + _SPARE
        bound = how.epsilons[written.dtype] if epsilon is None else epsilon
        most = most_differing(written.dtype) if limit is None else limit
        room = Options(**{**vars(options), "context": max(context, options.context)})
        with how.opened(source, folder, room, scratch) as runtime:
            parity = check_parity(reference, runtime, bound, name, most)
        manifest = manifest_of(source, name, format_name, written, folder, parity, run)
        write_whole(folder / MANIFEST, manifest.model_dump_json(indent=1))
    except Exception as e:
        if full := full_disk(e):
            raise full from e
        raise
    return manifest


def manifest_of(
    source: Source, name: str, format_name: str, written: Written, folder: Path, parity: Parity, run: str | None = None
) -> ExportManifest:
    """What is told of files that were written and proven. Its arguments are those of `write_export`."""
    return ExportManifest(
        format=format_name, dtype=written.dtype, model=source.model.info.digest, name=name, run=run,
        base=source.base.info.base, base_digest=source.base.info.digest, files=folder_digests(folder), parity=parity,
        notes=tuple(written.notes), facts=dict(written.facts), packages=_packages(),
    )  # fmt: skip


def most_differing(dtype: str) -> float:
    """The share of tokens that an export in a number format may say otherwise."""
    return MOST_DIFFERING.get(dtype, _MOST)


def read_manifest(folder: Path) -> ExportManifest:
    """What an exported folder says of itself.

    Raises:
        InputNotFoundError: there is no manifest. IntegrityError: it can't be read.
    """
    try:
        return ExportManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError as e:
        raise InputNotFoundError(f"no {MANIFEST}: no export of a model", where=str(folder)) from e
    except ValidationError as e:
        raise IntegrityError(f"not a manifest: {e.errors()[0]['msg']}", where=str(folder / MANIFEST)) from e


def verify_files(folder: Path) -> ExportManifest:
    """The manifest, once every file has been read and held against it.

    Raises: as `read_manifest`; IntegrityError: a file was changed, is gone or came later.
    """
    manifest = read_manifest(folder)
    found: dict[str, Any] = {n: d for n, d in folder_digests(folder).items() if n != MANIFEST}
    wrong = sorted(n for n in {*found, *manifest.files} if found.get(n) != manifest.files.get(n))
    if wrong:
        what = f"changed, missing or new files: {', '.join(wrong)}"
        raise IntegrityError(what, where=str(folder), hint="export the model anew")
    return manifest


def take_card(source: Source, folder: Path) -> None:
    """Copy the card that lies beside the weights, where one does."""
    place = source.model.path
    if place is not None and (place / CARD).is_file():
        shutil.copyfile(place / CARD, folder / CARD)


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

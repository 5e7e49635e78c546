"""A model folder on disk: which files it holds, their digests, and how many weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from steps.contracts.digests import unchanged_file_digest, value_digest
from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError, UnsafeSerializationError
from steps.contracts.models import (
    BASE,
    PICKLE_SUFFIXES,
    Ancestor,
    BaseRef,
    ModelFolder,
    ModelInfo,
    TemplateSettings,
)

# transformers turns it into plain weights where it is told to.
_UNPACKED = "mxfp4"


def model_files(path: Path) -> dict[str, str]:
    """SHA-256 per file below a model folder, by relative POSIX path; hidden and pickle files are left out.

    Raises:
        InputNotFoundError: no such folder, or no safetensors weights in it.
    """
    if not path.is_dir():
        raise InputNotFoundError("no such model folder", where=str(path), hint="name a folder with config.json in it")
    found = [p for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p.relative_to(path))]
    if not any(p.suffix == ".safetensors" for p in found):
        raise InputNotFoundError(
            "no *.safetensors weights in this model folder",
            where=str(path),
            hint="save the model with save_pretrained(..., safe_serialization=True); pickled weights are never read",
        )
    return {p.relative_to(path).as_posix(): unchanged_file_digest(p) for p in found if p.suffix not in PICKLE_SUFFIXES}


def model_folder(
    path: Path,
    *,
    kind: Literal["full", "adapter"],
    base: BaseRef,
    parameters: int,
    trainable: int = 0,
    notes: Sequence[str] = (),
    dataset_digest: str | None = None,
    name: str = BASE,
    objective: str | None = None,
    weights: str | None = None,
    started_from: tuple[Ancestor, ...] = (),
    template: TemplateSettings | None = None,
) -> ModelFolder:
    """Describe a folder that this project has just written: every file is digested. The arguments are ModelInfo's.

    Raises:
        UnsafeSerializationError: there is a pickle file in it (`training_args.bin` of a Trainer, say).
    """
    pickled = [p.relative_to(path).as_posix() for p in sorted(path.rglob("*")) if p.suffix in PICKLE_SUFFIXES]
    if pickled:
        raise UnsafeSerializationError(
            f"pickle files in a model folder: {', '.join(pickled)}",
            where=str(path),
            hint="keep safetensors, JSON and text files only",
        )
    files = model_files(path)
    info = ModelInfo(
        kind=kind,
        base=base,
        digest=value_digest(files),
        files=files,
        parameters=parameters,
        trainable=trainable,
        dataset_digest=dataset_digest,
        name=name,
        objective=objective,
        weights=weights,
        started_from=started_from,
        template=template,
        notes=tuple(notes),
    )
    return ModelFolder(info, path)


def check_files(path: Path, expected: Mapping[str, str] | str) -> None:
    """Compare a folder's files with their recorded digests, or with the one digest over all of them.

    Raises:
        IntegrityError: a file was changed, added or removed since.
    """
    found = model_files(path)
    if isinstance(expected, str):
        if value_digest(found) != expected:
            raise IntegrityError(
                "the model's files are not the ones that were recorded",
                where=str(path),
                hint="restore the folder, or run the base stage again to record the new files",
            )
        return
    names = sorted({*found, *expected})
    changed = [n for n in names if found.get(n) != expected.get(n)]
    if changed:
        raise IntegrityError(f"changed, missing or new model files: {', '.join(changed)}", where=str(path))


def quantization_of(path: Path) -> str | None:
    """How the weights of a folder are quantized, by its config.json: mxfp4 (gpt-oss), which can be unpacked, or None.

    Raises:
        ConfigError: in any other way.
    """
    try:
        described = json.loads((path / "config.json").read_text("utf-8"))
        found = described.get("quantization_config")
    except (OSError, ValueError, AttributeError):  # whoever loads it says what is wrong
        return None
    if not found:
        return None
    method = str(found.get("quant_method"))
    if method != _UNPACKED:
        raise ConfigError(
            f"the model's weights are quantized ({method}); they can be neither trained nor compared here",
            where=str(path), hint="name the model that was quantized",
        )  # fmt: skip
    return method


def count_parameters(path: Path) -> int:
    """Number of weights stored in a folder's safetensors files, read from their headers only.

    Tied weights are stored once and count once. Raises IntegrityError when a header can't be read.
    """
    return sum(_header_weights(p) for p in sorted(path.rglob("*.safetensors")))


def _header_weights(file: Path) -> int:
    # Format: 8 bytes little-endian header length, then JSON {tensor: {dtype, shape, data_offsets}}
    # (https://huggingface.co/docs/safetensors, "Format").
    with file.open("rb") as f:
        size = int.from_bytes(f.read(8), "little")
        if not 2 <= size <= file.stat().st_size:
            raise IntegrityError("not a safetensors file: its header is longer than the file", where=str(file))
        raw = f.read(size)
    try:
        header = json.loads(raw)
    except ValueError as e:
        raise IntegrityError("not a safetensors file: its header is not JSON", where=str(file)) from e
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            count = 1
            for side in tensor["shape"]:
                count *= side
            total += count * _packed(name, tensor["dtype"])
    return total


def _packed(name: str, dtype: str) -> int:
    """Weights in one number of a tensor: mxfp4 has two in a byte, and scales beside them."""
    if dtype != "U8":
        return 1
    return 0 if name.endswith("_scales") else 2


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)

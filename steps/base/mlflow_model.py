"""Which files of a model that others registered in MLflow are a causal language model with its tokenizer."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from steps.contracts.errors import ConfigError, InputNotFoundError

# What a folder of a causal model needs; never pickled weights, never code.
_WANTED = (".safetensors", ".json", ".jinja", ".txt")
_TOKENIZER_MODEL = "tokenizer.model"
# What MLflow itself writes beside a model.
_OF_MLFLOW = ("requirements.txt", "input_example.json", "serving_input_example.json")
# How the classes end that write tokens; the others of a family score, embed or label.
_WRITES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
# Where MLflow's flavor `transformers` puts a pipeline's tokenizer, and where it put models before 2.4.1.
_COMPONENTS, _BEFORE = "components", "pipeline"


@dataclass(frozen=True)
class Layout:
    """Folders of a version, relative to it ("": itself), and its files that are wanted.

    Attributes:
        weights: with config.json and safetensors. tokenizer: the same, or another.
    """

    weights: str
    tokenizer: str
    files: tuple[str, ...]


def layout_of(place: str, names: Sequence[str], read: Callable[[str], bytes]) -> Layout:
    """Where the model lies among a version's files.

    Args:
        place: what the version is called, for errors. read: the content of a small one of the files.

    Raises:
        InputNotFoundError: there is no model, or several, or no tokenizer. ConfigError: it is an adapter, only named
            there, or no causal language model.
    """
    weights, tokenizer = _of_flavor(place, names, read) or _of_folders(place, names)
    _require_writing(place, _json(place, _within(weights, "config.json"), read))
    if _within(tokenizer, "tokenizer_config.json") not in names:
        raise InputNotFoundError(
            f"{place} has weights, and no tokenizer", where=weights or place,
            hint="log both: mlflow.transformers.log_model(transformers_model={'model': ..., 'tokenizer': ...})",
        )  # fmt: skip
    wanted = [n for n in names if _folder(n) == weights and _is_wanted(n)]
    known = {PurePosixPath(n).name for n in wanted}
    # What lies in both is the weights' own, but for the tokenizer's files.
    beside = [n for n in names if _folder(n) == tokenizer != weights and _is_wanted(n)]
    wanted += [n for n in beside if PurePosixPath(n).name not in known]
    return Layout(weights, tokenizer, tuple(sorted(wanted)))


def _of_flavor(place: str, names: Sequence[str], read: Callable[[str], bytes]) -> tuple[str, str] | None:
    """Folders of what `mlflow.transformers.log_model` wrote; None: something else wrote it."""
    flavor = _flavor(names, read)
    if flavor is None:
        return None
    if flavor.get("peft_adaptor"):
        raise ConfigError(
            f"{place} is an adapter of peft", where=place,
            hint="merge it (merge_and_unload) and log the whole model, or start from the model under it",
        )  # fmt: skip
    weights = str(flavor.get("model_binary") or _BEFORE)
    if _within(weights, "config.json") not in names:
        named = flavor.get("source_model_name")
        revision = flavor.get("source_model_revision")
        raise ConfigError(
            f"{place} names its weights, and doesn't hold them (save_pretrained=False)", where=place,
            hint=f"start from them: base: {{model: {named}{f', revision: {revision}' if revision else ''}}}"
            if named else "log the model with its weights",
        )  # fmt: skip
    _require_safetensors(place, weights, names)
    own = f"{_COMPONENTS}/tokenizer"
    return weights, own if _within(own, "tokenizer_config.json") in names else weights


def _flavor(names: Sequence[str], read: Callable[[str], bytes]) -> dict[str, Any] | None:
    if "MLmodel" not in names:
        return None
    try:
        flavors = (yaml.safe_load(read("MLmodel")) or {}).get("flavors") or {}
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError):
        return None
    found = flavors.get("transformers") if isinstance(flavors, dict) else None
    return found if isinstance(found, dict) else None


def _of_folders(place: str, names: Sequence[str]) -> tuple[str, str]:
    """Folder of the only whole model among any files."""
    described = sorted({_folder(n) for n in names if PurePosixPath(n).name == "config.json"})
    whole = [f for f in described if any(_folder(n) == f and n.endswith(".safetensors") for n in names)]
    if len(whole) > 1:
        raise InputNotFoundError(
            f"{place} holds {len(whole)} models, in {', '.join(f or '.' for f in whole)}", where=place,
            hint="register the one that is meant by itself",
        )  # fmt: skip
    if whole:
        return whole[0], whole[0]
    if any(PurePosixPath(n).name == "adapter_config.json" for n in names):
        raise ConfigError(
            f"{place} is an adapter, without the weights that it lies over", where=place,
            hint="merge it and register the whole model, or start from the model under it",
        )  # fmt: skip
    if described:
        _require_safetensors(place, described[0], names)
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    raise InputNotFoundError(
        f"{place} holds no transformers model (config.json beside *.safetensors), but {shown}", where=place,
        hint="log it with mlflow.transformers.log_model, or its folder (save_pretrained) as an artifact",
    )  # fmt: skip


def _require_safetensors(place: str, folder: str, names: Sequence[str]) -> None:
    if not any(_folder(n) == folder and n.endswith(".safetensors") for n in names):
        raise InputNotFoundError(
            f"{place} has no *.safetensors in {folder or '.'}; pickled weights are never read", where=place,
            hint="save the model with save_pretrained(..., safe_serialization=True) and register it again",
        )  # fmt: skip


def _require_writing(place: str, described: dict[str, Any]) -> None:
    """Refuse models that score, embed or translate: their layers would load below a head that was never trained."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind, classes = str(described.get("model_type")), described.get("architectures") or []
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and all(str(c).endswith(_WRITES) for c in classes):
        return
    raise ConfigError(
        f"{place} is no causal language model, but {', '.join(map(str, classes)) or f'of the type {kind}'}",
        where=place,
        hint="start from a model that writes text, token by token",
    )  # fmt: skip


def _json(place: str, name: str, read: Callable[[str], bytes]) -> dict[str, Any]:
    try:
        found = json.loads(read(name))
    except ValueError as e:
        raise InputNotFoundError(f"{place}: {name} is no JSON", where=place) from e
    if not isinstance(found, dict):
        raise InputNotFoundError(f"{place}: {name} describes no model", where=place)
    return found


def _folder(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent


def _within(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _is_wanted(name: str) -> bool:
    own = PurePosixPath(name).name
    return own == _TOKENIZER_MODEL or (own.endswith(_WANTED) and own not in _OF_MLFLOW)

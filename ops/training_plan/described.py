"""Where the description of a base lies (its config.json), without asking any server."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ops.batches.inputs import made_before
from pipelines.config import RunConfig
from steps.base.config import BaseConfig
from steps.base.inputs import on_this_machine
from steps.contracts.errors import ConfigError, InputNotFoundError

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
_HOW = "name its config.json with --base FILE (or a folder that has it); `hf download {} config.json` fetches it"


@dataclass(frozen=True)
class Described:
    """A base as far as its config.json tells.

    Attributes:
        name: as the config has it.
        file: its config.json.
        has_weights: whether the folder holds weights and tokenizer as well.
        licence: None: nobody says.
        licence_from: who says.
    """

    name: str
    file: Path
    has_weights: bool
    licence: str | None
    licence_from: str = ""

    def values(self) -> dict[str, Any]:
        """What config.json says.

        Raises:
            ConfigError: it isn't one.
        """
        try:
            values = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise ConfigError(f"not a config.json: {e}", where=str(self.file)) from e
        if not isinstance(values, dict) or "model_type" not in values:
            hint = "take the config.json of a transformers model"
            raise ConfigError("not a config.json: it names no model_type", where=str(self.file), hint=hint)
        return values


def on_meta(values: dict[str, Any], where: Path) -> Callable[[], Any]:
    """A function that makes the model on the meta device: nothing is allocated."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        read = AutoConfig.for_model(values.pop("model_type"), **values)
    except ValueError as e:
        raise ConfigError(f"transformers doesn't know this model: {str(e).splitlines()[0]}", where=str(where)) from e

    def make() -> Any:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(read)

    return make


def described(root: Path, config: RunConfig, given: Path | None = None) -> Described:
    """The base's description: the file or folder `given`, a local base, one that a run has made, or the hub's cache on
    this machine.

    Raises:
        InputNotFoundError: there is none here.
    """
    base = config.base
    assert base is not None
    if given is not None:
        return found_at(given, base)
    if base.is_built:
        made = made_before(root, config)
        if made is not None and made.path is not None:
            return found_at(made.path, base)
        hint = "run it once, or name a config.json with --base FILE"
        raise InputNotFoundError(
            "a function makes this base, and no run has it yet", where=f"base.model: {base.model}", hint=hint
        )
    if base.registered is not None:
        hint = "name its config.json with --base FILE: that of the model which the registered one was trained from"
        raise InputNotFoundError("the registry isn't asked", where=f"base.model: {base.model}", hint=hint)
    place = on_this_machine(root, base)
    if place is None:
        raise InputNotFoundError(
            "its description isn't on this machine", where=f"base.model: {base.model}", hint=_HOW.format(base.model)
        )
    return found_at(place, base)


def found_at(place: Path, base: BaseConfig) -> Described:
    """What a config.json, or a folder that has one, says.

    Raises:
        InputNotFoundError: there is none.
    """
    file = place / "config.json" if place.is_dir() else place
    if not file.is_file():
        raise InputNotFoundError("no config.json", where=str(place), hint="name a file, or a folder that has one")
    whole = any(file.parent.glob("*.safetensors")) and (file.parent / "tokenizer_config.json").is_file()
    if base.licence:
        return Described(base.model, file, whole, base.licence, "base.licence")
    licence = _licence(file.parent / "README.md")
    return Described(base.model, file, whole, licence, "README.md" if licence else "")


def _licence(card: Path) -> str | None:
    """What a model card says between its first lines of dashes."""
    matter = _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    try:
        values = yaml.safe_load(matter.group(1)) if matter else None
    except yaml.YAMLError:
        return None
    said = values.get("license_name") or values.get("license") if isinstance(values, dict) else None
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said) if said else None

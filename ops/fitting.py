"""Whether phases of training fit the models that they name, as far as files on this machine tell: no weights are read,
and no server is asked.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.training_plan.described import described, on_meta
from pipelines.config import RunConfig
from steps.base.config import BaseConfig
from steps.base.inputs import on_this_machine
from steps.contracts.errors import AssayError, ConfigError
from steps.train.asked import require_same_vocabulary
from steps.train.config import TrainConfig, added_tokens
from steps.train.memory_estimate import EXPERTS
from steps.train.objectives.registry import objective_of
from steps.train.vocabulary import require_embeddings_trained
from steps.train.weights.registry import weights_of


def base_folder(root: Path, config: RunConfig) -> Path | None:
    """Where the base's config.json lies on this machine; None: nowhere."""
    if config.base is None or not config.tunes:
        return None
    try:
        return described(root, config).file.parent
    except AssayError:
        return None


def values_of(folder: Path) -> dict[str, Any]:
    """What config.json says; nothing where it isn't one: who loads the model says so."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def require_weights_fit(values: Mapping[str, Any], phase: TrainConfig, where: Path) -> None:
    """Refuse layers, ranks and patterns that a model with this config.json has no place for. It is made without weights
    (some seconds), and only where the phase names parts of it, or it is a mixture of experts, which not all goes with.

    Raises:
        ConfigError: the options don't fit.
    """
    kind = weights_of(phase.weights)
    text = values.get("text_config") or values
    if "model_type" not in values or not (kind.names_parts or any(text.get(name) for name in EXPERTS)):
        return
    import torch

    make = on_meta(dict(values), where)
    with torch.device("meta"), warnings.catch_warnings():
        # transformers 5 warns of names of its own, which peft uses.
        warnings.simplefilter("ignore", FutureWarning)
        model = kind.attached(make())
    if kind.stored_as == "full":
        require_embeddings_trained(model, range(len(phase.new_tokens)))


def require_teacher_fits(root: Path, config: RunConfig, phase: TrainConfig, base: Path | None) -> None:
    """Refuse a teacher that reads other tokens than the phase's model. `base`: where the base's files are.

    Raises:
        ConfigError: the vocabularies differ.
    """
    for source in objective_of(phase.objective).asks() if phase.objective.kind == "distill" else ():
        own, where = added_tokens(config.phases, phase.model_name), f"the teacher: {source.key}"
        if source.phase is not None:
            if own != added_tokens(config.phases, source.phase):
                raise ConfigError(
                    f"the phase {source.phase} has other new_tokens than {phase.model_name}, and so another vocabulary",
                    where=where, hint="add the tokens in a phase that both start from",
                )  # fmt: skip
        elif base is not None and source.model is not None and not source.registered:
            folder = on_this_machine(root, BaseConfig(model=source.model, revision=source.revision))
            if folder is not None:
                require_same_vocabulary(base, folder, own, where)

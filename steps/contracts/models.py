"""Models as they cross stages: a folder of safetensors with tokenizer and template, or a reference to one."""

import re
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from steps.contracts.reports import Frozen

# File name endings under which PyTorch, Keras, Flax and NumPy store weights (or anything else) by pickle. A file with
# one of them is never written, stored, downloaded or read as part of a model.
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"})


class BaseRef(Frozen):
    """A base model by name and pinned content, without its weights.

    hub      `name` is the hub id, `revision` the resolved commit hash
    local    `name` is the folder's path, `digest` the digest of its files
    scratch  `name` is "scratch", `digest` the digest of its files
    registered  `name` is the version in MLflow's registry (models:/NAME/3) that somebody else made, `digest` the digest
             of the files that were taken of it
    """

    source: Literal["hub", "local", "scratch", "registered"]
    name: str
    revision: str | None = None
    digest: str | None = None


BASE = "base"
# The subject that the registered champion is evaluated as.
CHAMPION = "champion"
_REGISTERED = re.compile(r"models:/(?P<name>[^@/\s#:]+)(?:@(?P<alias>[^@/\s#]+)|/(?P<version>[1-9][0-9]*))")


def registered_model(name: str) -> dict[str, str | None] | None:
    """`name` and `version` or `alias` of the registered model that models:/NAME@ALIAS or models:/NAME/VERSION means;
    None where it means none.

    Raises:
        ValueError: it doesn't say which version.
    """
    match = _REGISTERED.fullmatch(name)
    if match is None and name.startswith("models:/"):
        raise ValueError(f"{name}: say which version, as models:/NAME/3 or models:/NAME@champion")
    return match.groupdict() if match else None


class Ancestor(Frozen):
    """A model on the way to another: the base, or what a phase of training made of it.

    Attributes:
        name: "base", or the phase's name.
        digest: of its files.
        kind: "full", or "adapter" over the nearest full ancestor before it.
        objective: what it was trained for; None for a base.
        weights: the kind of weights that was trained; None for a base.
        dataset_digest: digest of the dataset version it was trained on; None for a base.
    """

    name: str
    digest: str
    kind: Literal["full", "adapter"]
    objective: str | None = None
    weights: str | None = None
    dataset_digest: str | None = None


class TemplateSettings(Frozen):
    """How a model's rows become text, where that isn't its own template as it is.

    Attributes:
        config: the settings, as `engines.template.config.TemplateConfig` has them.
        override: the text of the template that is used instead of the model's own; None: there is none.
    """

    config: dict[str, JsonValue]
    override: str | None = None


class ModelInfo(Frozen):
    """What a model folder holds.

    Attributes:
        kind: "full" (all weights) or "adapter" (PEFT adapter over the last full model of `started_from`).
        base: the base at the start of the chain; of an untrained model, itself.
        digest: value_digest of `files`.
        files: SHA-256 per file, by relative POSIX path; empty for a pure reference (weights stay where they are).
        parameters: number of weights of the whole model (base and adapter).
        trainable: number of weights that were trained; 0 for an untouched base.
        dataset_digest: digest of the dataset version it was trained on; None for a base.
        name: "base", or the name of the phase of training that made it.
        objective: what it was trained for; None for a base.
        weights: the kind of weights that was trained; None for a base.
        started_from: the chain back to the base, which is the first; the last is what training started from. Empty
            for a base, and for models recorded before chains were.
        template: the settings of its chat template; None: its own as it is.
        notes: plain sentences that a reader must know.
        seconds, cpu_seconds: wall clock, and user + system, of making a base here; 0 where it was found. What training
            costs stands in its report.
    """

    kind: Literal["full", "adapter"]
    base: BaseRef
    digest: str
    files: dict[str, str]
    parameters: int
    trainable: int = 0
    dataset_digest: str | None = None
    name: str = BASE
    objective: str | None = None
    weights: str | None = None
    started_from: tuple[Ancestor, ...] = ()
    template: TemplateSettings | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def over(self) -> str | None:
        """Digest of the full model that an adapter lies over; None: full itself, or not recorded."""
        if self.kind == "full":
            return None
        return next((a.digest for a in reversed(self.started_from) if a.kind == "full"), None)

    @property
    def lineage(self) -> tuple[Ancestor, ...]:
        """The chain from the base up to and with this model: what a model that starts from it started from."""
        this = Ancestor(
            name=self.name, digest=self.digest, kind=self.kind, objective=self.objective, weights=self.weights,
            dataset_digest=self.dataset_digest,
        )  # fmt: skip
        return (*self.started_from, this)


class ModelFolder:
    """A model on disk (`path`), or only a reference to one on the hub or in a local folder (`path` is None)."""

    def __init__(self, info: ModelInfo, path: Path | None) -> None:
        self.info = info
        self.path = path

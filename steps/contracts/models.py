"""Models as they cross stages: a folder of safetensors with tokenizer and template, or a reference to one."""

from pathlib import Path
from typing import Literal

from steps.contracts.reports import Frozen

# File name endings under which PyTorch, Keras, Flax and NumPy store weights (or anything else) by pickle. A file with
# one of them is never written, stored, downloaded or read as part of a model.
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"})


class BaseRef(Frozen):
    """A base model by name and pinned content, without its weights.

    hub      `name` is the hub id, `revision` the resolved commit hash
    local    `name` is the folder's path, `digest` the digest of its files
    scratch  `name` is "scratch", `digest` the digest of its files
    """

    source: Literal["hub", "local", "scratch"]
    name: str
    revision: str | None = None
    digest: str | None = None


class ModelInfo(Frozen):
    """What a model folder holds.

    Attributes:
        kind: "full" (all weights) or "adapter" (PEFT adapter over `base`).
        base: the model it starts from; for a full model that was trained, what it was trained from.
        digest: value_digest of `files`.
        files: SHA-256 per file, by relative POSIX path; empty for a pure reference (weights stay where they are).
        parameters: number of weights of the whole model (base and adapter).
        trainable: number of weights that were trained; 0 for an untouched base.
        dataset_digest: digest of the dataset version it was trained on; None for a base.
        notes: plain sentences that a reader must know.
    """

    kind: Literal["full", "adapter"]
    base: BaseRef
    digest: str
    files: dict[str, str]
    parameters: int
    trainable: int = 0
    dataset_digest: str | None = None
    notes: tuple[str, ...] = ()


class ModelFolder:
    """A model on disk (`path`), or only a reference to one on the hub or in a local folder (`path` is None)."""

    def __init__(self, info: ModelInfo, path: Path | None) -> None:
        self.info = info
        self.path = path

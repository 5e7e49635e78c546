"""Models that an objective asks beside the one that it trains: reward models, teachers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from steps.contracts.errors import ConfigError
from steps.contracts.models import registered_model
from steps.contracts.reports import Frozen
from steps.train.settings import Plan
from steps.train.start import Start


class ModelSource(Frozen):
    """A model that another run made, or an earlier phase of this one."""

    model: str | None = Field(
        None,
        min_length=1,
        description="Local folder with safetensors, hub id (owner/name), or a registered model: models:/NAME@champion,"
        " models:/NAME/3.",
    )
    revision: str | None = Field(None, description="Of a hub id: commit hash, branch or tag.")
    phase: str | None = Field(None, description="Name of an earlier phase of this run.")

    @model_validator(mode="after")
    def _which(self) -> Self:
        if self.registered and self.revision is not None:
            raise ValueError(f"revision is set, but {self.model} says which version: drop revision")
        if self.revision is not None and self.model is None:
            raise ValueError("revision is set, but no hub id: name it as model")
        return self

    @property
    def registered(self) -> dict[str, str | None] | None:
        """Name and version or alias of the registered model that is meant; None: it is none."""
        return registered_model(self.model) if self.model is not None else None

    @property
    def key(self) -> str:
        """What the model is found by."""
        if self.phase is not None:
            return f"phase {self.phase}"
        return f"{self.model} at {self.revision}" if self.revision is not None else f"{self.model}"


def found_model(source: ModelSource, root: Path) -> Start:
    """A model of a folder (relative paths start from `root`) or of the hub.

    Raises:
        InputNotFoundError: there is no such folder or hub model. ServiceError: the hub can't be reached.
    """
    from steps.engines.lm.hub import download, resolve_revision
    from steps.engines.lm.references import hub_reference, local_reference

    name = str(source.model)
    if (folder := _folder(name, root)) is not None:
        return Start(local_reference(folder))
    commit = resolve_revision(name, source.revision)
    return Start(hub_reference(name, commit, download(name, commit)))


def input_digests(sources: Sequence[ModelSource], root: Path) -> dict[str, str]:
    """Folders by the digests of their files, hub models by the commit that their revision points to now. The others are
    no inputs from outside: they are found in the registry, or another phase makes them.

    Raises:
        ConfigError: a folder is asked for in a revision.
        InputNotFoundError: there is no such folder or hub model, or no weights in it. ServiceError: the hub can't be
            reached.
    """
    from steps.engines.lm.folder import model_files
    from steps.engines.lm.hub import resolve_revision

    found: dict[str, str] = {}
    for source in sources:
        if source.model is None or source.registered:
            continue
        if (folder := _folder(source.model, root)) is not None:
            if source.revision is not None:
                hint = "drop revision; the folder's files are pinned by their digests"
                raise ConfigError("revision is set, but this is a folder", where=source.model, hint=hint)
            found |= {f"{source.model}/{name}": digest for name, digest in model_files(folder).items()}
        else:
            found[source.key] = resolve_revision(source.model, source.revision)
    return found


def _folder(name: str, root: Path) -> Path | None:
    from steps.engines.lm.references import local_folder

    return local_folder(name, root, others=", or models:/NAME/3")


def asked_dtype(plan: Plan) -> str:
    """The number format of models that are only asked: 16 bits, where training computes in bfloat16."""
    return "bfloat16" if plan.bf16 or plan.dtype == "bfloat16" else "float32"


def require_same_tokens(tokenizer: Any, other: Any, what: str, where: str) -> None:
    """Refuse a model that reads other token ids.

    Raises:
        ConfigError: its vocabulary is another.
    """
    if other.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(
            f"the {what} has another vocabulary than the model that is trained", where=where,
            hint="take one of the same family, whose tokenizer has the same tokens",
        )  # fmt: skip


def require_same_vocabulary(own: Path, other: Path, added: Sequence[str], where: str) -> None:
    """Refuse a teacher by the files of its folder, as far as they are there. `own`: of what training starts from;
    `added`: tokens that are added to its.

    Raises:
        ConfigError: its vocabulary is another, or its head has another size.
    """
    if not (_has_tokenizer(own) and _has_tokenizer(other)):
        return
    student = _tokenizer(own)
    student.add_tokens(list(added))
    require_same_tokens(student, _tokenizer(other), "teacher", where)
    sizes = _outputs(own), _outputs(other)
    if not added and None not in sizes:
        require_same_head(*sizes, where)


def _has_tokenizer(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)


def _outputs(folder: Path) -> int | None:
    """Of the head, by config.json; None: it doesn't say."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        size = (values.get("text_config") or values).get("vocab_size")
    except (OSError, ValueError, AttributeError):
        return None
    return size if isinstance(size, int) else None


def require_same_head(own: int | None, other: int | None, where: str) -> None:
    """Refuse a teacher whose distributions are over another number of tokens than the trained model's.

    Raises:
        ConfigError: it has more or fewer outputs.
    """
    if own != other:
        raise ConfigError(
            f"the teacher's head has {other} outputs, that of the model that is trained {own}", where=where,
            hint="take a teacher of the same family and vocab_size",
        )  # fmt: skip


def asked_parameters(asked: Mapping[str, Start]) -> int:
    """Weights of all of them."""
    return sum(start.model.info.parameters for start in asked.values())

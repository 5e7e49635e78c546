"""A format in which a model is written for other programs: a folder, and the runtime that it is proven in."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from steps.contracts.errors import ConfigError
from steps.contracts.models import ModelFolder
from steps.contracts.records import Row
from steps.engines.lm.scorer import is_scorer

# Messages that end with a user's one, or a plain text to go on with (models without a chat template).
Asked = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Source:
    """The model that is exported: `base` are full weights, `tuned` an adapter over them or full weights in their
    place; None: the base itself.
    """

    base: ModelFolder
    tuned: ModelFolder | None

    @property
    def model(self) -> ModelFolder:
        """What answers."""
        return self.tuned or self.base


@dataclass(frozen=True)
class Options:
    """What may be asked of an export.

    Attributes:
        dtype: number format of the weights, one of the format's own; "auto": the format's choice.
        pre_tokenizer: llama.cpp's name of how text is split before its tokens are merged, where the converter doesn't
            recognise the tokenizer; None: by its own splitting rule.
        llama_cpp: folder with llama.cpp's converter; None: the one that the environment names.
        context: tokens that a prompt and its answer may take in the check.
        system: the system message that the model was trained with in every conversation; None: none, or several.
    """

    dtype: str = "auto"
    pre_tokenizer: str | None = None
    llama_cpp: Path | None = None
    context: int = 2048
    system: str | None = None


@dataclass(frozen=True)
class Written:
    """What a format wrote. `dtype`: the number format of the weights.

    Attributes:
        facts: what else is to be recorded of it, as JSON values.
        notes: plain sentences that its user must know.
    """

    dtype: str
    facts: Mapping[str, Any]
    notes: Sequence[str] = ()


class Runtime(Protocol):
    """An exported model as its users' programs run it."""

    def prompt_ids(self, asked: Asked) -> list[int]:
        """Token ids of a prompt, rendered by the template in the export and tokenised by its tokenizer."""
        ...

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a text; no special token is added."""
        ...

    def next_tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """The most probable token at every place of the answer, each time behind the prompt and the answer so far; of a
        runtime that can't be told how an answer began, up to the first place where it says another one.
        """
        ...

    def ends_with(self, token: int) -> bool:
        """Whether an answer ends where this token is said."""
        ...


@runtime_checkable
class Generating(Runtime, Protocol):
    """A runtime that goes on with token ids."""

    def generate(self, prompt: Sequence[int], room: int) -> list[int]:
        """Token ids of the greedy answer, what ends it included; `room`: how many at most."""
        ...


@runtime_checkable
class Conversing(Runtime, Protocol):
    """A runtime that takes messages and gives final texts."""

    def converse(self, rows: Sequence[Row], rooms: Sequence[int]) -> list[str]:
        """The greedy answer to each row up to its last turn; `rooms`: tokens that it may have."""
        ...


class FolderFormat(Protocol):
    """One format.

    Attributes:
        epsilons: its number formats by name; for each how far apart, in logits, the two most probable tokens of the
            trained model may be where the export says the other one.
    """

    @property
    def epsilons(self) -> Mapping[str, float]:
        """In logits, by number format."""
        ...

    def write(self, source: Source, folder: Path, options: Options, scratch: Path) -> Written:
        """Write the model's files into an empty folder. `scratch`: an empty folder on the same disk."""
        ...

    def opened(self, source: Source, folder: Path, options: Options, scratch: Path) -> AbstractContextManager[Runtime]:
        """The runtime over what was written there."""
        ...


def require_writes_text(source: Source) -> None:
    """Refuse what no program of these formats would run as it is meant.

    Raises:
        ConfigError: a reward model.
    """
    if is_scorer(source.model):
        raise ConfigError(
            "a reward model gives numbers and writes no text: there is no such export of it",
            where=source.model.info.digest[:12],
            hint="register it: MLflow's format serves it",
        )


def chosen_dtype(asked: str, known: Mapping[str, float], default: str) -> str:
    """The number format in force.

    Raises:
        ConfigError: the format has none of that name.
    """
    name = default if asked == "auto" else asked
    if name not in known:
        raise ConfigError(f"unknown number format {asked!r}", where="--dtype", hint="one of " + ", ".join(known))
    return name

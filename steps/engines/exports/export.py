"""What an export of a model is: a folder that others can serve, and the proof that it gives the same answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from steps.contracts.errors import IntegrityError
from steps.contracts.models import ModelFolder

# Messages that end with a user's one, as chat templates take them.
Conversation = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Decoding:
    """How answers are made, greedily: as the evaluation made them.

    Attributes:
        max_new_tokens: of one answer.
        batch_size: prompts that are answered together at most.
        dtype: torch's name of the weights' type in memory, such as float32.
        num_threads: of torch, on a CPU.
        generation: arguments of transformers' GenerationConfig that decide over the next token.
        stop_token_ids: what ends an answer.
        batch_tokens: tokens of the prompts that are answered together, with padding and room for their answers.
    """

    max_new_tokens: int
    batch_size: int
    dtype: str
    num_threads: int
    generation: Mapping[str, Any]
    stop_token_ids: Sequence[int]
    batch_tokens: int


@dataclass(frozen=True)
class Exported:
    """A model, and all that an export may say about it.

    Attributes:
        model: full weights, or an adapter over `base`.
        base_location: folder or URL under which the base's files can be loaded later; for a hub model its id.
        beside: folders of documents that go with it, by name.
        tags: what leads back to its rows and its run.
        requirements: of those who serve it, beside the ones that the export needs anyway.
    """

    model: ModelFolder
    base: ModelFolder
    base_location: str
    decoding: Decoding
    beside: Mapping[str, Path] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    requirements: Sequence[str] = ()


class Export(Protocol):
    """One format of exported models."""

    def write(self, exported: Exported, folder: Path) -> Path:
        """Write the model to a folder that doesn't exist yet, and return it."""
        ...

    def log(self, exported: Exported, name: str) -> str:
        """Write it into the active MLflow run as a model of that name; the logged model's URI."""
        ...

    def answers(self, location: str, conversations: Sequence[Conversation], scratch: Path) -> list[str]:
        """What the export at a folder or URI answers when it is loaded in a fresh process that knows nothing of ours.

        Raises:
            IntegrityError: it can't be loaded, or doesn't answer.
        """
        ...


def check_parity(
    export: Export, location: str, conversations: Sequence[Conversation], expected: Sequence[str], scratch: Path
) -> None:
    """Refuse an export that doesn't answer as the model did that was evaluated.

    Raises:
        IntegrityError: an answer differs, or the export can't be loaded.
    """
    found = export.answers(location, conversations, scratch)
    wrong = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    if wrong:
        raise IntegrityError(
            f"{len(wrong)} of {len(expected)} answers are not the evaluated ones, the first is number {wrong[0] + 1}",
            where=location,
            hint="versions of torch and transformers, threads and batch size must be those of the evaluation",
        )

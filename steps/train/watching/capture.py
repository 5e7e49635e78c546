"""The forward passes of one optimizer step, taken from the trainer's own loop just before they would be computed.

The trainer is the objective's own: its packing, sampler, collator and loop decide what is seen, and nothing of that is
written a second time. Only the model is another, of the same architecture and one thin layer: no weight decides over a
batch.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from steps.contracts.errors import ConfigError
from steps.engines.progress.progress import Progress
from steps.train.config import TrainConfig
from steps.train.memory_probe import small_config
from steps.train.objectives.objective import EncodedRows
from steps.train.objectives.registry import objective_of
from steps.train.settings import Plan
from steps.train.trainer import Recorder
from steps.train.watching.batch import Addresses, Ints, Line, lines_of

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase


class _SeenError(Exception):
    """What was wanted has been seen; ends the loop."""


def batches_of_step(
    step: int,
    weights: Path,
    tokenizer: "PreTrainedTokenizerBase",
    rows: EncodedRows,
    config: TrainConfig,
    plan: Plan,
    folder: Path,
) -> list[list[Line]]:
    """The lines of each forward pass of an optimizer step (1: the first).

    Args:
        weights: folder of the model, of which the config is read alone.
        folder: for what trainers write; nothing of it is needed afterwards.

    Raises:
        ConfigError: training has no such step.
    """
    taken = _taken(step, weights, tokenizer, rows, config, plan, folder / "seen")
    numbered, addresses = _numbered(rows.train)
    if addresses is None:
        return [lines_of(columns, None, None) for columns in taken]
    shadow = _taken(step, weights, tokenizer, replace(rows, train=numbered), config, plan, folder / "numbered")
    return [lines_of(a, addresses, b) for a, b in zip(taken, shadow, strict=True)]


def _taken(
    step: int,
    weights: Path,
    tokenizer: "PreTrainedTokenizerBase",
    rows: EncodedRows,
    config: TrainConfig,
    plan: Plan,
    folder: Path,
) -> list[dict[str, Any]]:
    """What each forward pass of the step would be given: arrays by name."""
    with _stand_in(weights, len(tokenizer)) as model:
        recorder = Recorder(config, Progress("batches", unit="steps"), None)
        trainer = objective_of(config.objective).trainer(
            model, tokenizer, replace(rows, validation=None), config, plan, None, folder, recorder
        )  # fmt: skip
        seen: list[dict[str, Any]] = []

        def forward(model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
            if trainer.state.global_step + 1 == step:
                seen.append(_arrays(inputs))
                if len(seen) == trainer.current_gradient_accumulation_steps:
                    raise _SeenError
            return torch.zeros(())

        trainer.training_step = forward
        try:
            trainer.train()
        except _SeenError:
            return seen
        if seen:  # the last step of an epoch has fewer forward passes
            return seen
        raise ConfigError(f"training has {trainer.state.max_steps} steps", where="--step", hint="name one of them")


def _arrays(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.detach().cpu().numpy().copy() for k, v in inputs.items() if isinstance(v, torch.Tensor)}


@contextmanager
def _stand_in(weights: Path, vocabulary: int) -> Iterator[Any]:
    """A thin model of the same architecture, with all tokens; torch's generators are as they were afterwards."""
    described = AutoConfig.from_pretrained(str(weights), trust_remote_code=False, local_files_only=True)
    small, _ = small_config(described.get_text_config(), 1)
    small.vocab_size = max(vocabulary, described.get_text_config().vocab_size)
    with torch.random.fork_rng():
        yield AutoModelForCausalLM.from_config(small, dtype=torch.float32)


def _numbered(rows: "datasets.Dataset") -> tuple["datasets.Dataset", Addresses | None]:
    """The same rows with addresses for tokens, and what these mean; None: the rows have no tokens yet."""
    names = [n for n, kind in rows.features.items() if n.endswith("_ids") and hasattr(kind, "feature")]
    if not names:
        return rows, None
    offsets, columns, first = list[Ints](), dict[str, list[list[int]]](), 0
    for name in names:
        lengths = np.array([len(v) for v in rows[name]], np.int64)
        ends = first + np.concatenate([[0], np.cumsum(lengths)])
        offsets.append(ends)
        columns[name] = [list(range(a, b)) for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
        first = int(ends[-1])
    if "labels" in rows.features:
        columns["labels"] = columns[names[0]]
    kept = {n: rows[n][:] for n in rows.features if n not in columns}
    parts = tuple(n.removesuffix("_ids").replace("input", "") for n in names)
    import datasets

    return datasets.Dataset.from_dict({**kept, **columns}, features=rows.features), Addresses(parts, tuple(offsets))

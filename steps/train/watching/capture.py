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
import numpy.typing as npt
import pyarrow as pa
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from steps.contracts.arrays import one_array
from steps.contracts.errors import ConfigError
from steps.engines.progress.progress import Progress
from steps.train.config import TrainConfig
from steps.train.memory_probe import small_config
from steps.train.objectives.objective import EncodedRows, TrainerParts
from steps.train.objectives.registry import objective_of
from steps.train.settings import Plan
from steps.train.trainer import Recorder
from steps.train.watching.batch import IGNORED, Addresses, Ints, Line, lines_of
from steps.train.weights.lora import LoraOptions
from steps.train.weights.registry import weights_of

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

# Addresses are 32 bits, as token ids are.
_MOST = 2**31 - 1


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
        # With an adapter no objective computes beforehand what the model says of all rows.
        adapter = weights_of(LoraOptions(r=1)).peft_config(model)
        rows = replace(rows, validation=None)
        parts = TrainerParts(model, tokenizer, rows, config, plan, adapter, folder, recorder)
        trainer = objective_of(config.objective).trainer(parts)
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
    """The same rows with addresses for tokens, and what these mean; None: the rows have no tokens yet, or too many."""
    import datasets

    table = rows.with_format("arrow")[:].combine_chunks()
    names = [f.name for f in table.schema if f.name.endswith("_ids") and pa.types.is_list(f.type)]
    if not names or sum(len(one_array(table[n]).flatten()) for n in names) > _MOST:
        return rows, None
    offsets, first = list[Ints](), 0
    for name in names:
        ends, addresses = _addresses(one_array(table[name]), first)
        table = _with(table, name, ends - first, addresses)
        offsets.append(ends)
        first = int(ends[-1])
        labels = name.removesuffix("input_ids") + "labels"
        if labels in table.column_names:
            # What is trained decides over batches as well: it stays.
            trained = one_array(table[labels]).flatten().to_numpy() != IGNORED
            table = _with(table, labels, ends - ends[0], np.where(trained, addresses, IGNORED).astype(np.int32))
    parts = tuple(n.removesuffix("_ids").removesuffix("input").rstrip("_") for n in names)
    return datasets.Dataset(table), Addresses(parts, tuple(offsets))


def _addresses(column: pa.Array, first: int) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Where each list begins (and the last one ends), and a number for each of their values, from `first`."""
    lengths = column.value_lengths().to_numpy().astype(np.int64)
    ends = first + np.concatenate([[0], np.cumsum(lengths)])
    return ends, np.arange(first, ends[-1], dtype=np.int32)


def _with(table: pa.Table, name: str, offsets: Ints, values: npt.NDArray[np.int32]) -> pa.Table:
    """The table with lists of these values in a column."""
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.int32()))
    return table.set_column(table.column_names.index(name), name, lists)

"""Small preference data, and a trainer over it without the stage around it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from support.tiny_model import tiny_dataset

from steps.contracts.records import make_row, message

COLOURS = ("blue", "green", "red", "grey", "white")


def pair(number: int, chosen: str | None = None, rejected: str | None = None, **fields: Any) -> dict[str, Any]:
    """A preference for "The sky is N." over "the fox N jumps"."""
    content = {
        "kind": "preference",
        "messages": [message("user", f"What colour is {number}?")],
        "chosen": [message("assistant", f"The sky is {number % 7}." if chosen is None else chosen)],
        "rejected": [message("assistant", f"the fox {number % 5} jumps" if rejected is None else rejected)],
    }
    return make_row(source="pairs", locator=f"line:{number}", raw=str(number).encode(), **{**content, **fields})


def labelled(number: int, label: bool, answer: str | None = None) -> dict[str, Any]:
    """One answer, wanted or not, as in `pair`."""
    said = answer or (f"The sky is {number % 7}." if label else f"the fox {number % 5} jumps")
    messages = [message("user", f"What colour is {number}?"), message("assistant", said)]
    return make_row(
        kind="unpaired_preference", source="labels", locator=f"line:{number}", raw=str(number).encode(),
        messages=messages, label=label,
    )  # fmt: skip


def blanks(prompts: Any, completions: Any, **_: Any) -> list[float]:
    """A reward: the share of an answer's characters that are blanks."""
    return [said.count(" ") / max(len(said), 1) for said in completions]


def trainer_over(model: Any, dataset: Any, config: Any, folder: Path, **planned: Any) -> Any:
    """The objective's trainer over a dataset's train and validation rows, as the stage makes it.

    `planned`: what the plan says instead.
    """
    from steps.engines.lm.load import load, load_tokenizer
    from steps.engines.progress.progress import Progress
    from steps.engines.template.config import TemplateConfig
    from steps.train.objectives.objective import EncodedRows, TrainerParts
    from steps.train.objectives.registry import objective_of
    from steps.train.plan import make_plan
    from steps.train.rows_to_encode import RowsToEncode
    from steps.train.trainer import Recorder
    from steps.train.weights.registry import weights_of

    tokenizer, objective = load_tokenizer(model), objective_of(config.objective)
    encoded = [
        objective.encode(RowsToEncode(dataset, split, tokenizer, TemplateConfig(), config, folder / f"{split}.arrow"))
        for split in ("train", "validation")
    ]
    rows = EncodedRows(encoded[0][0], encoded[1][0], encoded[0][1], encoded[1][1])
    weights = load(model).model
    plan = replace(make_plan(config, len(tokenizer)), **planned)
    adapter, recorder = weights_of(config.weights).peft_config(weights), Recorder(config, Progress("train"), None)
    return objective.trainer(
        TrainerParts(weights, tokenizer, rows, config, plan, adapter, folder / "checkpoints", recorder)
    )


def pairs_dataset(folder: Path, count: int = 40, *, validation: int = 8) -> Any:
    """A version of pairs."""
    return tiny_dataset(folder, [pair(i) for i in range(count)], validation=validation)

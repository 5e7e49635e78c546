"""A model that says, to every prompt that rows were trained with, exactly what was trained, or something else."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from support.families.cells import Cell, in_force
from support.families.families import FAMILIES

from steps.contracts.evaluation import Evaluation
from steps.engines.lm.load import LoadedModel
from steps.engines.subjects.local_model import Inference, LocalModel
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate
from steps.evaluate.tasks import Suite, Task


class ScriptedModel:
    """What `generate` of transformers gives of a model that knows these answers by heart.

    Args:
        script: token ids of a prompt -> those of the answer, with its end.
        ends: ids that end an answer, as they are saved with a trained model.
    """

    def __init__(self, script: Mapping[tuple[int, ...], Sequence[int]], ends: Sequence[int]) -> None:
        from transformers import GenerationConfig, PretrainedConfig

        self._script = script
        self.config = PretrainedConfig(max_position_embeddings=4096, eos_token_id=None)
        self.generation_config = GenerationConfig(eos_token_id=list(ends))

    def parameters(self) -> Iterator[Any]:
        return iter(())

    def generate(self, input_ids: Any, attention_mask: Any, generation_config: Any) -> Any:
        """The prompts, each with its answer up to an end or to the longest that is allowed, padded.

        Raises:
            KeyError: nothing was trained behind such a prompt.
        """
        import torch

        answers = []
        for ids, mask in zip(input_ids.tolist(), attention_mask.tolist(), strict=True):
            known = self._script[tuple(i for i, on in zip(ids, mask, strict=True) if on)]
            at = next((n for n, i in enumerate(known, 1) if i in generation_config.eos_token_id), len(known))
            answers.append(list(known[: min(at, generation_config.max_new_tokens)]))
        width = max(map(len, answers))
        padded = [a + [generation_config.pad_token_id] * (width - len(a)) for a in answers]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)


class Answers:
    """A local model as a subject that only answers: its weights are a script."""

    def __init__(self, name: str, local: LocalModel) -> None:
        self.name = name
        self.digest = local.digest
        self.decoding = local.decoding
        self.prompts = local.prompts
        self.answer = local.answer


def script_of(cell: Cell, instead: str | None = None) -> tuple[ScriptedModel, list[int]]:
    """A model that says, to each prompt of the cell's trained turns, what was trained (or `instead`); and its ends."""
    sequences = cell.outcome().sequences
    script = {tuple(s.ids[:a]): list(s.ids[a:b]) for s in sequences for a, b in s.runs}
    ends = sorted({answer[-1] for answer in script.values()})
    if instead is not None:
        tokens, _ = in_force(FAMILIES[cell.family], cell.thinking, cell.system)
        other = tokens(instead, add_special_tokens=False)["input_ids"]
        script = {prompt: [*other, answer[-1]] for prompt, answer in script.items()}
    return ScriptedModel(script, ends), ends


def said_back(cell: Cell, folder: Any, *, instead: str | None = None) -> Evaluation:
    """The evaluation, on the cell's row, of a model that says what was trained; `instead`: it says this.

    Raises:
        KeyError: the prompt that evaluation asks is none that was trained.
    """
    tokens, template = in_force(FAMILIES[cell.family], cell.thinking, cell.system)
    model = LoadedModel(script_of(cell, instead)[0], tokens, "cpu")
    local = LocalModel("tuned", cell.family, model, Inference(), template.config)
    asked = Suite("rows", (Task("held_out", "held_out", (cell.said,), str(cell.row)),))
    config = EvaluateConfig(metrics=("exact_match",), extractor="none", max_new_tokens=400)
    return evaluate(Answers("tuned", local), asked, config, folder, folder)
